"""Two runs side by side: which factors differ, what each metric did, and how sure that is.

A factor is what was asked for or run on: command, configuration, data set, seeds, sources, machine. What a run chose by
itself follows from the factors, so that it counts as one only where nothing else differs.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlrm_core.metrics import Difference, auc_difference, log_loss_difference
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import RunRecord, read_record
from reports.read.collect import Entry
from reports.read.predictions import read_predictions
from reports.stats.statistics import CONFIDENCE

ABSENT = "not there"
MAKERS_OF_DATA = ("prepare", "import", "synthetic")  # the digest of their data set is a result of theirs
OUTCOMES = ("selection", "auc_threshold")  # choices that say how the training went
MEASURED = re.compile(r"\d[\d.]*(?= (?:GFLOP/s|times as fast|s after))")  # a speed within a choice


@dataclass(frozen=True)
class Factor:
    """Something that differs. `counts` is False where it follows from another one, or changes nothing by itself."""

    name: str
    a: str
    b: str
    counts: bool = True


@dataclass(frozen=True)
class MetricChange:
    """One metric of both runs; None where a run does not have it."""

    name: str
    split: str
    unit: str
    a: float | None
    b: float | None

    @property
    def difference(self) -> float | None:
        """B minus A."""
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def is_measured(self) -> bool:
        """Whether it is a time, a speed or a size in memory, which no run repeats exactly."""
        return self.unit.endswith("/s") or self.unit in ("s", "ms", "us", "bytes", "GB")

    @property
    def ratio(self) -> float | None:
        """B over A, of what is measured."""
        return self.b / self.a if self.is_measured and self.a and self.b is not None else None


@dataclass(frozen=True)
class Paired:
    """B minus A on the same test rows, with its 95 % interval."""

    name: str
    difference: Difference

    @property
    def verdict(self) -> str:
        """What the interval says."""
        if self.difference.low == self.difference.high == 0:
            return "the same"
        if self.difference.low <= 0 <= self.difference.high:
            return "within noise of the test rows"
        return "differs"


@dataclass(frozen=True)
class RunComparison:
    """What differs between A and B. `unpaired` says why there are no paired differences; empty if there are."""

    a: Entry
    b: Entry
    factors: tuple[Factor, ...]
    choices: tuple[Factor, ...]
    metrics: tuple[MetricChange, ...]
    paired: tuple[Paired, ...]
    unpaired: str

    @property
    def causes(self) -> tuple[Factor, ...]:
        """What may have changed the metrics: the factors that count, or else the choices."""
        counting = tuple(factor for factor in self.factors if factor.counts)
        return counting or tuple(choice for choice in self.choices if choice.counts)

    @property
    def changed_scores(self) -> tuple[MetricChange, ...]:
        """Metrics of both runs that differ and that a repeat should give again."""
        return tuple(m for m in self.metrics if m.difference and not m.is_measured)

    @property
    def unfinished(self) -> tuple[tuple[str, Entry], ...]:
        """The sides, by letter, that did not finish."""
        return tuple((s, e) for s, e in (("A", self.a), ("B", self.b)) if e.record.status != "finished")


def compare_runs(a: Path, b: Path) -> RunComparison:
    """Compare two run folders, as far as their records go.

    Raises
    ------
    KitError
        If both are the same folder, or one holds no readable run.json.
    """
    if a.resolve() == b.resolve():
        raise KitError(f"{a}: came twice, two different run folders are needed; name another RUN_A or RUN_B")
    first, second = Entry(str(a), a, read_record(a)), Entry(str(b), b, read_record(b))
    paired, unpaired = _paired(first, second)
    return RunComparison(
        a=first,
        b=second,
        factors=tuple(_factors(first.record, second.record)),
        choices=tuple(_choices(first.record, second.record)),
        metrics=tuple(_metrics(first.record, second.record)),
        paired=paired,
        unpaired=unpaired,
    )


def leaves(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a nested configuration by dotted path; mappings in a list by their place, another list is one value.

    >>> leaves({"train": {"mlps": {"lr": 0.5}, "sizes": [8, 1]}, "sides": [{"name": "S"}]})
    {'train.mlps.lr': 0.5, 'train.sizes': [8, 1], 'sides.0.name': 'S'}
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            value = {str(place): item for place, item in enumerate(value)}
        if isinstance(value, dict) and value:
            found |= leaves(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _factors(a: RunRecord, b: RunRecord) -> Iterator[Factor]:
    yield from _differing({"command": a.command}, {"command": b.command})
    configs = leaves(a.config), leaves(b.config)
    whole = "train" in a.config and "train" in b.config  # then the preset is but where the values came from
    config = [
        Factor(f.name, f.a, f.b, counts=not (whole and f.name == "preset"))
        for f in _differing(*configs)
        if f.name != "synthetic" and not f.name.startswith("synthetic.")
    ]
    yield from config
    synthetic = list(_differing(*({k: v for k, v in c.items() if k.startswith("synthetic")} for c in configs)))
    yield from synthetic
    in_config = {(f.a, f.b) for f in config if f.name.rpartition(".")[2] == "seed"}
    for seed in _differing(*({f"seeds.{name}": seed for name, seed in r.seeds.items()} for r in (a, b))):
        if (seed.a, seed.b) not in in_config:
            yield seed
    follows = bool(synthetic) or a.command in MAKERS_OF_DATA or b.command in MAKERS_OF_DATA
    for data in _differing({"data set": a.dataset_digest}, {"data set": b.dataset_digest}):
        yield Factor(data.name, data.a[:16], data.b[:16], counts=not follows)
    yield from _environment(a, b)


def _environment(a: RunRecord, b: RunRecord) -> Iterator[Factor]:
    """Sources and machine; a commit changes nothing by itself, the digest of the sources says whether they differ."""

    def facts(record: RunRecord) -> dict[str, Any]:
        e = record.environment
        machine = {"processor": e.processor, "cores": e.cores, "GPUs": ", ".join(e.gpus) or "none"}
        packages = {f"packages.{name}": version for name, version in e.packages.items()}
        sources = {"source digest": e.source_digest[:16]}
        return sources | {"python": e.python, "operating system": e.operating_system} | packages | machine

    commits = [{"git commit": r.environment.git_commit or "not in a git checkout"} for r in (a, b)]
    yield from (Factor(f.name, f.a, f.b, counts=False) for f in _differing(*commits))
    yield from _differing(facts(a), facts(b))


def _choices(a: RunRecord, b: RunRecord) -> Iterator[Factor]:
    for choice in _differing(a.choices, b.choices):
        if MEASURED.sub("", choice.a) != MEASURED.sub("", choice.b):
            yield Factor(choice.name, choice.a, choice.b, counts=choice.name not in OUTCOMES)


def _differing(a: dict[str, Any], b: dict[str, Any]) -> Iterator[Factor]:
    """The names whose values differ, in the order of A, then of B."""
    for name in dict.fromkeys([*a, *b]):
        if name not in a or name not in b or a[name] != b[name]:
            yield Factor(name, _shown(name, a), _shown(name, b))


def _shown(name: str, values: dict[str, Any]) -> str:
    if name not in values:
        return ABSENT
    return values[name] if isinstance(values[name], str) else json.dumps(values[name])


def _metrics(a: RunRecord, b: RunRecord) -> Iterator[MetricChange]:
    """Metrics of one name, split and unit beside each other, in the order of A, then of B."""
    in_a, in_b = ({(m.name, m.split, m.unit): m.value for m in record.metrics} for record in (a, b))
    for key in dict.fromkeys([*in_a, *in_b]):
        yield MetricChange(*key, in_a.get(key), in_b.get(key))


def _paired(a: Entry, b: Entry) -> tuple[tuple[Paired, ...], str]:
    """The differences on the same test rows, or why there are none."""
    found = []
    for side, entry in (("A", a), ("B", b)):
        try:
            found.append(read_predictions(entry))
        except KitError as error:
            return (), f"{side}: {error}"
    first, second = found
    if not np.array_equal(first.label_B, second.label_B):
        return (), "A and B were scored on other test rows; score both on one data set with `dlrm evaluate`"
    label_B = first.label_B
    auc = auc_difference(label_B, second.logit_B, first.logit_B, CONFIDENCE)
    loss = log_loss_difference(label_B, second.logit_B, first.logit_B, CONFIDENCE)
    return (Paired("auc", auc), Paired("log_loss", loss)), ""
