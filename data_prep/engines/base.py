"""What an engine does for :mod:`data_prep.prepare`: read text into codes, count, encode. Everything else is common."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from data_prep.raw import CATEGORICAL, LABEL, NUMERICAL
from dlrm_core.schema.dataset import NumericalTransform

Tell = Callable[[int], None]  # hears of rows done


@dataclass(frozen=True)
class Columns:
    """Names of the columns: label, numbers, categories."""

    label: str
    numerical: tuple[str, ...]
    categorical: tuple[str, ...]


RAW_CRITEO = "raw Criteo text"
CRITEO = Columns(LABEL, NUMERICAL, CATEGORICAL)


@dataclass(frozen=True)
class Parsed:
    """A raw file that was read: its rows, its SHA-256, and the SHA-256 of each file that the codes were written to."""

    rows: int
    sha256: str
    files: dict[Path, str]


@dataclass(frozen=True)
class Rows:
    """Rows of a raw file that was parsed into `folder`: those from `start` up to `stop`, in input order."""

    folder: Path
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


class Engine(Protocol):
    """Runs the definition; every engine gives the same values, counts and ids."""

    name: str
    columns: Columns
    reads: str  # the format of the input files, in words that differ where the same file gives other codes

    def parse(self, path: Path, folder: Path, tell: Tell) -> Parsed:
        """Read and check a raw file; leave its codes in `folder`, in a form of the engine's own, in input order.

        Raises
        ------
        KitError
            If the file is missing, damaged or malformed, with file, line and column.
        """
        ...

    def frequent(self, parts: Sequence[Rows], column: str, limit: int) -> pl.DataFrame:
        """Values of a categorical column with count >= `limit` over all `parts`: ``value`` and ``count``.

        A value of raw Criteo text is a uint32.
        """
        ...

    def encoded(
        self, part: Rows, vocabularies: Mapping[str, pl.DataFrame], transform: NumericalTransform
    ) -> Iterator[pl.DataFrame]:
        """The part's rows in input order, in frames: label int8, numericals float64, ids int32.

        `vocabularies` holds one frame a categorical column: ``value`` and ``id`` (int32).
        """
        ...
