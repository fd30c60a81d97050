"""The section of one data set: what was run, on what, how good, figures, and how to repeat it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlrm_core.schema.dataset import SPLITS, DatasetSpec
from reports.dataset.figures import drawings
from reports.dataset.repeat import how_to_repeat
from reports.dataset.scores import comparisons, scores, verdict_sentences
from reports.html.document import figure
from reports.html.markup import Html, block, code, details, facts, join, section, table, tag
from reports.html.svg import drawing
from reports.read.collect import Collection, Entry
from reports.read.grouping import Group, Variant, config_key

SETTINGS = {
    "embedding dimension": "model.embedding_dim",
    "bottom MLP": "model.bottom_mlp_sizes",
    "top MLP": "model.top_mlp_sizes",
    "interaction": "model.interaction",
    "MLP optimiser": "mlps",
    "table optimiser": "tables",
    "schedule": "schedule",
    "batch size": "batch_size",
    "epochs": "epochs",
    "stopping": "stopping",
    "precision": "precision",
    "deterministic": "deterministic",
}


def title(group: Group) -> str:
    """The heading of a data set."""
    if group.spec is None:
        return "Unknown data set" if group.digest is None else f"Data set {group.digest[:12]}"
    kind = "Planted sample" if group.optimum else "Data set"
    return f"{kind} {group.spec.digest[:12]}: {group.spec.splits['train'].rows:,} rows to train on"


@dataclass(frozen=True)
class Part:
    """The section of a data set, its one-line verdicts, and how many figures it has."""

    id_: str
    title: str
    content: Html
    verdicts: list[Html]
    num_figures: int


def data_section(group: Group, collection: Collection, number: int, first_figure: int, repeat: str) -> Part:
    """The section of the `number`-th data set; its figures are numbered from `first_figure` on."""
    id_, compared = f"data-{number}", comparisons(group)
    with drawing():
        drawn = [figure(each, first_figure + i) for i, each in enumerate(drawings(group))]
    parts = {
        "What was run": _what_was_run(group),
        "On what": _on_what(group),
        "How good": scores(group, compared),
        "Figures": join(drawn) if drawn else tag("p", "The records hold no curves."),
        "How to repeat it": how_to_repeat(group, collection, repeat),
    }
    inner = [section(3, name, content, id_=f"{id_}-{i}") for i, (name, content) in enumerate(parts.items())]
    content = section(2, title(group), *inner, id_=id_)
    return Part(id_, title(group), content, verdict_sentences(group, compared), len(drawn))


def _what_was_run(group: Group) -> Html:
    parts: list[object] = [_settings_table(group.variants)] if group.variants else []
    chosen = [[model.name, model.auc.selection] for model in group.models]
    if chosen:
        parts.append(table(["model", "chosen by"], chosen, "Which state of each model was scored"))
    configs: dict[str, Entry] = {}
    for entry in group.entries:
        if entry.record.config:
            configs.setdefault(config_key(entry), entry)
    for entry in configs.values():
        text = json.dumps(entry.record.config, indent=2, ensure_ascii=False)
        parts.append(details(f"Whole configuration of {entry.folder} ({entry.record.command})", block(text)))
    return join(parts)


def _settings_table(variants: Sequence[Variant]) -> Html:
    """Settings by row, one column a variant; what no record names is left out."""
    columns = [dict(_settings(variant)) for variant in variants]
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [[name, *(column.get(name, "–") for column in columns)] for name in names]
    return table(["setting", *(variant.name for variant in variants)], rows, "Configuration")


def _settings(variant: Variant) -> Iterator[tuple[str, str]]:
    record = variant.runs[0].entry.record
    yield "preset", str(record.config.get("preset", "–"))
    yield "seeds", ", ".join("–" if run.seed is None else str(run.seed) for run in variant.all_runs)
    for name, path in SETTINGS.items():
        value = _setting(record.config.get("train"), path)
        if value is not None:
            yield name, value
    speed = [metric.value for run in variant.all_runs if (metric := run.entry.record.metric("throughput", "train"))]
    if speed:
        yield "training speed [rows/s]", ", ".join(f"{value:,.0f}" for value in speed)
    yield from ((f"{name} (as run)", text) for name, text in record.choices.items() if name != "selection")


def _setting(values: Any, path: str) -> str | None:
    """A value by its dotted path as text, None if there is no such key."""
    for key in path.split("."):
        if not isinstance(values, dict) or key not in values:
            return None
        values = values[key]
    if isinstance(values, dict):
        return ", ".join(f"{key} {_plain(value)}" for key, value in values.items())
    return _plain(values)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " – ".join(map(str, value))
    return "none" if value is None else str(value)


def _on_what(group: Group) -> Html:
    spec = group.spec
    if spec is None:
        digest = group.digest or "none recorded"
        return tag("p", f"No dataset.json with the digest of these runs ({digest}) lies below the runs folder.")
    sizes = [[f.name, f"{f.cardinality:,}", f.dtype, _or_unknown(f.frequency_limit)] for f in spec.categorical]
    tables = table(["feature", "ids", "stored as", "frequency limit"], sizes, "Embedding tables")
    made = facts(_data_facts(group, spec), "How the raw rows became ids and numbers")
    return join([_splits_table(group, spec), made, details("Size of each embedding table", tables)])


def _splits_table(group: Group, spec: DatasetSpec) -> Html:
    rows = []
    for name, split in sorted(spec.splits.items(), key=lambda item: SPLITS.index(item[0])):
        held = f"{split.holdback_rows:,}" if split.holdback_rows else "–"
        files = ", ".join(source.name for source in split.sources) or "–"
        rows.append([name, f"{split.rows:,}", held, _click_rate(group, name, split.rows), files])
    return table(["part", "rows", "of them held back", "click rate", "raw files"], rows, "Rows by part")


def _click_rate(group: Group, split: str, rows: int) -> str:
    """From the labels on disk, else from a record of a model that was scored on that part."""
    for found in group.found if rows else ():
        path = found.path / split / found.spec.label_file
        if path.is_file() and path.stat().st_size == rows:
            return f"{np.memmap(path, dtype=np.bool_, mode='r').mean():.5f}"
    metrics = [model.entry.record.metric("click_rate", split) for model in group.models] if split == "test" else []
    return next((f"{metric.value:.5f}" for metric in metrics if metric), "–")


def _or_unknown(value: object) -> object:
    return "unknown" if value is None else value


def _data_facts(group: Group, spec: DatasetSpec) -> Sequence[tuple[str, object]]:
    preparation = spec.preparation
    total, largest = sum(spec.cardinalities.values()), max(spec.cardinalities.values(), default=0)
    rows: list[tuple[str, object]] = [
        ("numerical features", len(spec.numerical)),
        ("categorical features", f"{len(spec.categorical)}, {total:,} ids in all, {largest:,} in the largest table"),
        (
            "frequency limit",
            f"{_or_unknown(preparation.frequency_limit)} rows for an id of its own; id 0: {spec.id_zero}",
        ),
        (
            "ids counted in",
            {"train": "the training rows", "all": "all rows"}.get(preparation.vocabulary, "unknown rows"),
        ),
        ("numerical transform", preparation.numerical_transform),
        ("engine", spec.engine),
        ("digest", code(spec.digest)),
        ("vocabulary digest", code(spec.vocabulary_digest)),
    ]
    if group.optimum is not None:
        best = group.optimum
        known = f"AUC {best.best_auc:.5f}, log loss {best.best_log_loss:.5f} nat; {best.name} has the SHA-256 of the test file"
        rows.append(("best attainable on the test part", known))
    return rows
