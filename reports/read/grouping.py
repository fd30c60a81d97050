"""From records to data sets, each with its models: variants of the DLRM by seed, and the baselines."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dlrm_core.metrics import roc_auc
from dlrm_core.schema.dataset import DatasetSpec
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import Metric
from dlrm_core.schema.teacher import TeacherFile
from reports.read.collect import MODEL_COMMANDS, Collection, Entry, FoundDataset, Problem
from reports.read.predictions import Predictions, read_predictions

BASELINES = ("constant", "logistic", "trees")
AUC_TOLERANCE = 1e-5  # predictions are kept in float32; the fifth decimal is the last one shown


@dataclass(frozen=True)
class Model:
    """A finished run with test scores. `predictions` is None if they are missing or damaged."""

    name: str
    entry: Entry
    auc: Metric
    log_loss: Metric
    predictions: Predictions | None

    @property
    def seed(self) -> int | None:
        """Seed of the model, if the record names one."""
        return self.entry.record.seeds.get("model")


@dataclass(frozen=True)
class Variant:
    """Runs of the DLRM that differ in nothing but their seed; `repeats` ran a seed that `runs` has already."""

    name: str
    runs: tuple[Model, ...]
    repeats: tuple[Model, ...]

    @property
    def all_runs(self) -> tuple[Model, ...]:
        """Every run, repeats last."""
        return self.runs + self.repeats


@dataclass(frozen=True)
class Group:
    """One data set and all that ran on it. `found` is empty if its dataset.json is not there."""

    digest: str | None
    found: tuple[FoundDataset, ...]
    optimum: TeacherFile | None
    variants: tuple[Variant, ...]
    baselines: tuple[Model, ...]
    entries: tuple[Entry, ...]

    @property
    def models(self) -> tuple[Model, ...]:
        """DLRM runs, then baselines."""
        return tuple(run for variant in self.variants for run in variant.all_runs) + self.baselines

    @property
    def spec(self) -> DatasetSpec | None:
        """The description of the data."""
        return self.found[0].spec if self.found else None


def group(collection: Collection, *, sweeps: bool = False) -> list[Group]:
    """One group for each data set that a model record names, the largest first; adds what is amiss to the problems.

    The runs of sweeps, which have a page of their own and would hide the others, are left out unless `sweeps` asks for them.
    """
    digests = {e.record.dataset_digest for e in collection.entries if e.record.command in MODEL_COMMANDS}
    rows = {found.spec.digest: found.spec.splits["train"].rows for found in collection.datasets}
    order = sorted(digests, key=lambda digest: (digest not in rows, -rows.get(digest or "", 0), digest or "~"))
    return [_group(digest, collection, sweeps=sweeps) for digest in order]


def is_scored(entry: Entry) -> bool:
    """Whether the entry is a finished run of a model that has test scores."""
    record = entry.record
    scored = record.metric("auc", "test") is not None and record.metric("log_loss", "test") is not None
    return record.command in MODEL_COMMANDS and record.status == "finished" and scored


def seedless(name: str) -> str:
    """The name of a run without its seed.

    >>> seedless("DLRM, preset tiny, seed 3")
    'DLRM, preset tiny'
    """
    return re.sub(r", seed \d+$", "", name)


def _group(digest: str | None, collection: Collection, *, sweeps: bool) -> Group:
    of_sweeps = tuple(f"{e.folder}/" for e in collection.entries if e.record.command == "sweep")
    alone = (e for e in collection.entries if sweeps or not e.folder.startswith(of_sweeps))
    entries = tuple(e for e in alone if e.record.dataset_digest == digest)
    found = tuple(f for f in collection.datasets if f.spec.digest == digest)
    scored = [entry for entry in entries if is_scored(entry)]
    baselines = [entry for entry in scored if entry.record.command == "baselines"]
    names = [entry.record.name for entry in baselines]
    models = [
        _model(e, e.record.name if names.count(e.record.name) == 1 else f"{e.record.name} ({e.folder})", collection)
        for e in sorted(baselines, key=_baseline_order)
    ]
    variants = _variants([entry for entry in scored if entry.record.command == "train"], collection)
    result = Group(digest, found, _optimum(found, collection), variants, tuple(models), entries)
    _report_other_rows(result, collection)
    return result


def _baseline_order(entry: Entry) -> tuple[int, str, str]:
    name = entry.record.name
    return (BASELINES.index(name) if name in BASELINES else len(BASELINES), name, entry.folder)


def _optimum(found: Iterable[FoundDataset], collection: Collection) -> TeacherFile | None:
    """What is attainable on the test part: only if it is, byte by byte and alone, a file of a teacher that was found."""
    files = {file.sha256: file for teacher in collection.teachers for file in teacher.files}
    for dataset in found:
        test = dataset.spec.splits["test"]
        file = files.get(test.sources[0].sha256) if len(test.sources) == 1 else None
        if file is not None and file.rows == test.rows:
            return file
    return None


def _variants(entries: list[Entry], collection: Collection) -> tuple[Variant, ...]:
    by_config: dict[str, list[Entry]] = {}
    for entry in entries:
        by_config.setdefault(config_key(entry), []).append(entry)
    names = [seedless(members[0].record.name) for members in by_config.values()]
    variants = []
    for index, members in enumerate(by_config.values()):
        name = names[index]
        if names.count(name) > 1:
            name = f"{name}, configuration {names[: index + 1].count(name)}"
        variants.append(_variant(name, members, collection))
    return tuple(sorted(variants, key=lambda variant: variant.name))


def config_key(entry: Entry) -> str:
    """The same text for runs that differ in nothing but their seed."""
    config = json.loads(json.dumps(entry.record.config))
    if isinstance(config.get("train"), dict):
        config["train"].pop("seed", None)
    return json.dumps(config, sort_keys=True)


def _variant(name: str, members: list[Entry], collection: Collection) -> Variant:
    runs: dict[int, Model] = {}
    repeats = []
    for entry in sorted(members, key=lambda e: (e.record.seeds.get("model", -1), e.folder)):
        seed = entry.record.seeds.get("model", -1)
        if seed in runs:
            repeats.append(_model(entry, f"{name}, seed {seed} ({entry.folder})", collection))
        else:
            runs[seed] = _model(entry, f"{name}, seed {seed}" if seed >= 0 else name, collection)
    return Variant(name, tuple(runs.values()), tuple(repeats))


def _model(entry: Entry, name: str, collection: Collection) -> Model:
    auc, loss = entry.record.metric("auc", "test"), entry.record.metric("log_loss", "test")
    assert auc is not None, "is_scored() lets no other entry through"
    assert loss is not None, "is_scored() lets no other entry through"
    try:
        predictions = read_predictions(entry)
        again = roc_auc(predictions.label_B, predictions.logit_B)
        if abs(again - auc.value) > AUC_TOLERANCE:
            raise KitError(f"its predictions give a test AUC of {again:.5f}, its record says {auc.value:.5f}")
    except KitError as error:
        collection.problems.append(Problem(entry.folder, f"{error}; no difference with other models is shown"))
        return Model(name, entry, auc, loss, None)
    return Model(name, entry, auc, loss, predictions)


def _report_other_rows(group: Group, collection: Collection) -> None:
    """Say which models were scored on other rows than the first one; comparisons leave such pairs out."""
    known = [model for model in group.models if model.predictions is not None]
    for model in known[1:]:
        first, other = known[0].predictions, model.predictions
        if first is not None and other is not None and not np.array_equal(first.label_B, other.label_B):
            what = f"its test labels are not those of {known[0].entry.folder}; no difference between them is shown"
            collection.problems.append(Problem(model.entry.folder, what))
