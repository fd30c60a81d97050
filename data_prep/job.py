"""What the stages of preprocessing share: the files, the job, and what was read."""

from dataclasses import dataclass, field
from pathlib import Path

from data_prep.engines.base import Engine, Rows
from dlrm_core.schema.dataset import SPLITS, Preparation, Source
from dlrm_core.schema.environment import source_digest
from dlrm_core.schema.progress import Progress
from dlrm_core.schema.stages import Marker

WORK = ".work"
ROOMS = ("data_prep", "dlrm_core/schema")


@dataclass(frozen=True)
class Files:
    """Raw files of each part, in input order.

    Attributes
    ----------
    train, validation, test : tuple of Path
    halve : Path, optional
        The first half of its rows is the test part, the rest the validation part.
    whole : tuple of Path
        Of all their rows, in order, the first floor(6 n / 7) are the training part, the rest the test part.
    """

    train: tuple[Path, ...]
    validation: tuple[Path, ...]
    test: tuple[Path, ...]
    halve: Path | None = None
    whole: tuple[Path, ...] = ()

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file, as often as it was named."""
        return (*self.train, *self.validation, *self.test, *([self.halve] if self.halve else []), *self.whole)

    def names(self) -> dict[str, list[str]]:
        """Names without folders, for a record."""
        named = {name: [path.name for path in getattr(self, name)] for name in SPLITS}
        named |= {"halve": [self.halve.name]} if self.halve else {}
        return named | ({"whole": [path.name for path in self.whole]} if self.whole else {})


@dataclass(frozen=True)
class Job:
    """What one call was asked for, and where it works."""

    files: Files
    work: Path
    preparation: Preparation
    engine: Engine
    memory_bytes: int
    progress: Progress

    def marker(self, name: str) -> Marker:
        """Where a stage says that it is done."""
        return Marker(self.work, name)

    @property
    def common_key(self) -> dict[str, str]:
        """What every stage depends on: the engine, what it reads, and our sources."""
        return {"engine": self.engine.name, "reads": self.engine.reads, "sources": source_digest(ROOMS)}


@dataclass
class Input:
    """What was read: the rows of each split, where each comes from, and the key of each part."""

    parts: dict[str, list[Rows]] = field(default_factory=lambda: {name: [] for name in SPLITS})
    keys: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in SPLITS})
    sources: dict[str, list[Source]] = field(default_factory=lambda: {name: [] for name in SPLITS})

    def rows(self, split: str) -> int:
        """Rows of a split."""
        return sum(map(len, self.parts[split]))

    def add(self, split: str, rows: Rows, key: str, source: Source) -> None:
        """Append a part to a split."""
        self.parts[split].append(rows)
        self.keys[split].append(f"{key} {rows.start} {rows.stop}")
        self.sources[split].append(source)
