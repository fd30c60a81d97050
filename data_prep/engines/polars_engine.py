"""The Polars engine: on the CPU, in blocks, so that memory depends on the vocabularies but not on the rows."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import accumulate, pairwise
from pathlib import Path

import narwhals as nw
import polars as pl

from data_prep import definition
from data_prep.engines.base import CRITEO, RAW_CRITEO, Parsed, Rows, Tell
from data_prep.raw import BLOCK_BYTES, Block, RawFile
from data_prep.text_parser import parse
from data_prep.threads import in_order
from dlrm_core.schema.dataset import NumericalTransform
from dlrm_core.schema.files import sha256_file

NAME = "polars"
THREADS = 2  # that parse; one reads and takes digests beside them
LEAST_ROWS = 1 << 16  # of a batch
CODE_ROW_BYTES = 165  # 40 values of 1 or 4 bytes, and a bit each for what is missing
BYTES_PER_DISTINCT_VALUE = 64  # of Polars' group_by, hash table and output, measured generously


class PolarsEngine:
    """See :class:`data_prep.engines.base.Engine`.

    Parameters
    ----------
    memory_bytes : int
        What counting may take; a column with more distinct values is counted in several ranges of values.
    block_bytes : int
        Text of a block.
    """

    name = NAME
    suffix = ".arrow"
    columns = CRITEO
    reads = RAW_CRITEO
    least_rows = LEAST_ROWS

    def __init__(self, memory_bytes: int, block_bytes: int = BLOCK_BYTES) -> None:
        self.count_bytes = memory_bytes // 4
        self.encoded_rows = max(1, memory_bytes // 64 // CODE_ROW_BYTES)
        self._block_bytes = block_bytes

    def store(self, frame: pl.DataFrame, path: Path) -> None:
        """Keep a block of codes."""
        frame.write_ipc(path)

    def scan(self, path: Path) -> pl.LazyFrame:
        """A block of codes that was kept."""
        return pl.scan_ipc(path, glob=False)

    def collect(self, frames: Sequence[pl.LazyFrame]) -> list[pl.DataFrame]:
        """Run queries of the definition."""
        return pl.collect_all(frames, engine="streaming" if len(frames) == 1 else "auto")

    def parse(self, path: Path, folder: Path, tell: Tell) -> Parsed:
        """Leave one file a block, named by the number of the block and the rows in it."""
        raw, rows = RawFile(path, self._block_bytes), 0
        folder.mkdir(parents=True)

        def store(job: tuple[int, Block]) -> tuple[int, Path, str]:
            number, block = job
            target = folder / f"{number:06d}-{block.num_lines}{self.suffix}"
            self.store(parse(block), target)
            return block.num_lines, target, sha256_file(target)

        files = {}
        with closing(in_order(store, enumerate(raw.blocks()), threads=THREADS)) as stored:
            for count, target, digest in stored:
                files[target] = digest
                rows += count
                tell(rows)
        return Parsed(rows, raw.sha256, files)

    def frequent(self, parts: Sequence[Rows], column: str, limit: int) -> pl.DataFrame:
        """Count in as many ranges of values as memory asks for."""
        codes = self.joined([self._column(part, column) for part in parts if len(part)])
        frames = []
        for low, high in self.ranges(codes, column, sum(map(len, parts))):
            some = codes if (low, high) == (0, 1 << 32) else codes.filter(pl.col(column).is_between(low, high - 1))
            counts = definition.count_values(nw.from_native(some), column)
            frames += self.collect([definition.keep_frequent(counts, limit).to_native()])
        return pl.concat(frames)

    def encoded(
        self, part: Rows, vocabularies: Mapping[str, pl.DataFrame], transform: NumericalTransform
    ) -> Iterator[pl.DataFrame]:
        """One frame a batch of blocks: larger ones for larger vocabularies, since every batch hashes them anew."""
        numerical = [definition.transform_numerical(c, transform) for c in self.columns.numerical]
        for codes in self._batches(part, self.batch_rows(vocabularies)):
            frame = nw.from_native(codes.with_row_index(self._row))
            plain = frame.select(self.columns.label, *numerical).to_native()
            columns = [self.encode_column(frame, c, vocabularies[c]) for c in self.columns.categorical]
            made, *ids = self.collect([plain, *columns])
            yield made.hstack([column.to_series() for column in ids])

    def load(self, blocks: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
        """Blocks one after the other; read here once, since every column has a query of its own."""
        return pl.concat(blocks).collect().lazy()

    def batch_rows(self, vocabularies: Mapping[str, pl.DataFrame]) -> int:
        """Rows of a batch: a quarter of the values of all vocabularies, between a least number and what memory allows."""
        return min(self.encoded_rows, max(self.least_rows, sum(map(len, vocabularies.values())) // 4))

    def _batches(self, part: Rows, at_least: int) -> Iterator[pl.LazyFrame]:
        waiting: list[pl.LazyFrame] = []
        rows = 0
        for path, first, last in self._blocks(part):
            waiting.append(self.scan(path).slice(first, last - first))
            rows += last - first
            if rows >= at_least:
                yield self.load(waiting)
                waiting, rows = [], 0
        if waiting:
            yield self.load(waiting)

    def joined(self, frames: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
        """One column of several files, one after the other."""
        return pl.concat(frames)

    @property
    def _row(self) -> str:
        """A name for the row number that no column has."""
        name = definition.ROW
        while name in (self.columns.label, *self.columns.numerical, *self.columns.categorical):
            name += "_"
        return name

    def encode_column(self, frame: nw.LazyFrame, column: str, vocabulary: pl.DataFrame) -> pl.LazyFrame:
        """One column as ids, in input order."""
        known = nw.from_native(vocabulary.lazy())
        return (
            definition.encode(frame.select(self._row, column), column, known).sort(self._row).select(column).to_native()
        )

    def _column(self, part: Rows, column: str) -> pl.LazyFrame:
        blocks = [self.scan(path).select(column).slice(first, last - first) for path, first, last in self._blocks(part)]
        return pl.concat(blocks)

    def ranges(self, codes: pl.LazyFrame, column: str, rows: int) -> list[tuple[int, int]]:
        """Ranges of values whose counts fit into memory one at a time."""
        if rows * BYTES_PER_DISTINCT_VALUE <= self.count_bytes:
            return [(0, 1 << 32)]
        distinct = codes.select(pl.col(column).approx_n_unique()).collect(engine="streaming").item()
        num_ranges = max(1, -(-int(distinct) * BYTES_PER_DISTINCT_VALUE // self.count_bytes))
        borders = [(1 << 32) * i // num_ranges for i in range(num_ranges + 1)]
        return list(pairwise(borders))

    def _blocks(self, part: Rows) -> Iterator[tuple[Path, int, int]]:
        """The files of a part, and which of each one's rows belong to it."""
        paths = sorted(part.folder.glob(f"*{self.suffix}"))
        counts = [int(path.stem.rpartition("-")[2]) for path in paths]
        for path, (start, stop) in zip(paths, pairwise(accumulate(counts, initial=0)), strict=True):
            first, last = max(part.start - start, 0), min(part.stop, stop) - start
            if first < last:
                yield path, first, last
