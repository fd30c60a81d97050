"""The command `bench training`: our training step beside its peers', and beside the matrix products alone."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlrm_core.bench.figures import (
    LIMITS,
    Measured,
    loss_metrics,
    loss_series,
    speed_metrics,
    speed_series,
    verdict_metric,
)
from dlrm_core.bench.gate import judge
from dlrm_core.bench.peers import SideSpec
from dlrm_core.bench.request import LIMITS_SIDE, Request, limits_side
from dlrm_core.bench.rounds import run_rounds
from dlrm_core.bench.timing import largest_relative_difference
from dlrm_core.bench.workers import Worker, workers
from dlrm_core.bench.workload import Workload
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import Metric, RunRecord, Series

FEW_ROWS = 8192  # from here on one repeat of a product says enough, and three would take longer than the sides


def bench_training(*, out: Path, request: Request, progress: Progress = silent) -> RunRecord:
    """Time training steps of ours and of the peers; write OUT/run.json.

    Raises
    ------
    KitError
        If a peer is absent, a side fails or `out` cannot be written.
    """
    sides, workloads = request.sides(), request.workloads()
    with request.record(out, "training") as recorder:
        for workload in workloads:
            metrics, series, choices = _measure(workload, sides, progress)
            before = recorder.record
            recorder.update(
                metrics=before.metrics + tuple(metrics),
                series=before.series + tuple(series),
                choices=before.choices | choices,
            )
    return recorder.record


def _measure(
    workload: Workload, sides: list[SideSpec], progress: Progress
) -> tuple[list[Metric], list[Series], dict[str, str]]:
    with workers([*sides, limits_side(sys.executable)], workload, progress) as (running, described):
        session = _Session(workload, running)
        for side in sides:
            session.train(side.name, workload.check_steps)
        session.limits()  # not counted: oneDNN makes its kernels at the first call
        rounds = run_rounds(
            list(running),
            workload.rounds,
            gauge=session.gauge,
            measure=session.measure,
            progress=progress,
            label=f"bench training {workload.name}",
        )
    measured = Measured(f"{workload.name}, batch {workload.batch_size}", workload.batch_size, "step", sides, rounds)
    choices = {f"{workload.name}: {name}": words for name, words in described.items()}
    metrics = speed_metrics(measured) + _checks(measured, workload, session.losses)
    return metrics, speed_series(measured) + loss_series(session.losses, measured.split), choices


class _Session:
    """Asks the workers, and keeps every loss."""

    def __init__(self, workload: Workload, running: Mapping[str, Worker]) -> None:
        self.losses: dict[str, list[float]] = {}
        self._workload = workload
        self._running = running

    def gauge(self) -> float:
        return float(self._running[LIMITS_SIDE].ask(do="gauge")["seconds"])

    def measure(self, name: str) -> dict[str, list[float]]:
        if name == LIMITS_SIDE:
            return self.limits()
        seconds = self.train(name, self._workload.steps)
        return {name: seconds[1:] if self._workload.drop_first else seconds}

    def train(self, name: str, steps: int) -> list[float]:
        answer = self._running[name].ask(do="train", steps=steps)
        self.losses.setdefault(name, []).extend(answer["losses"])
        return list(answer["seconds"])

    def limits(self) -> dict[str, list[float]]:
        repeats = 1 if self._workload.batch_size > FEW_ROWS else 3
        batch_size = self._workload.batch_size
        found: dict[str, Any] = self._running[LIMITS_SIDE].ask(
            do="limits", batch_size=batch_size, repeats=repeats, training=True
        )
        return {limit: [found[limit]] for limit in LIMITS}


def _checks(measured: Measured, workload: Workload, losses: Mapping[str, list[float]]) -> list[Metric]:
    """Agreement of the first losses, distance of all of them, and the verdict."""
    fp32 = [side.name for side in measured.sides if side.is_fp32]
    if not fp32:
        return [verdict_metric(judge({}, workload.needed_of_limit, 0.0), measured.split)]
    first = [losses[name][: workload.check_steps] for name in fp32]
    difference = largest_relative_difference(first)
    agreement = Metric(
        name="first losses of the fp32 sides, largest relative difference",
        value=difference,
        unit="1",
        split=measured.split,
        selection=f"steps 1 to {workload.check_steps} of {', '.join(fp32)}; {fp32[0]}: "
        + ", ".join(f"{loss:.5f}" for loss in first[0]),
    )
    reference = "pytorch" if "pytorch" in fp32 else fp32[-1]
    of_limit = {side.name: measured.of_limit(side.name, LIMITS[0]) for side in measured.sides}
    verdict = judge(of_limit, workload.needed_of_limit, difference)
    return [
        agreement,
        *loss_metrics(losses, reference, measured.split),
        verdict_metric(verdict, measured.split),
    ]
