"""What a run will read, write and need, before it starts: `dlrm prepare --dry-run`, and the check that it fits on the disk."""

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.raw import CATEGORICAL, NUMERICAL, RawFile
from dlrm_core.schema.errors import KitError

LOOK_BYTES = 1 << 22
MEASURED_ROWS = 100_000
CODE_ROW_BYTES = 1 + 4 * len(NUMERICAL) + 4 * len(CATEGORICAL) + 5  # values, and a bit each for what is missing
LARGEST_ROW_BYTES = 1 + 2 * len(NUMERICAL) + 4 * len(CATEGORICAL)  # if every id takes 32 bits
BUCKET_ROW_BYTES = LARGEST_ROW_BYTES + 4


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
                f"{out}: {gigabytes(needed)} are needed there while about {self.rows:,} rows are prepared, "
                f"{gigabytes(self.free_bytes)} are free; name another --out, or fewer files: about {fits:,} rows would fit"
            )


def gigabytes(count: int) -> str:
    """Bytes as text.

    >>> gigabytes(1_234_567_890)
    '1.23 GB'
    """
    return f"{count / 1e9:.2f} GB"


def estimate(files: Sequence[Path], out: Path, work: Path) -> Estimate:
    """Look at the beginning of each file and at the disk of `out`.

    Raises
    ------
    KitError
        If a file is no raw file.
    """
    rows = sum(_rows(path) for path in files)
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    return Estimate(
        read_bytes=sum(path.stat().st_size for path in files),
        rows=rows,
        work_bytes=rows * (CODE_ROW_BYTES + BUCKET_ROW_BYTES + LARGEST_ROW_BYTES),
        final_bytes=rows * LARGEST_ROW_BYTES,
        free_bytes=shutil.disk_usage(existing).free,
        there_bytes=sum(path.stat().st_size for path in work.rglob("*") if path.is_file()) if work.is_dir() else 0,
    )


def _rows(path: Path) -> int:
    raw = RawFile(path, LOOK_BYTES)
    first = next(raw.blocks())
    return max(1, round(path.stat().st_size * first.num_lines / raw.bytes_read))


def describe(found: Estimate, memory_bytes: int, seconds: float, measured_rows: int) -> list[str]:
    """Lines for a person."""
    return [
        f"reads    {gigabytes(found.read_bytes)} of raw files, about {found.rows:,} rows",
        f"writes   at most {gigabytes(found.final_bytes)}, and {gigabytes(found.work_bytes)} on the way "
        f"({gigabytes(found.free_bytes)} are free, {gigabytes(found.there_bytes)} are there from an earlier try)",
        f"memory   about {gigabytes(memory_bytes)} (--memory)",
        f"time     about {seconds:,.0f} s on this machine as busy as now, scaled from {measured_rows:,} rows",
    ]


def measure(files: Sequence[Path], rows: int, run: Callable[[Path, Path], object]) -> tuple[float, int]:
    """Seconds for `rows` rows, scaled from a run of `run(raw file, output folder)` on the first rows of the first file."""
    with tempfile.TemporaryDirectory() as folder:
        sample, taken = Path(folder) / "sample", 0
        with sample.open("wb") as handle:
            for block in RawFile(files[0], LOOK_BYTES).blocks():
                handle.write(block.data)
                taken += block.num_lines
                if taken >= MEASURED_ROWS:
                    break
        run(sample, Path(folder) / "warm")  # compiles, loads libraries
        start = time.perf_counter()
        run(sample, Path(folder) / "timed")
        return (time.perf_counter() - start) * rows / taken, taken
