"""A published number beside ours: what may be compared, within which tolerance, and what came of it.

REPRODUCED, WITHIN NOISE and NOT REPRODUCED need a run record of ours that agrees with the number in all that it depends on:
of a score the data, the preparation, the batch and the precision; of a speed the hardware, the model's size, the batch and the
precision. Everything else is NOT COMPARABLE, and the reasons are listed.
"""

import math
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from scipy.stats import t

from dlrm_core.schema.config import load_preset
from dlrm_core.schema.dataset import DatasetSpec
from dlrm_core.schema.published import PublishedFigure
from dlrm_core.schema.record import RunRecord
from reports.html.markup import Html, slug, tag
from reports.published import figures
from reports.read.collect import Entry
from reports.read.grouping import Group

Verdict = Literal["REPRODUCED", "WITHIN NOISE", "NOT REPRODUCED", "NOT COMPARABLE"]
VERDICTS: tuple[Verdict, ...] = ("REPRODUCED", "WITHIN NOISE", "NOT REPRODUCED", "NOT COMPARABLE")

TRAINING_ROWS = 4_195_197_692  # days 0 to 22 of the Criteo 1TB click logs, from the published number of steps
TEST_ROWS = 89_137_318  # the first half of day 23
FREQUENCY_LIMIT = {"small": 15, "large": 3, "xlarge": 2}
SMALL_ROWS = 32_709_138  # sum of the cardinalities in HEAD's tests/feature_specs/criteo_f15.yaml
PRESETS = {32768: "criteo_1tb_small", 65536: "criteo_1tb_large"}  # published settings, by global batch
SIZES = ("model.embedding_dim", "model.bottom_mlp_sizes", "model.top_mlp_sizes", "model.max_table_size")
SETTINGS = ("mlps", "tables", "schedule", "epochs", "max_steps", "max_rows", "model.dropout", "average_decay")
SCORES = ("auc", "auc_mean")
SPEEDS = {"throughput": 1, "time_to_train": -1, "latency_mean": -1, "latency_p50": -1}  # 1: more is better
RELATIVE = 0.06
RELATIVE_ORIGIN = (
    "6 %, rounded up from 5.8 %, the largest gap between the time to train that the README of June 2020 prints and what "
    "its own throughput gives for one epoch"
)
CONFIDENCE = 0.95


def mark(word: Verdict) -> Html:
    """A verdict: always words, the colour only helps."""
    return tag("strong", word, class_=f"verdict {slug(word)}")


@dataclass(frozen=True)
class Tolerance:
    """How far a value may lie from the published one, in its own unit, and where that figure comes from."""

    value: float
    origin: str


@dataclass(frozen=True)
class Ours:
    """Values of ours for a published number, in its base unit, and in what their runs differ from it."""

    values: tuple[float, ...]
    entries: tuple[Entry, ...]
    differences: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Over the runs."""
        return statistics.mean(self.values)


@dataclass(frozen=True)
class Judgement:
    """The verdict on a published number. `interval` is the 95 % one of our mean, in the number's base unit."""

    figure: PublishedFigure
    verdict: Verdict
    because: str
    ours: Ours | None = None
    interval: tuple[float, float] | None = None
    tolerance: Tolerance | None = None


def judge(figure: PublishedFigure, groups: Sequence[Group], benches: Sequence[Entry] = ()) -> Judgement:
    """The verdict on one published number, from the models that were trained and the finished records of benchmarks."""
    candidates = _inference(figure, benches) if is_inference(figure) else _training(figure, groups)
    found = sorted(candidates, key=lambda each: (len(each.differences), -len(each.values)))
    if not found:
        return Judgement(figure, "NOT COMPARABLE", "no run record of ours measures this")
    ours = found[0]
    if ours.differences:
        return Judgement(figure, "NOT COMPARABLE", "; ".join(ours.differences), ours)
    tolerance = find_tolerance(figure)
    interval = _interval(figure, ours.values)
    verdict, because = _verdict(figure, ours, interval, tolerance)
    return Judgement(figure, verdict, because, ours, interval, tolerance)


def _verdict(
    figure: PublishedFigure, ours: Ours, interval: tuple[float, float] | None, tolerance: Tolerance
) -> tuple[Verdict, str]:
    published, _ = figure.in_base_unit()
    better = SPEEDS.get(figure.quantity, 0)
    low, high = interval or (ours.mean, ours.mean)
    n = f"n = {len(ours.values)}"
    bottom = -math.inf if better < 0 else published - tolerance.value
    top = math.inf if better > 0 else published + tolerance.value
    if bottom <= low and high <= top:
        return (
            "REPRODUCED",
            f"our interval lies within the tolerance, {n}" if interval else f"within the tolerance, {n}",
        )
    if high < bottom or low > top:
        return (
            "NOT REPRODUCED",
            f"our interval lies outside the tolerance, {n}" if interval else f"outside the tolerance, {n}",
        )
    return "WITHIN NOISE", f"our interval reaches over the edge of the tolerance, {n}; more runs would tell"


def find_tolerance(figure: PublishedFigure) -> Tolerance:
    """By what the number is: a score or a speed."""
    if figure.quantity in SCORES:
        deviation, n = _seed_deviation()
        half_digit = 0.5 * 10.0 ** -len(figure.text.partition(".")[2])
        value = float(t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * deviation + half_digit
        origin = (
            f"95 % range of one published run, from the standard deviation {deviation:.6f} of the {n} published seeds, and half a "
            "unit of the last printed digit"
        )
        return Tolerance(value, origin)
    return Tolerance(RELATIVE * figure.in_base_unit()[0], RELATIVE_ORIGIN)


@cache
def _seed_deviation() -> tuple[float, int]:
    """Standard deviation of the published single-precision seeds, and how many there are."""
    values = [
        each.value
        for each in figures()
        if each.quantity == "auc" and each.seed is not None and each.precision == "fp32"
    ]
    return statistics.stdev(values), len(values)


def _interval(figure: PublishedFigure, values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean: by our own spread from three runs on; of fewer scores by the published seeds' spread."""
    mean, n = statistics.mean(values), len(values)
    if n >= 3:
        reach = float(t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * statistics.stdev(values) / math.sqrt(n)
    elif figure.quantity in SCORES:
        deviation, seeds = _seed_deviation()
        reach = float(t.ppf(0.5 + CONFIDENCE / 2, seeds - 1)) * deviation / math.sqrt(n)
    else:
        return None
    return mean - reach, mean + reach


def is_inference(figure: PublishedFigure) -> bool:
    """Whether the number is of scoring, in the process or by a server, and not of training."""
    return any(word in figure.table for word in ("inference", "triton"))


def _inference(figure: PublishedFigure, benches: Sequence[Entry]) -> Iterable[Ours]:
    """What `bench inference` measured at that batch, in the nearest precision; it runs in the process, without a server."""
    side = "ours:fp32" if figure.precision in ("fp32", "tf32") else "ours:auto"
    name = f"{side} throughput" if figure.quantity == "throughput" else f"{side} call"
    if figure.quantity not in SPEEDS:
        return
    for entry in benches:
        for metric in entry.record.metrics if entry.record.name.startswith("bench inference") else ():
            config, _, batch = metric.split.partition(", batch ")
            if metric.name == name and batch == str(figure.batch_size):
                precision = [] if side == "ours:fp32" else [f"other precision: bf16, not {figure.precision}"]
                server = ["in the process, without a server"] if "triton" in figure.table else []
                tables = f"other model: config {config}, tables of at most 100,000 rows"
                hardware = _hardware_differences(figure, entry.record)
                value = metric.value / (1000.0 if metric.unit == "ms" else 1.0)
                yield Ours((value,), (entry,), (*hardware, tables, *precision, *server))


def _training(figure: PublishedFigure, groups: Sequence[Group]) -> Iterable[Ours]:
    """Each variant of the model that was trained and has such a figure."""
    if figure.seed is not None:  # one seed of theirs is not one of ours
        return
    for group in groups:
        for variant in group.variants:
            pairs = [
                (value, run.entry)
                for run in variant.all_runs
                if (value := _value(figure, run.entry.record)) is not None
            ]
            if pairs:
                entries = tuple(entry for _, entry in pairs)
                differences = tuple(_differences(figure, entries[0].record, group.spec))
                yield Ours(tuple(value for value, _ in pairs), entries, differences)


def _value(figure: PublishedFigure, record: RunRecord) -> float | None:
    """The same quantity of ours, times in seconds."""
    if figure.quantity == "time_to_train":
        return record.timings_s.get("total")
    name, split = {"auc": ("auc", "test"), "auc_mean": ("auc", "test"), "log_loss": ("log_loss", "test")}.get(
        figure.quantity, (figure.quantity, "train")
    )
    metric = record.metric(name, split)
    return metric.value if metric else None


def _differences(figure: PublishedFigure, record: RunRecord, spec: DatasetSpec | None) -> Iterable[str]:
    """In what a run differs from the one that a published number is of; nothing if it may be compared."""
    size = figure.model_size or "small"
    if not is_published_data(spec, size):
        own = (
            "unknown"
            if spec is None
            else f"{spec.splits['train'].rows:,} rows to train on, {spec.splits['test'].rows:,} to test on"
        )
        yield f"other data and scale: {own}, not the {TRAINING_ROWS:,} and {TEST_ROWS:,} of Criteo 1TB ({size})"
    train = record.config.get("train")
    train = train if isinstance(train, dict) else {}
    batch, published_batch = train.get("batch_size"), figure.global_batch_size
    if published_batch is not None and batch != published_batch:
        yield f"other batch: {batch}, not {published_batch:,} rows"
    if published_batch in PRESETS:
        yield from _setting_differences(train, PRESETS[published_batch], score=figure.quantity not in SPEEDS)
    precision = record.choices.get("precision", str(train.get("precision"))).partition(",")[0]
    if figure.precision is not None and precision not in _same_precision(figure.precision):
        yield f"other precision: {precision}, not {figure.precision}"
    if figure.quantity in SPEEDS:
        yield from _hardware_differences(figure, record)


def _setting_differences(train: dict[str, Any], preset: str, *, score: bool) -> Iterable[str]:
    """In what a training configuration differs from the published one; a speed depends on the model's sizes alone."""
    published = load_preset(preset).train.model_dump(mode="json")
    for path in (*SIZES, *(SETTINGS if score else ())):
        own, theirs = _at(train, path), _at(published, path)
        if own != theirs:
            yield f"other {path}: {own}, not {theirs}"


def _at(values: Any, path: str) -> Any:
    """A value by its dotted path, None if there is none."""
    for key in path.split("."):
        values = values.get(key) if isinstance(values, dict) else None
    return values


def is_published_data(spec: DatasetSpec | None, size: str) -> bool:
    """Whether a data set is Criteo 1TB, cut into parts as published and prepared with the frequency limit of that size of model."""
    if spec is None or (spec.splits["train"].rows, spec.splits["test"].rows) != (TRAINING_ROWS, TEST_ROWS):
        return False
    limit = spec.preparation.frequency_limit
    if limit is None:  # another tool made it; of the small model the published code names the size of every table
        return size == "small" and sum(spec.cardinalities.values()) == SMALL_ROWS
    return limit == FREQUENCY_LIMIT[size]


def _same_precision(published: str) -> tuple[str, ...]:
    return ("fp16",) if published in ("amp", "fp16") else (published,)


def _hardware_differences(figure: PublishedFigure, record: RunRecord) -> Iterable[str]:
    gpus, wanted = record.environment.gpus, gpu_pattern(figure.hardware)
    if not gpus:
        yield f"other hardware: a CPU ({record.environment.processor}), not {figure.num_gpus or 1} GPU of {figure.hardware}"
    elif not all(re.search(wanted, gpu) for gpu in gpus):
        yield f"other hardware: {', '.join(sorted(set(gpus)))}, not {figure.hardware}"
    elif len(gpus) != (figure.num_gpus or 1):
        yield f"other hardware: {len(gpus)} GPUs, not {figure.num_gpus or 1}"


def gpu_pattern(hardware: str) -> str:
    """What the name of a GPU must match to be one of that system.

    >>> gpu_pattern("DGX A100 40GB"), gpu_pattern("DGX-1, V100 32GB")
    ('A100.*40 ?GB', 'V100.*32 ?GB')
    """
    name = re.search(r"[AVTH]\d+", hardware.replace("DGX", "").replace("-1 ", " "))
    memory = re.search(r"(\d+) ?GB", hardware)
    return (re.escape(name[0]) if name else "(?!)") + (f".*{memory[1]} ?GB" if memory else "")
