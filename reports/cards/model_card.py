"""The card of a model, with the parts of Mitchell et al., Model Cards for Model Reporting (arXiv:1810.03993), from records."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from reports.cards.architecture import architecture_blocks
from reports.cards.card import Block, Bullets, Card, Cell, Code, Commands, Grid, Words, file_name, make_card, settings
from reports.cards.dataset_card import dataset_file, dataset_title, licence_blocks, making_lines, remark_blocks
from reports.cards.model_scores import baseline_blocks, label, limit_blocks, merged, score_blocks
from reports.cards.origin import HUB_DATASETS, OWN, UNKNOWN, Origin, find_origin
from reports.dataset.repeat import EVALUATE, make_lines, raw_entries
from reports.pages.provenance import GIB, gpu_sentence
from reports.read.collect import Collection
from reports.read.grouping import Group, Model, Variant, config_key, is_scored
from reports.stats.statistics import over_seeds

INTENDED = "To study click prediction, to reproduce published training runs, and to compare implementations, precisions and seeds."
OUT_OF_SCOPE = (
    "Decisions about people: who is shown an offer, a price, a job, a credit or anything else that matters to them.",
    "Use in a product: the model knows one log, and nothing here says how it does on today's traffic.",
    "Finding out who stands behind a row, or what its values were.",
    "Use on other data: its ids mean something only with the vocabulary of its own data set.",
)
BY_GROUP = (
    "No score was taken by group of people, since the kit does not know what a column means; whether errors fall on some "
    "groups more than on others is unknown."
)
NO_PEOPLE = "No person stands behind any row, so that the scores say nothing about groups of people."
MADE_BY_MAKE = ("planted", "downloaded", "text")


def model_card(group: Group, variant: Variant, collection: Collection) -> Card:
    """The card of the runs of the DLRM that differ in nothing but their seed.

    Parameters
    ----------
    group : Group
        The data set and all that ran on it, from :func:`reports.read.grouping.group`.
    variant : Variant
        One of `group.variants`.
    collection : Collection
        The records that the group was made of.

    Returns
    -------
    Card
        Every number in it comes from a record, or from the predictions beside it.
    """
    origin = find_origin(group, collection)
    title = f"{variant.name} ({dataset_title(group, origin)})"
    details = [
        _identity(variant),
        *architecture_blocks(_train(variant), group.spec),
        _configuration(variant),
        _implementation(variant),
    ]
    sections: dict[str, Sequence[Block]] = {
        "Model details": details,
        "Version": _version(variant),
        "Intended use": [Words(INTENDED)],
        "Out-of-scope use": [Bullets(OUT_OF_SCOPE)],
        "Training data": _training_data(group, origin),
        "Evaluation": score_blocks(variant),
        "Comparison with baselines": baseline_blocks(group, variant),
        "Quantitative limits": limit_blocks(group, variant),
        "Time and hardware": _time_and_hardware(variant),
        "Caveats": [Bullets(list(_caveats(group, variant, origin)))],
        "Licence of the weights": _weights(origin),
        "How to repeat it": _repeat(group, variant, origin, collection),
    }
    name = file_name("model-card", variant.name, config_key(variant.runs[0].entry), group.digest or "")
    return make_card(title, name, _metadata(group, variant, origin), sections)


def _metadata(group: Group, variant: Variant, origin: Origin) -> dict[str, Any]:
    hub = HUB_DATASETS.get(origin.source or "")
    names = {"roc_auc": "test AUC, mean over seeds", "log_loss": "test log loss [nat], mean over seeds"}
    values = {"roc_auc": [run.auc.value for run in variant.runs], "log_loss": [r.log_loss.value for r in variant.runs]}
    metrics = [
        {"type": key, "name": name, "value": round(over_seeds(values[key]).mean, 5)} for key, name in names.items()
    ]
    data = {"name": dataset_title(group, origin), "type": hub or dataset_file(group), "split": "test"}
    result = {
        "task": {"type": "tabular-classification", "name": "Click prediction"},
        "dataset": data | ({"revision": group.digest} if group.digest else {}),
        "metrics": metrics,
    }
    return {
        **origin.metadata,
        "library_name": "pytorch",
        "pipeline_tag": "tabular-classification",
        "tags": ["dlrm", "click-through-rate", "recommendation", f"data-{origin.kind}"],
        **({"datasets": [hub]} if hub else {}),
        "metrics": list(names),
        "model-index": [{"name": variant.name, "results": [result]}],
    }


def _train(variant: Variant) -> dict[str, Any]:
    """The training part of the configuration that the runs share, but for the seed; empty if none was recorded."""
    train = variant.runs[0].entry.record.config.get("train")
    return train if isinstance(train, dict) else {}


def _seed(run: Model) -> str:
    return "none recorded" if run.seed is None else str(run.seed)


def _identity(variant: Variant) -> Grid:
    rows: list[Sequence[Cell]] = [
        [
            "kind",
            "DLRM: bottom MLP, embedding tables, interaction, top MLP, one logit (Naumov et al., arXiv:1906.00091)",
        ],
        ["runs", len(variant.all_runs)],
        ["seeds", ", ".join(map(_seed, variant.all_runs))],
        ["preset", str(variant.runs[0].entry.record.config.get("preset", "none recorded"))],
    ]
    return Grid(["what", "value"], rows, "Model")


def _configuration(variant: Variant) -> Block:
    rows = [[name, value] for name, value in settings(_train(variant)) if name != "seed"]
    if not rows:
        return Words("The records hold no training configuration.")
    return Grid(["setting", "value"], rows, "Training configuration as recorded, by the keys of --set", "run.json")


def _implementation(variant: Variant) -> Block:
    rows = [(run, (name, text)) for run in variant.all_runs for name, text in run.entry.record.choices.items()]
    if not rows:
        return Words("The records do not say which implementation ran.")
    return Grid(["runs", "choice", "as run"], merged(variant, rows), "Implementation as run", "run.json")


def _version(variant: Variant) -> list[Block]:
    sources: list[tuple[Model, tuple[Cell, ...]]] = []
    files: list[Sequence[Cell]] = []
    for run in variant.all_runs:
        record = run.entry.record
        commit, dirty = record.environment.git_commit, record.environment.git_dirty
        known = {None: "unknown", True: "yes", False: "no"}[dirty]
        sources.append(
            (run, (Code(record.environment.source_digest), Code(commit) if commit else "none recorded", known))
        )
        files += [[label(variant, run), name, Code(digest)] for name, digest in record.outputs.items()]
    head = ["runs", "source digest", "git commit", "uncommitted changes"]
    blocks: list[Block] = [Grid(head, merged(variant, sources), "Sources", "run.json")]
    if files:
        blocks.append(Grid(["run", "file", "SHA-256"], files, "Files of each run", "run.json"))
    return [*blocks, Words("The records hold no date: a version is a digest of the sources.")]


def _training_data(group: Group, origin: Origin) -> list[Block]:
    rows: list[Sequence[Cell]] = [
        ["data set", dataset_title(group, origin)],
        ["digest", Code(group.digest) if group.digest else "none recorded"],
        ["its card", f"{dataset_file(group)}.md"],
    ]
    if group.spec is not None:
        train, how = group.spec.splits["train"], group.spec.preparation
        rows += [
            ["training rows", f"{train.rows:,}"],
            ["of them held back for stopping", f"{train.holdback_rows:,}"],
            ["test rows", f"{group.spec.splits['test'].rows:,}"],
            ["frequency limit", "unknown" if how.frequency_limit is None else how.frequency_limit],
            ["vocabulary from", how.vocabulary],
            ["numerical transform", how.numerical_transform],
        ]
    return [Grid(["what", "value"], rows, "Training data")]


def _time_and_hardware(variant: Variant) -> list[Block]:
    times: list[Sequence[Cell]] = []
    machines: list[tuple[Model, tuple[Cell, ...]]] = []
    for run in variant.all_runs:
        name, record = label(variant, run), run.entry.record
        times += [[name, f"wall time, {part}", f"{value:.3f}", "s"] for part, value in record.timings_s.items()]
        speed, e = record.metric("throughput", "train"), record.environment
        times += [[name, "training speed", f"{speed.value:,.0f}", speed.unit]] if speed else []
        packages = ", ".join(f"{package} {version}" for package, version in e.packages.items())
        machines.append((run, (e.processor, e.cores, f"{e.memory_bytes / GIB:.1f}", f"Python {e.python}, {packages}")))
    head = ["runs", "processor", "cores", "memory [GiB]", "packages"]
    return [
        Grid(["run", "what", "value", "unit"], times, "Time", "run.json"),
        Grid(head, merged(variant, machines), "Machines", "run.json"),
        Words(gpu_sentence([run.entry for run in variant.all_runs])),
        Words("Energy was not measured."),
    ]


def _caveats(group: Group, variant: Variant, origin: Origin) -> Iterator[str]:
    mode: dict[Any, str] = {
        True: "Deterministic mode: the same bits for any number of threads and for a repeat on the same processor and packages.",
        False: "Not in deterministic mode: a repeat gives other last digits.",
    }
    yield mode.get(_train(variant).get("deterministic"), "The record does not say whether the mode was deterministic.")
    if len(variant.runs) == 1:
        yield "One seed: how much the seed matters cannot be said."
    environments = [run.entry.record.environment for run in variant.all_runs]
    if len({environment.source_digest for environment in environments}) > 1:
        yield "The runs come from several versions of the sources; compare them with care."
    if any(environment.git_dirty for environment in environments):
        yield "There were uncommitted changes, so that the commit alone does not give the sources; their digest does."
    for folder, how in _without_scores(group, variant):
        yield f"The run in {folder} of the same configuration has no scores ({how}) and is not counted."
    yield NO_PEOPLE if origin.licence is OWN else BY_GROUP


def _without_scores(group: Group, variant: Variant) -> Iterator[tuple[str, str]]:
    key = config_key(variant.runs[0].entry)
    for entry in group.entries:
        record = entry.record
        if record.command == "train" and not is_scored(entry) and config_key(entry) == key:
            yield entry.folder, ": ".join(part for part in (record.status, record.reason) if part)


def _weights(origin: Origin) -> list[Block]:
    if origin.licence is None:
        words = (
            f"Licence of the weights: {UNKNOWN}. Until then, treat the weights as something that may not be passed on."
        )
        return [Words(words), *remark_blocks(origin)]
    words = (
        "The weights are derived from the data and are to be treated as standing under the data's terms: "
        f"{origin.licence.name}, {origin.licence.url}. Rows of embedding tables belong to single values of the data. Whether "
        "weights are a derivative work in law is not decided here."
    )
    return [Words(words), *licence_blocks(origin)]


def _repeat(group: Group, variant: Variant, origin: Origin, collection: Collection) -> list[Block]:
    lines = making_lines(group, origin, collection)
    for run in variant.all_runs:
        lines += [run.entry.record.repeat, f"{EVALUATE}  # the RUN of the line above: {label(variant, run)}"]
    blocks: list[Block] = [Words("DIR, DATA and RUN stand for folders of your choice."), Commands(lines)]
    raw = raw_entries(group, collection) if origin.kind == "planted" else []
    at_once = make_lines(replace(group, variants=(variant,)), raw) if origin.kind in MADE_BY_MAKE else []
    return [Words("All at once, in a checkout of the same commit:"), Commands(at_once), *blocks] if at_once else blocks
