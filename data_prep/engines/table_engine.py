"""The Polars engine on tables of one's own instead of raw Criteo text."""

from collections.abc import Sequence
from pathlib import Path

import narwhals as nw
import polars as pl

from data_prep import definition
from data_prep.engines.base import Columns, Parsed, Rows, Tell
from data_prep.engines.polars_engine import BYTES_PER_DISTINCT_VALUE, PolarsEngine
from data_prep.table_reader import read_table
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_file
from dlrm_core.schema.table import TableSpec


class TableEngine(PolarsEngine):
    """See :class:`data_prep.engines.base.Engine`; categories keep their own values, text or whole numbers.

    A file of a Parquet data set may hold nothing at all in a column, which then has no kind of its own.
    """

    def __init__(self, memory_bytes: int, spec: TableSpec) -> None:
        super().__init__(memory_bytes)
        self._spec = spec
        self.reads = spec.model_dump_json()
        self.columns = Columns(spec.label, spec.numerical, spec.categorical)

    def parse(self, path: Path, folder: Path, tell: Tell) -> Parsed:
        """Leave one file a piece, named by the number of the piece and the rows in it."""
        files, rows = {}, 0
        folder.mkdir(parents=True)
        for number, piece in enumerate(read_table(path, self._spec)):
            target = folder / f"{number:06d}-{piece.height}{self.suffix}"
            self.store(piece, target)
            files[target] = sha256_file(target)
            rows += piece.height
            tell(rows)
        return Parsed(rows, sha256_file(path), files)

    def joined(self, frames: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
        """One column of several files, one after the other; nothing takes the kind of the others."""
        return pl.concat(frames, how="vertical_relaxed")

    def frequent(self, parts: Sequence[Rows], column: str, limit: int) -> pl.DataFrame:
        """As :class:`PolarsEngine`; where no file holds anything, no text was frequent."""
        frame = super().frequent(parts, column, limit)
        return frame.cast({definition.VALUE: pl.String}) if frame[definition.VALUE].dtype == pl.Null else frame

    def encode_column(self, frame: nw.LazyFrame, column: str, vocabulary: pl.DataFrame) -> pl.LazyFrame:
        """As :class:`PolarsEngine`; nothing takes the kind of the vocabulary."""
        kind = vocabulary[definition.VALUE].dtype
        codes = frame.to_native().with_columns(pl.col(column).cast(kind, strict=False))
        return super().encode_column(nw.from_native(codes), column, vocabulary)

    def ranges(self, codes: pl.LazyFrame, column: str, rows: int) -> list[tuple[int, int]]:
        """One: values of any kind have no ranges of equal size.

        Raises
        ------
        KitError
            If the distinct values do not fit into memory.
        """
        if rows * BYTES_PER_DISTINCT_VALUE > self.count_bytes:
            distinct = int(codes.select(pl.col(column).approx_n_unique()).collect(engine="streaming").item())
            if distinct * BYTES_PER_DISTINCT_VALUE > self.count_bytes:
                raise KitError(
                    f"column {column!r} has about {distinct:,} distinct values, too many for --memory; give more, or leave "
                    "the column out: an id that is never seen twice teaches nothing"
                )
        return [(0, 1 << 32)]
