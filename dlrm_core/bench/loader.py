"""The command `bench loader`: rows a second of the loader alone, by batch size and depth, beside a gauge of the same round."""

import resource
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dlrm_core.bench.timing import Figure, figure, rate
from dlrm_core.data import Part, ahead, open_part
from dlrm_core.schema.files import make_output_folder
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import Metric, RunRecord, recording

GAUGE_BYTES = 2**28


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
    """Read the training rows of DATA, at most `most_rows`, by every batch size and depth in turns; write OUT/run.json.

    The gauge copies 256 MiB within memory. The first round fills the page cache and is not counted.

    Raises
    ------
    KitError
        If DATA is damaged or `out` cannot be written.
    """
    make_output_folder(out)
    sizes, deep = " ".join(map(str, batch_sizes)), " ".join(map(str, depths))
    repeat = f"dlrm bench loader --data DATA --out DIR --batch-size {sizes} --depth {deep} --rounds {rounds}"
    part = open_part(data, "train")
    part = Part(data, part.spec, "train", stop=min(most_rows, len(part)))
    cases = [(size, depth) for size in batch_sizes for depth in depths]
    settings = {"batch_sizes": list(batch_sizes), "depths": list(depths), "rounds": rounds, "rows": len(part)}
    with recording(out, "bench", name="bench loader", repeat=repeat, config=settings) as recorder:
        seconds: dict[tuple[int, int], list[list[float]]] = {case: [] for case in cases}
        gauge: list[list[float]] = []
        for number in range(rounds + 1):
            copied = _copy_s()
            measured = {case: _read_s(part, *case) for case in (cases if number % 2 else cases[::-1])}
            progress("bench loader", number + 1, rounds + 1)
            if number:
                gauge.append([copied])
                for case, spent in measured.items():
                    seconds[case].append([spent])
        metrics = [
            _metric("gauge", rate(figure(gauge), 2 * GAUGE_BYTES), "bytes/s", "copy in memory, read and written")
        ]
        metrics += [
            _metric(f"batch {size}, depth {depth}", rate(figure(spent), len(part)), "rows/s", "the loader alone")
            for (size, depth), spent in seconds.items()
        ]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        metrics.append(
            Metric(name="peak memory", value=peak, unit="bytes", split="train", selection="of the whole run")
        )
        recorder.update(metrics=tuple(metrics), dataset_digest=part.spec.digest)
    return recorder.record


def _metric(name: str, found: Figure, unit: str, words: str) -> Metric:
    spread = f"{words}; median of {found.count} rounds, {found.low:.4g} to {found.high:.4g}"
    return Metric(name=name, value=found.median, unit=unit, split="train", selection=spread)


def _read_s(part: Part, batch_size: int, depth: int) -> float:
    start = time.perf_counter()
    for _ in ahead(part.batches(batch_size), depth):
        pass
    return time.perf_counter() - start


def _copy_s() -> float:
    source = np.ones(GAUGE_BYTES // 8)
    target = np.empty_like(source)
    np.copyto(target, source)
    start = time.perf_counter()
    np.copyto(target, source)
    return time.perf_counter() - start
