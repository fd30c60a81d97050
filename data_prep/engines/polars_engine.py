"""The Polars engine: on the CPU, in blocks, so that memory depends on the vocabularies but not on the rows."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import accumulate, pairwise
from pathlib import Path

import narwhals as nw
import polars as pl

from data_prep import definition
from data_prep.engines.base import Parsed, Rows, Tell
from data_prep.raw import CATEGORICAL, LABEL, NUMERICAL, Block, RawFile
from data_prep.text_parser import parse
from data_prep.threads import in_order
from dlrm_core.schema.dataset import NumericalTransform
from dlrm_core.schema.files import sha256_file

NAME = "polars"
THREADS = 2  # that parse; one reads and takes digests beside them
BYTES_PER_DISTINCT_VALUE = 64  # of Polars' group_by, hash table and output, measured generously
ROWS_NAME = "{:06d}-{}.arrow"  # number of the block, rows in it


class PolarsEngine:
    """See :class:`data_prep.engines.base.Engine`.

    Parameters
    ----------
    memory_bytes : int
        What counting may take; a column with more distinct values is counted in several ranges of values.
    """

    name = NAME

    def __init__(self, memory_bytes: int) -> None:
        self._count_bytes = memory_bytes // 4

    def parse(self, path: Path, folder: Path, tell: Tell) -> Parsed:
        """Leave one Arrow file a block."""
        raw, rows = RawFile(path), 0
        folder.mkdir(parents=True)

        def store(job: tuple[int, Block]) -> tuple[int, Path, str]:
            number, block = job
            target = folder / ROWS_NAME.format(number, block.num_lines)
            parse(block).write_ipc(target)
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
        codes = pl.concat([self._column(part, column) for part in parts])
        frames = []
        for low, high in self._ranges(codes, column, sum(map(len, parts))):
            some = codes if (low, high) == (0, 1 << 32) else codes.filter(pl.col(column).is_between(low, high - 1))
            counts = definition.count_values(nw.from_native(some), column)
            frames.append(definition.keep_frequent(counts, limit).to_native().collect(engine="streaming"))
        return pl.concat(frames)

    def encoded(
        self, part: Rows, vocabularies: Mapping[str, pl.DataFrame], transform: NumericalTransform
    ) -> Iterator[pl.DataFrame]:
        """One frame a block."""
        numerical = [definition.transform_numerical(c, transform) for c in NUMERICAL]
        for path, first, last in _blocks(part):
            codes = pl.read_ipc(path, memory_map=False)[first:last]
            frame = nw.from_native(codes.lazy().with_row_index(definition.ROW))
            plain = frame.select(LABEL, *numerical).to_native()
            columns = [_encoded(frame, c, vocabularies[c]) for c in CATEGORICAL]
            made, *ids = pl.collect_all([plain, *columns])
            yield made.hstack([column.to_series() for column in ids])

    def _column(self, part: Rows, column: str) -> pl.LazyFrame:
        blocks = [pl.scan_ipc(path).select(column)[first:last] for path, first, last in _blocks(part)]
        return pl.concat(blocks) if blocks else pl.LazyFrame(schema={column: pl.UInt32})

    def _ranges(self, codes: pl.LazyFrame, column: str, rows: int) -> list[tuple[int, int]]:
        if rows * BYTES_PER_DISTINCT_VALUE <= self._count_bytes:
            return [(0, 1 << 32)]
        distinct = codes.select(pl.col(column).approx_n_unique()).collect(engine="streaming").item()
        num_ranges = max(1, -(-int(distinct) * BYTES_PER_DISTINCT_VALUE // self._count_bytes))
        borders = [(1 << 32) * i // num_ranges for i in range(num_ranges + 1)]
        return list(pairwise(borders))


def _encoded(frame: nw.LazyFrame, column: str, vocabulary: pl.DataFrame) -> pl.LazyFrame:
    ids = definition.encode(frame.select(definition.ROW, column), column, nw.from_native(vocabulary.lazy()))
    return ids.sort(definition.ROW).select(column).to_native()


def _blocks(part: Rows) -> Iterator[tuple[Path, int, int]]:
    """The files of a part, and which of each one's rows belong to it."""
    paths = sorted(part.folder.glob("*.arrow"))
    counts = [int(path.stem.rpartition("-")[2]) for path in paths]
    for path, (start, stop) in zip(paths, pairwise(accumulate(counts, initial=0)), strict=True):
        first, last = max(part.start - start, 0), min(part.stop, stop) - start
        if first < last:
            yield path, first, last
