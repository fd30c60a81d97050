"""Which runs of ours may stand beside a published number, and in what they differ from it."""

import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dlrm_core.schema.config import load_preset
from dlrm_core.schema.dataset import DatasetSpec
from dlrm_core.schema.published import PublishedFigure
from dlrm_core.schema.record import RunRecord
from reports.read.collect import Entry
from reports.read.grouping import Group

TRAINING_ROWS = 4_195_197_692  # days 0 to 22 of the Criteo 1TB click logs, from the published number of steps
TEST_ROWS = 89_137_318  # the first half of day 23
FEATURES = (13, 26)  # numerical and categorical
TRANSFORM = "log_x_plus_3_missing_0"  # what the published code does
FREQUENCY_LIMIT = {"small": 15, "large": 3, "xlarge": 2}
SMALL_ROWS = 32_709_138  # sum of the cardinalities in HEAD's tests/feature_specs/criteo_f15.yaml
PRESETS = {32768: "criteo_1tb_small", 65536: "criteo_1tb_large"}  # published settings, by global batch
# What a speed depends on besides hardware, batch and precision, and what a score and a time to train depend on besides that.
STEP = (
    *(
        "model.embedding_dim",
        "model.bottom_mlp_sizes",
        "model.top_mlp_sizes",
        "model.max_table_size",
        "model.hash_indices",
    ),
    *("model.dropout", "mlps.name", "tables.name"),
)
WHOLE = ("mlps", "tables", "schedule", "epochs", "max_steps", "max_rows", "average_decay", "reshuffle", "standardize")
SCORES = ("auc", "auc_mean")
SPEEDS = {"throughput": 1, "time_to_train": -1, "latency_mean": -1, "latency_p50": -1}  # 1: more is better


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


def candidates(figure: PublishedFigure, groups: Sequence[Group], benches: Sequence[Entry]) -> Iterable[Ours]:
    """Whatever of ours measures the same quantity, each with its differences; runs that differ in nothing are pooled."""
    return _inference(figure, benches) if is_inference(figure) else _training(figure, groups)


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
            # A repeat of a seed is no run of its own; what differs in anything is not pooled.
            alike: dict[tuple[str, ...], list[tuple[float, Entry]]] = {}
            for run in variant.runs:
                value = _value(figure, run.entry.record)
                if value is not None:
                    differences = tuple(_differences(figure, run.entry.record, group.spec))
                    alike.setdefault(differences, []).append((value, run.entry))
            for differences, pairs in alike.items():
                yield Ours(tuple(value for value, _ in pairs), tuple(entry for _, entry in pairs), differences)


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
    if published_batch not in PRESETS:
        yield "the published document does not state the batch size, and with it the settings"
    elif batch != published_batch:
        yield f"other batch: {batch}, not {published_batch:,} rows"
    if published_batch in PRESETS:
        whole = figure.quantity in (*SCORES, "time_to_train", "log_loss")
        yield from _setting_differences(train, PRESETS[published_batch], (*STEP, *(WHOLE if whole else ())))
    precision = record.choices.get("precision", str(train.get("precision"))).partition(",")[0]
    if figure.precision is not None and precision not in _same_precision(figure.precision):
        yield f"other precision: {precision}, not {figure.precision}"
    if figure.quantity in SPEEDS:
        yield from _hardware_differences(figure, record)


def _setting_differences(train: dict[str, Any], preset: str, paths: Sequence[str]) -> Iterable[str]:
    """In what a training configuration differs from the published one."""
    published = load_preset(preset).train.model_dump(mode="json")
    for path in paths:
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
    if (len(spec.numerical), len(spec.categorical)) != FEATURES:
        return False
    limit, vocabulary = spec.preparation.frequency_limit, spec.preparation.vocabulary
    if limit is None:  # another tool made it; of the small model the published code names the size of every table
        return size == "small" and sum(spec.cardinalities.values()) == SMALL_ROWS
    return limit == FREQUENCY_LIMIT[size] and vocabulary == "all" and spec.preparation.numerical_transform == TRANSFORM


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
