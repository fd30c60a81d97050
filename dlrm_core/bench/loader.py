"""The command `bench loader`: how fast batches are read, beside plain reads of the same bytes, and the memory it takes."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, ParamSpec, TypeVar

from dlrm_core.bench.copy_gauge import COPY_BYTES, copy_s
from dlrm_core.bench.timing import Figure, figure, paired_ratio, rate
from dlrm_core.data import Part, ahead, open_part
from dlrm_core.schema.files import make_output_folder
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import Metric, RunRecord, recording

P = ParamSpec("P")
T = TypeVar("T")

PLAIN_BYTES = 4 << 20  # of one plain read


@dataclass(frozen=True)
class Case:
    """One way to read the rows: `depth` batches of `size` rows ahead."""

    size: int
    depth: int

    def __str__(self) -> str:
        return f"batch {self.size}, depth {self.depth}"


Side = Case | Literal["plain read", "gauge"]
Seconds = Mapping[Side, list[list[float]]]


def bench_loader(
    *,
    data: Path,
    out: Path,
    batch_sizes: Sequence[int],
    depths: Sequence[int],
    rounds: int = 5,
    most_rows: int = 1_000_000,
    progress: Progress = silent,
) -> RunRecord:
    """Read the training rows of DATA, at most `most_rows`, by every batch size and depth; write OUT/run.json.

    The limit beside each is a plain read, in the same round, of the same bytes of the same files, 4 MiB at a time into one
    buffer; the gauge copies 256 MiB within memory. Peak memory is that of one more reading in a process of its own.

    Raises
    ------
    KitError
        If DATA is damaged or `out` cannot be written.
    """
    make_output_folder(out)
    sizes, deep = " ".join(map(str, batch_sizes)), " ".join(map(str, depths))
    repeat = f"dlrm bench loader --data DATA --out DIR --batch-size {sizes} --depth {deep} --rounds {rounds}"
    part = _part(data, most_rows)
    settings = {"batch_sizes": list(batch_sizes), "depths": list(depths), "rounds": rounds, "rows": len(part)}
    cases = [Case(size, depth) for size in batch_sizes for depth in depths]
    with recording(out, "bench", name="bench loader", repeat=repeat, config=settings) as recorder:
        seconds = _measure(["gauge", "plain read", *cases], data, part, rounds, progress)
        metrics = _limits(seconds, part)
        for case in cases:
            metrics += _speed(seconds, case, part)
            metrics.append(_memory(case, data, most_rows))
        recorder.update(metrics=tuple(metrics), dataset_digest=part.spec.digest)
    return recorder.record


def _measure(sides: Sequence[Side], data: Path, part: Part, rounds: int, progress: Progress) -> Seconds:
    """Seconds by round, in turns, each round in the other direction; the first one fills the page cache and is not counted."""
    seconds: dict[Side, list[list[float]]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side in sides if number % 2 else sides[::-1]:
            spent = _seconds(side, data, part)
            if number:
                seconds[side].append([spent])
        progress("bench loader", number + 1, rounds + 1)
    return seconds


def _seconds(side: Side, data: Path, part: Part) -> float:
    if isinstance(side, Case):
        return _read_s(part, side)
    return _plain_s(data, part) if side == "plain read" else copy_s()


def _part(data: Path, most_rows: int) -> Part:
    part = open_part(data, "train")
    return Part(data, part.spec, "train", stop=min(most_rows, len(part)))


def _num_bytes(part: Part) -> int:
    return len(part) * sum(part.spec.row_bytes().values())


def _limits(seconds: Seconds, part: Part) -> list[Metric]:
    copied, plain = figure(seconds["gauge"]), figure(seconds["plain read"])
    return [
        _metric("gauge", rate(copied, 2 * COPY_BYTES), "bytes/s", "copy in memory, read and written"),
        _metric("plain read", rate(plain, _num_bytes(part)), "bytes/s", "the same files, no conversion"),
    ]


def _speed(seconds: Seconds, case: Case, part: Part) -> list[Metric]:
    spent, reached = figure(seconds[case]), paired_ratio(seconds["plain read"], seconds[case])
    return [
        _metric(f"{case}", rate(spent, len(part)), "rows/s", "the loader alone"),
        _metric(f"{case}, of its files", rate(spent, _num_bytes(part)), "bytes/s", "the loader alone"),
        _metric(f"{case}, of the plain read", reached, "1", "ratio within a round"),
    ]


def _metric(name: str, found: Figure, unit: str, words: str) -> Metric:
    spread = f"{words}; median of {found.count} rounds, {found.low:.4g} to {found.high:.4g}"
    return Metric(name=name, value=found.median, unit=unit, split="train", selection=spread)


def _memory(case: Case, data: Path, most_rows: int) -> Metric:
    before, peak = _in_own_process(_resident_bytes, case, data, most_rows)
    words = f"in a process of its own, beyond the {before} bytes it held before the first batch"
    return Metric(name=f"{case}, peak memory", value=peak - before, unit="bytes", split="train", selection=words)


def _in_own_process(function: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **more).result()


def _resident_bytes(case: Case, data: Path, most_rows: int) -> tuple[int, int]:
    """Resident bytes of this process before it reads the rows, and the most up to the end."""
    part = _part(data, most_rows)
    before = _status_bytes("VmRSS")
    _read_s(part, case)
    return before, _status_bytes("VmHWM")


def _status_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


def _read_s(part: Part, case: Case) -> float:
    start = time.perf_counter()
    for _ in ahead(part.batches(case.size), case.depth):
        pass
    return time.perf_counter() - start


def _plain_s(data: Path, part: Part) -> float:
    buffer = memoryview(bytearray(b"\1") * PLAIN_BYTES)  # written once, so that its pages are there
    with ExitStack() as stack:
        files = {
            stack.enter_context((data / part.split / name).open("rb", buffering=0)): row_bytes * len(part)
            for name, row_bytes in part.spec.row_bytes().items()
        }
        start = time.perf_counter()
        for file, num_bytes in files.items():
            done = 0
            while done < num_bytes:
                done += os.preadv(file.fileno(), [buffer[: num_bytes - done]], done)
        return time.perf_counter() - start
