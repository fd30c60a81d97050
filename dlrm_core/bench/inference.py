"""The command `bench inference`: our predictions beside the peers', batch size by batch size."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dlrm_core.bench.figures import LIMITS, Measured, speed_metrics, speed_series, verdict_metric
from dlrm_core.bench.gate import judge
from dlrm_core.bench.peers import SideSpec
from dlrm_core.bench.request import LIMITS_SIDE, Request, limits_side
from dlrm_core.bench.rounds import run_rounds
from dlrm_core.bench.workers import Worker, workers
from dlrm_core.bench.workload import Workload
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import Metric, Recorder, RunRecord, Series

ROUNDS = 24
LIMITED_BY_PRODUCTS = 2048  # rows of a batch from which on the matrix products, not the calls, set the pace


def bench_inference(
    *, out: Path, request: Request, batch_sizes: Sequence[int], progress: Progress = silent
) -> RunRecord:
    """Time predictions of ours and of the peers at each batch size; write OUT/run.json.

    Raises
    ------
    KitError
        If a batch size cannot be, a peer is absent, a side fails or `out` cannot be written.
    """
    if not batch_sizes or min(batch_sizes) < 1:
        raise KitError(
            f"--batch-sizes: {list(batch_sizes)} came; sizes of at least 1 are needed, for example 1,64,4096"
        )
    sides, workloads = request.sides(), request.workloads()
    extra = ["--batch-sizes", ",".join(map(str, batch_sizes))]
    with request.record(out, "inference", extra) as recorder:
        for workload in workloads:
            _measure_all(workload, sides, request, batch_sizes, recorder, progress)
    return recorder.record


def _measure_all(
    workload: Workload,
    sides: list[SideSpec],
    request: Request,
    batch_sizes: Sequence[int],
    recorder: Recorder,
    progress: Progress,
) -> None:
    """Every batch size with the same processes, each put into the record as soon as it is there."""
    with workers([*sides, limits_side(sys.executable)], workload, progress) as (running, described):
        choices = {f"{workload.name}: {name}": words for name, words in described.items()}
        recorder.update(choices=recorder.record.choices | choices)
        for batch_size in batch_sizes:
            session = _Session(running, batch_size, request.steps or calls_of(batch_size))
            metrics, series = _measure(workload, sides, session, request.rounds or ROUNDS, progress)
            before = recorder.record
            recorder.update(metrics=before.metrics + metrics, series=before.series + series)


def calls_of(batch_size: int) -> int:
    """Calls a round: enough of short ones for a median, few of long ones.

    >>> [calls_of(batch_size) for batch_size in (1, 64, 4096)]
    [40, 25, 4]
    """
    return max(4, min(40, 1600 // batch_size))


class _Session:
    """Asks the workers for one batch size."""

    def __init__(self, running: Mapping[str, Worker], batch_size: int, calls: int) -> None:
        self.running = running
        self.batch_size = batch_size
        self._calls = calls

    def gauge(self) -> float:
        return float(self.running[LIMITS_SIDE].ask(do="gauge")["seconds"])

    def logits(self, name: str) -> list[float]:
        """Of the first rows; this also makes the batches and warms up."""
        return list(self.running[name].ask(do="predict", batch_size=self.batch_size, calls=2)["logits"])

    def measure(self, name: str) -> dict[str, list[float]]:
        if name != LIMITS_SIDE:
            seconds = self.running[name].ask(do="predict", batch_size=self.batch_size, calls=self._calls)["seconds"]
            return {name: seconds[1:]}
        found = self.running[name].ask(do="limits", batch_size=self.batch_size, repeats=3, training=False)
        return {limit: [found[limit]] for limit in LIMITS}


def _measure(
    workload: Workload, sides: list[SideSpec], session: _Session, rounds: int, progress: Progress
) -> tuple[tuple[Metric, ...], tuple[Series, ...]]:
    logits = {side.name: session.logits(side.name) for side in sides}
    session.measure(LIMITS_SIDE)  # not counted: oneDNN makes its kernels at the first call
    split = f"{workload.name}, batch {session.batch_size}"
    found = run_rounds(
        list(session.running),
        rounds,
        gauge=session.gauge,
        measure=session.measure,
        progress=progress,
        label=f"bench inference {split}",
    )
    measured = Measured(split, session.batch_size, "call", sides, found)
    checks = _checks(measured, workload, logits)
    return tuple(speed_metrics(measured) + checks), tuple(speed_series(measured))


def _checks(measured: Measured, workload: Workload, logits: Mapping[str, list[float]]) -> list[Metric]:
    """Distance of each side's logits from the reference's, and the verdict."""
    fp32 = [side.name for side in measured.sides if side.is_fp32]
    reference = "pytorch" if "pytorch" in logits else measured.sides[-1].name
    largest = max(abs(logit) for logit in logits[reference])
    away = {
        name: max(abs(a - b) for a, b in zip(values, logits[reference], strict=True)) for name, values in logits.items()
    }
    rows = f"largest of the first {len(logits[reference])} rows"
    found = [
        Metric(
            name=f"{name} logit difference from {reference}",
            value=value,
            unit="1",
            split=measured.split,
            selection=rows,
        )
        for name, value in away.items()
        if name != reference
    ]
    of_limit = {side.name: measured.of_limit(side.name, LIMITS[0]) for side in measured.sides}
    needed = workload.needed_of_limit if measured.rows >= LIMITED_BY_PRODUCTS else 0.0
    difference = max((away[name] / largest for name in fp32), default=0.0)
    return [*found, verdict_metric(judge(of_limit, needed, difference), measured.split)]
