"""What a run will read, write and need, before it starts: `dlrm prepare --dry-run`, and the check that it fits on the disk."""

import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.options import amount
from data_prep.raw import CATEGORICAL, NUMERICAL, RawFile
from data_prep.table_reader import count_rows, read_table, write_head
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.table import TableSpec

LOOK_BYTES = 1 << 22
MEASURED_ROWS = 100_000


@dataclass(frozen=True)
class RowBytes:
    """Bytes of a row, at most: as codes, in a bucket, and in the final files if every id takes 32 bits."""

    code: int
    bucket: int
    final: int

    @classmethod
    def of(cls, code: int, numerical: int, categorical: int) -> "RowBytes":
        """With that many bytes as codes, and that many columns."""
        final = 1 + 2 * numerical + 4 * categorical
        return cls(code, final + 4, final)


# Values of raw text as codes, and a bit each for what is missing.
RAW_ROW = RowBytes.of(1 + 4 * len(NUMERICAL) + 4 * len(CATEGORICAL) + 5, len(NUMERICAL), len(CATEGORICAL))


@dataclass(frozen=True)
class Estimate:
    """Bytes and rows; `rows` is extrapolated from the beginning of each file.

    Attributes
    ----------
    read_bytes, rows : int
    work_bytes : int
        What lies in the work folder at most, with the final files.
    final_bytes : int
        Of the data set, at most.
    free_bytes, there_bytes : int
        Free on the disk of the output, and what an earlier try left there.
    """

    read_bytes: int
    rows: int
    work_bytes: int
    final_bytes: int
    free_bytes: int
    there_bytes: int

    def check(self, out: Path) -> None:
        """Refuse what does not fit.

        Raises
        ------
        KitError
            If the disk has too little room.
        """
        needed = max(0, self.work_bytes - self.there_bytes)
        if needed > self.free_bytes:
            fits = int(self.rows * self.free_bytes / self.work_bytes)
            raise KitError(
                f"{out}: {amount(needed)} are needed there while about {self.rows:,} rows are prepared, "
                f"{amount(self.free_bytes)} are free; name another --out, or fewer files: about {fits:,} rows would fit"
            )


def estimate(files: Sequence[Path], out: Path, work: Path, table: TableSpec | None = None) -> Estimate:
    """Look at the beginning of each file and at the disk of `out`.

    Raises
    ------
    KitError
        If a file is no raw file, or does not fit `table`.
    """
    rows = sum(_rows(path, table) for path in files)
    row = RAW_ROW if table is None else _table_row(files[0], table)
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    return Estimate(
        read_bytes=sum(path.stat().st_size for path in files),
        rows=rows,
        work_bytes=rows * (row.code + row.bucket + row.final),
        final_bytes=rows * row.final,
        free_bytes=shutil.disk_usage(existing).free,
        there_bytes=sum(path.stat().st_size for path in work.rglob("*") if path.is_file()) if work.is_dir() else 0,
    )


def _rows(path: Path, table: TableSpec | None) -> int:
    """Rows of a file: as it tells itself, or by the size of its first lines."""
    told = count_rows(path) if table is not None else None
    if told is not None:
        return told
    raw = RawFile(path, LOOK_BYTES)
    first = next(raw.blocks())
    lines = round(path.stat().st_size * first.num_lines / raw.bytes_read)
    return max(1, lines - (table is not None))  # a CSV file has a header


def _table_row(path: Path, table: TableSpec) -> RowBytes:
    piece = next(read_table(path, table))
    stored = piece.write_ipc(None).getbuffer().nbytes  # as the engine keeps it; texts take what they take
    return RowBytes.of(math.ceil(stored / piece.height), len(table.numerical), len(table.categorical))


def describe(found: Estimate, memory_bytes: int, seconds: float, measured_rows: int) -> list[str]:
    """Lines for a person."""
    return [
        f"reads    {amount(found.read_bytes)} of files, about {found.rows:,} rows",
        f"writes   at most {amount(found.final_bytes)}, and {amount(found.work_bytes)} on the way "
        f"({amount(found.free_bytes)} are free, {amount(found.there_bytes)} are there from an earlier try)",
        f"memory   about {amount(memory_bytes)} (--memory), of {amount(machine_bytes())} that this machine has",
        f"time     about {seconds:,.0f} s on this machine as busy as now, scaled from {measured_rows:,} rows",
    ]


def machine_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(memory_bytes: int) -> None:
    """Refuse to plan with more memory than there is.

    Raises
    ------
    KitError
        If the machine has less.
    """
    if memory_bytes > machine_bytes():
        raise KitError(
            f"--memory: {amount(memory_bytes)} are asked for, this machine has {amount(machine_bytes())}; give a smaller --memory"
        )


def write_sample(path: Path, table: TableSpec | None, target: Path) -> int:
    """Write the first rows of a file as a file of its own; say how many there are."""
    if table is not None:
        return write_head(path, table, MEASURED_ROWS, target)
    taken = 0
    with target.open("wb") as handle:
        for block in RawFile(path, LOOK_BYTES).blocks():
            handle.write(block.data)
            taken += block.num_lines
            if taken >= MEASURED_ROWS:
                break
    return taken


def measure(path: Path, table: TableSpec | None, run: Callable[[Path, Path], object]) -> tuple[float, int]:
    """Seconds a row, and rows measured, of `run(file, output folder)` on the first rows of a file."""
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / "sample"
        taken = write_sample(path, table, sample)
        run(sample, Path(folder) / "warm")  # compiles, loads libraries
        start = time.perf_counter()
        run(sample, Path(folder) / "timed")
        return (time.perf_counter() - start) / taken, taken
