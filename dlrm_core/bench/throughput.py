"""The command `bench throughput`: training over model size, batch, precision and implementation, and where a step's time goes."""

import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from dlrm_core.bench.copy_gauge import COPY_BYTES, copy_s
from dlrm_core.bench.cost import NUMBER_BYTES, bytes_a_sample, flop_a_sample, layer_flop_a_sample
from dlrm_core.bench.figures import LIMITS, Measured, curve, figure_metric, gauge_metric
from dlrm_core.bench.request import LIMITS_SIDE, limits_side
from dlrm_core.bench.rounds import run_rounds
from dlrm_core.bench.step_parts import PARTS, SideProcess, processes
from dlrm_core.bench.throughput_request import Asked, Case
from dlrm_core.bench.timing import percentile, rate
from dlrm_core.bench.training import FEW_ROWS
from dlrm_core.bench.workers import Worker, workers
from dlrm_core.bench.workload import CARDINALITIES, CLICK_RATE, CONFIGS, NUM_NUMERICAL, ZIPF_EXPONENT, Workload
from dlrm_core.data import open_part
from dlrm_core.schema.config import SyntheticConfig
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import Metric, Recorder, RunRecord, Series, recording
from dlrm_core.synthetic import write_synthetic

LIMITS_OF = {"fp32": LIMITS[:2], "bf16": LIMITS[2:]}  # routes whose products bound a precision
COPY = "copy"
SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "max": 1.0}
LOADER_BATCHES = 32  # that the loader alone reads a round, enough to take milliseconds
DISTINCT_BATCHES = 16  # of the largest batch size, in the data set that is made


def bench_throughput(*, out: Path, asked: Asked, data: Path | None = None, progress: Progress = silent) -> RunRecord:
    """Time training steps of every case, whole and in parts, in turns; write OUT/run.json.

    A case's parts are ``whole``, batches read ahead from disk and the training step, as the training loop has them;
    ``compute``, the same step on batches in memory; and ``loader``, the reading alone. What cannot run stands in the
    record's choices with the reason.

    Parameters
    ----------
    data : Path, optional
        Prepared data set with 13 numerical and 26 categorical features; by default one with the sizes of the workloads'
        tables is made below `out`, and removed at the end.

    Raises
    ------
    KitError
        If DATA does not fit, a side's process ends in between or `out` cannot be written.
    """
    synthetic = _synthetic(asked)
    words = asked.words() + ("" if data is None else " --data DATA")
    config = asked.to_dict() | {"cases": [case.to_dict() for case in asked.cases()]}
    with (
        recording(
            out,
            "bench",
            name="bench throughput",
            repeat=f"dlrm bench throughput --out DIR {words}",
            config=config | ({"synthetic": synthetic.model_dump(mode="json")} if data is None else {}),
            seeds={"data and weights": synthetic.seed},
        ) as recorder,
        tempfile.TemporaryDirectory(dir=out, prefix="data-") as made,
    ):
        if data is None:
            write_synthetic(out=Path(made), config=synthetic, progress=progress)
        folder = data or Path(made)
        recorder.update(dataset_digest=_check_data(folder, asked))
        for size in asked.sizes:
            _measure_size(size, folder, asked, recorder, progress)
    return recorder.record


def _synthetic(asked: Asked) -> SyntheticConfig:
    return SyntheticConfig(
        rows=DISTINCT_BATCHES * max(asked.batch_sizes),
        test_rows=0,
        cardinalities=CARDINALITIES,
        numerical=NUM_NUMERICAL,
        ids="zipf",
        zipf_exponent=ZIPF_EXPONENT,
        click_rate=CLICK_RATE,
        seed=CONFIGS["S"].seed,
    )


def _check_data(data: Path, asked: Asked) -> str:
    """The digest of a data set that fits."""
    part = open_part(data, "train")
    numerical, tables = len(part.spec.numerical), len(part.spec.categorical)
    if (numerical, tables) != (NUM_NUMERICAL, len(CARDINALITIES)):
        raise KitError(
            f"{data}: has {numerical} numerical and {tables} categorical features; the models need {NUM_NUMERICAL} and "
            f"{len(CARDINALITIES)}, as Criteo's logs have; leave --data out for a data set that fits"
        )
    if len(part) < max(asked.batch_sizes):
        raise KitError(
            f"{data}: has {len(part)} training rows, batches of {max(asked.batch_sizes)} are asked for; "
            "lower --batch-sizes or leave --data out"
        )
    return part.spec.digest


def _measure_size(size: str, data: Path, asked: Asked, recorder: Recorder, progress: Progress) -> None:
    """All cases of one model size with the same processes, each batch size put into the record as soon as it is there."""
    workload = CONFIGS[size]
    cases = [case for case in asked.cases() if case.size == size]
    with (
        processes(size, data, asked) as (running, words),
        workers([limits_side(sys.executable)], workload, progress) as (limits, _),
    ):
        choices = _choices(cases, words, running)
        recorder.update(choices=recorder.record.choices | choices)
        for batch_size in asked.batch_sizes:
            group = _Group(workload, batch_size, running, limits[LIMITS_SIDE])
            measured = group.rounds(asked, progress)
            able = [case for case in cases if case.batch_size == batch_size and _name(case) in running]
            before = recorder.record
            recorder.update(
                metrics=(*before.metrics, *_limit_metrics(measured), *chain(*(_metrics(measured, c) for c in able))),
                series=(*before.series, *chain(*(_curves(measured, case) for case in able))),
            )


def _choices(cases: Sequence[Case], words: Mapping[str, str], running: Iterable[str]) -> dict[str, str]:
    """By label what runs, or why not; and where a case that runs has no limit, that too."""
    unlimited = [case for case in cases if case.precision not in LIMITS_OF and _name(case) in running]
    return {case.label: words[_name(case)] for case in cases} | {
        f"{case.label}: limit": f"none, products in {case.precision} are not measured" for case in unlimited
    }


def _name(case: Case) -> str:
    return f"{case.precision}, {case.implementation}"


@dataclass(frozen=True)
class _Group:
    """One model size and batch size: what is measured in the same rounds."""

    workload: Workload
    batch_size: int
    running: Mapping[str, SideProcess]
    limits: Worker

    def rounds(self, asked: Asked, progress: Progress) -> Measured:
        """Everything once uncounted, which compiles and fills caches, then the rounds."""
        names = [*self.running, LIMITS_SIDE]
        for name in names:
            self.measure(name, 2)
        split = f"{self.workload.name}, batch {self.batch_size}"
        found = run_rounds(
            names,
            asked.rounds,
            gauge=lambda: float(self.limits.ask(do="gauge")["seconds"]),
            measure=lambda name: self.measure(name, asked.steps),
            progress=progress,
            label=f"bench throughput {split}",
        )
        return Measured(split, self.batch_size, "step", [], found)

    def measure(self, name: str, steps: int) -> dict[str, list[float]]:
        """Seconds by what was measured, the first of the steps left out."""
        if name == LIMITS_SIDE:
            repeats = 1 if self.batch_size > FEW_ROWS else 3
            found = self.limits.ask(do="limits", batch_size=self.batch_size, repeats=repeats, training=True)
            return {limit: [found[limit]] for limit in LIMITS} | {COPY: [copy_s()]}
        side = self.running[name]
        spent = {what: side.seconds(what, self.batch_size, steps)[1:] for what in ("whole", "compute")}
        # Read ahead, batches come in bursts, some of them during the wait for the first: what counts is the mean of all.
        read = side.seconds("loader", self.batch_size, LOADER_BATCHES)
        spent["loader"] = [sum(read) / len(read)]
        return {f"{name}: {what}": seconds for what, seconds in spent.items()}


def _limit_metrics(measured: Measured) -> list[Metric]:
    return [
        figure_metric(measured, f"limit {limit}", rate(measured.seconds(limit), measured.rows), "samples/s")
        for limit in LIMITS
    ]


def _metrics(group: Measured, case: Case) -> list[Metric]:
    """All figures of a case, those that it shares with the others of its rounds too, under its label."""
    measured = Measured(case.label, group.rows, group.unit, [], group.rounds)
    key = {what: f"{_name(case)}: {what}" for what in PARTS}
    found = [
        figure_metric(measured, name, rate(measured.seconds(key[what]), measured.rows), "samples/s")
        for name, what in (("throughput", "whole"), ("compute throughput", "compute"), ("loader throughput", "loader"))
    ]
    found += _distribution(measured, "step", key["whole"]) + _distribution(measured, "compute step", key["compute"])
    found += _of_limit(measured, case, key)
    found.append(gauge_metric(measured))
    found.append(figure_metric(measured, "copy bandwidth", rate(measured.seconds(COPY), 2 * COPY_BYTES), "bytes/s"))
    return found + _costs(case)


def _costs(case: Case) -> list[Metric]:
    workload = CONFIGS[case.size]
    moved = bytes_a_sample(workload, case.batch_size, NUMBER_BYTES[case.precision])
    costs = [
        ("flop", flop_a_sample(workload), "layers and interaction, forward and backward"),
        ("bytes", moved, "inputs, rows, activations and weights, read and written as if nothing stayed in a cache"),
    ]
    return [
        Metric(name=f"{unit} a sample", value=value, unit=unit, split=case.label, selection=f"by formula: {words}")
        for unit, value, words in costs
    ]


def _distribution(measured: Measured, name: str, key: str) -> list[Metric]:
    quiet = measured.rounds.quiet_s(key)
    values = [1e3 * value for one in quiet for value in one]
    words = f"of {len(values)} in {len(quiet)} quiet of {len(measured.rounds.gauge_s)} rounds"
    return [
        Metric(
            name=f"{name} {share}", value=percentile(values, place), unit="ms", split=measured.split, selection=words
        )
        for share, place in SHARES.items()
    ]


def _of_limit(measured: Measured, case: Case, key: Mapping[str, str]) -> list[Metric]:
    """The fastest route's rate for the layers' products in the case's precision, and the case's speed as a share of it."""
    if case.precision not in LIMITS_OF:
        return []
    limit = min(LIMITS_OF[case.precision], key=lambda route: measured.seconds(route).median)
    flop = layer_flop_a_sample(CONFIGS[case.size]) * case.batch_size
    roof = figure_metric(measured, "limit rate", rate(measured.seconds(limit), flop), "flop/s")
    words = f"ratio of the two medians over quiet rounds; limit {limit}"
    return [roof.model_copy(update={"selection": f"{limit} products of all layers; {roof.selection}"})] + [
        Metric(name=name, value=measured.of_limit(key[what], limit), unit="1", split=case.label, selection=words)
        for name, what in (("of limit", "whole"), ("compute of limit", "compute"))
    ]


def _curves(group: Measured, case: Case) -> list[Series]:
    """Every counted step of every round, quiet or not, in order."""
    return [
        curve(
            name,
            case.label,
            "step",
            "ms",
            [1e3 * value for one in group.rounds.measured_s[f"{_name(case)}: {what}"] for value in one],
        )
        for name, what in (("step", "whole"), ("compute step", "compute"))
    ]
