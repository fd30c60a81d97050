"""The command `bench prepare`: rows a second of each stage and the peak memory, beside a gauge run in the same minute."""

import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.sample import make_sample
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import make_output_folder
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import Metric, RunRecord, Series, read_record, recording

DAYS = 5
STAGES = ("parse", "count", "encode", "write")
GAUGE_CODE = """
import sys, time
import polars as pl
start = time.perf_counter()
read = pl.scan_csv(sys.argv[1], separator="\\t", has_header=False).collect()
print(read.height / (time.perf_counter() - start))
"""
# A small process starts the measured one: on Linux a child's peak memory counts from what its parent holds.
WATCH_CODE = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""
GAUGE = "plain polars.scan_csv(...).collect() of the first day"


@dataclass(frozen=True)
class _Round:
    """One measurement: rows/s of the gauge and of the whole, seconds a stage, peak resident bytes."""

    gauge: float
    total: float
    stages_s: dict[str, float]
    peak_bytes: int


def bench_prepare(
    *,
    out: Path,
    rows: Sequence[int],
    rounds: int = 3,
    engine: str = "polars",
    memory: str = "4GB",
    progress: Progress = silent,
) -> RunRecord:
    """Prepare planted samples of `rows` rows, `rounds` times each, every time in a process of its own; write OUT/run.json.

    Gauge and run alternate, since the speed of a shared machine changes within minutes: compare their ratio.

    Raises
    ------
    KitError
        If a run fails, or `out` cannot be written.
    """
    make_output_folder(out)
    config = {"rows": list(rows), "rounds": rounds, "engine": engine, "memory": memory}
    repeat = f"dlrm bench prepare --out DIR --rows {' '.join(map(str, rows))} --rounds {rounds} --engine {engine} --memory {memory}"
    with recording(out, "bench", name=f"bench prepare, {engine}", repeat=repeat, config=config) as recorder:
        metrics: list[Metric] = []
        series: list[Series] = []
        for count in rows:
            make_sample(out=out / f"raw-{count}", rows=count, days=DAYS, seed=1, progress=progress)
            files = [out / f"raw-{count}" / f"day_{day}" for day in range(DAYS)]
            measured = []
            for number in range(rounds):
                measured.append(_round(files, out / f"data-{count}", count, engine, memory))
                progress(f"bench {count:,} rows", number + 1, rounds)
            metrics += _metrics(count, measured)
            series.append(_series(count, measured))
            recorder.update(metrics=tuple(metrics), series=tuple(series))
    return recorder.record


def _round(files: list[Path], data: Path, rows: int, engine: str, memory: str) -> _Round:
    gauge = float(_said([sys.executable, "-c", GAUGE_CODE, str(files[0])], "the gauge"))
    options = ["--engine", engine, "--memory", memory, "--out", str(data)]
    words = [
        sys.executable,
        "-m",
        "dlrm_core.cli",
        "prepare",
        "--train",
        *map(str, files[:-1]),
        "--test",
        str(files[-1]),
    ]
    peak_bytes = int(_said([sys.executable, "-c", WATCH_CODE, *words, *options], "dlrm prepare"))
    timings = read_record(data).timings_s
    return _Round(gauge, rows / timings["total"], {s: timings[s] for s in STAGES}, peak_bytes)


def _said(words: list[str], what: str) -> str:
    """What a process of its own writes to its standard output."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KitError(
            f"{what} ended with {done.returncode}: {(done.stderr.strip().splitlines() or ['nothing said'])[-1]}"
        )
    return done.stdout


def _metrics(rows: int, measured: list[_Round]) -> list[Metric]:
    def metric(name: str, values: list[float], unit: str) -> Metric:
        spread = f"median of {len(values)}, {min(values):.4g} to {max(values):.4g}"
        return Metric(name=name, value=statistics.median(values), unit=unit, split=f"{rows} rows", selection=spread)

    found = [
        metric("throughput", [one.total for one in measured], "rows/s"),
        metric("gauge", [one.gauge for one in measured], f"rows/s, {GAUGE}"),
        metric("throughput of gauge", [one.total / one.gauge for one in measured], "1"),
        metric("peak memory", [one.peak_bytes for one in measured], "bytes"),
    ]
    return found + [metric(f"{s} throughput", [rows / one.stages_s[s] for one in measured], "rows/s") for s in STAGES]


def _series(rows: int, measured: list[_Round]) -> Series:
    return Series(
        name="throughput",
        split=f"{rows} rows",
        x_label="round",
        y_label="rows/s",
        x=tuple(float(n) for n in range(1, len(measured) + 1)),
        y=tuple(one.total for one in measured),
    )
