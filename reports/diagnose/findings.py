"""Degenerate runs: what is wrong with a model's scores, the likely cause, and the command to try next.

From the record and the test predictions alone. The limits below are such that a model that has learnt something meets none.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean

from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import RunRecord
from reports.diagnose.evidence import Evidence
from reports.diagnose.learning_rate import Remedy, again, nothing_learnt, schedule_fault, slower, too_large
from reports.html.markup import Html, code, section, table, tag
from reports.read.collect import MODEL_COMMANDS, Collection, Entry

DIVERGED = "the model has diverged"  # in what training and metrics say of numbers that are not finite
ONE_CLASS = "rows of both classes"  # in what metrics and baselines say of a part with one label
RISE = 1.5  # training loss of the last tenth over that of the first
LEVEL = 2.0  # mean prediction over click rate, or the other way round
STARVED, STARVED_S = 1 / 3, 1.0  # share of the training time spent waiting for batches, and seconds
WIDE = 0.05  # half an interval of an AUC that tells too little
OVERFIT = 0.9  # training loss over the loss of the judged part
PREPARE = "dlrm prepare --train F [F ...] --test F [F ...] --out DATA"
EVALUATE = "dlrm evaluate --run RUN --data DATA"


@dataclass(frozen=True)
class Finding:
    """What is wrong, its likely cause in one sentence, and the command or key to try next."""

    symptom: str
    cause: str
    next_step: str


Findings = Iterator[Finding]


def diagnose(entry: Entry, collection: Collection | None = None) -> tuple[Finding, ...]:
    """What is wrong with the run of a model; nothing for a healthy one, for another command and for the constant baseline.

    Parameters
    ----------
    entry : Entry
    collection : Collection, optional
        Where the data set's dataset.json is looked up.
    """
    record = entry.record
    if record.command not in MODEL_COMMANDS:
        return ()
    datasets = collection.datasets if collection is not None else []
    rows = [found.spec.splits["train"].rows for found in datasets if found.spec.digest == record.dataset_digest]
    evidence = Evidence(entry, rows[0] if rows else None)
    try:
        return tuple(finding for rule in _rules(record) for finding in rule(evidence))
    except KitError as error:
        return (Finding("its predictions cannot be judged", str(error), EVALUATE),)


def diagnosis_section(collection: Collection) -> Html:
    """A table of what was found in all runs of a model, or a sentence that nothing was."""
    entries = [entry for entry in collection.entries if entry.record.command in MODEL_COMMANDS]
    rows = [
        [entry.folder, collection.shown(finding.symptom), finding.cause, code(finding.next_step)]
        for entry in entries
        for finding in diagnose(entry, collection)
    ]
    if not rows:
        words = f"Nothing found: none of the {len(entries)} runs of a model shows a sign of a degenerate one."
        return section(2, "Diagnosis", tag("p", words))
    head = ["run", "symptom", "likely cause", "next step"]
    return section(2, "Diagnosis", table(head, rows, "Runs that show a sign of a degenerate model"))


def _rules(record: RunRecord) -> tuple[Callable[[Evidence], Findings], ...]:
    if record.status == "failed":
        return _diverged, _one_class
    if record.command == "baselines" and record.name == "constant":
        return ()  # it is what the others are measured against
    return _one_class, _schedule, _loss_rose, _constant, _chance, _worse_than_constant, _level, _loader


def _diverged(evidence: Evidence) -> Findings:
    reason = evidence.record.reason or ""
    if DIVERGED in reason:
        yield Finding(reason.partition(";")[0], *_too_fast(evidence))


def _one_class(evidence: Evidence) -> Findings:
    record = evidence.record
    cause = (
        "every row of that part has the same label: its files hold one class, or another column was read as the label"
    )
    if ONE_CLASS in (record.reason or ""):
        yield Finding((record.reason or "").partition(";")[0], cause, PREPARE)
    for metric in record.metrics:
        if metric.name == "click_rate" and metric.value in (0, 1):
            yield Finding(f"the click rate of the {metric.split} part is {metric.value:.0f}", cause, PREPARE)


def _schedule(evidence: Evidence) -> Findings:
    fault = schedule_fault(evidence)
    if fault is not None:
        yield Finding(fault.symptom, *fault.remedy)


def _loss_rose(evidence: Evidence) -> Findings:
    loss = evidence.training_loss
    if not all(map(math.isfinite, loss)):
        yield Finding("its training loss is not finite", *_too_fast(evidence))
        return
    tenth = max(1, len(loss) // 10)
    if len(loss) > 1 and fmean(loss[-tenth:]) > RISE * fmean(loss[:tenth]):
        words = f"its training loss rose from {fmean(loss[:tenth]):.4f} to {fmean(loss[-tenth:]):.4f}"
        yield Finding(words, *_too_fast(evidence))


def _constant(evidence: Evidence) -> Findings:
    if not evidence.is_constant:
        return
    if evidence.record.command == "train":
        dead = "no input reaches the output, as after steps so large that every ReLU unit stays at 0"
        remedy = too_large(evidence) or Remedy(dead, slower(evidence))
    else:
        remedy = nothing_learnt(evidence)
    yield Finding(f"the same score for every row of the {evidence.split} part (AUC 0.5)", *remedy)


def _chance(evidence: Evidence) -> Findings:
    if evidence.is_constant or evidence.auc_interval is None:
        return
    auc, low, high = evidence.auc_interval
    words = f"{evidence.split} AUC {auc:.5f}, 95 % interval {low:.5f} to {high:.5f}"
    if high < 0.5:
        yield Finding(f"{words}: below chance", *_below_chance(evidence))
    elif not evidence.beats_chance:
        yield Finding(f"{words}: within noise of 0.5", *_at_chance(evidence, (high - low) / 2))


def _at_chance(evidence: Evidence, reach: float) -> Remedy:
    rows, rate = evidence.value("rows"), evidence.value("click_rate")
    if reach > WIDE and rows is not None and rate is not None:
        cause = f"{rows:,.0f} rows with {rows * rate:,.0f} clicks are too few to tell a model from chance"
        return Remedy(cause, f"{PREPARE}, with more files behind --test")
    return nothing_learnt(evidence)


def _below_chance(evidence: Evidence) -> Remedy:
    fault = schedule_fault(evidence)
    if fault is not None:
        return fault.remedy
    cause = "what held in the training rows is turned round here: labels swapped in one part, or rows of another time"
    return Remedy(cause, f"{EVALUATE} --split train" if evidence.record.command == "train" else PREPARE)


def _worse_than_constant(evidence: Evidence) -> Findings:
    loss, limit = evidence.value("log_loss"), evidence.constant_log_loss
    if loss is None or limit is None or loss < limit or evidence.is_constant or not evidence.beats_chance:
        return
    words = f"{evidence.split} log loss {loss:.5f}, not below the {limit:.5f} of the click rate alone"
    yield Finding(words, *_too_sure(evidence, loss))


def _too_sure(evidence: Evidence, loss: float) -> Remedy:
    """Why a model ranks rows better than chance, and yet its probabilities are worse than the click rate for every row."""
    if evidence.record.command != "train":
        cause = "it ranks the rows, but its probabilities are too far from the click rate: it is regularised too little"
        return Remedy(
            cause, "dlrm baselines --data DATA --out DIR --preset FILE.yaml  # smaller logistic_c, larger tree_l2"
        )
    fault = schedule_fault(evidence)
    found = fault.remedy if fault is not None else too_large(evidence)
    if found is not None:
        return found
    best = again(evidence.record, {"stopping.rule": "best_log_loss"})
    if evidence.training_loss and evidence.training_loss[-1] < OVERFIT * loss:
        return Remedy(f"it learnt its training rows by heart, whose loss is {evidence.training_loss[-1]:.5f}", best)
    return Remedy("it ranks the rows, but its probabilities are too far from the click rate", best)


def _level(evidence: Evidence) -> Findings:
    mean, rate = evidence.value("mean_prediction"), evidence.value("click_rate")
    if mean is None or not rate or 1 / LEVEL <= mean / rate <= LEVEL:
        return
    words = (
        f"mean prediction {mean:.4f}, {mean / rate:.3g} times the click rate of the {evidence.split} part, {rate:.4f}"
    )
    cause = (
        "the click rate of the training rows is another one, or the training ended before the last bias had its level"
    )
    yield Finding(words, cause, f"{EVALUATE} --split train" if evidence.record.command == "train" else PREPARE)


def _loader(evidence: Evidence) -> Findings:
    record = evidence.record
    waited, spent = record.metric("loader_wait", "train"), record.timings_s.get("train")
    if waited is None or not spent or waited.value < STARVED_S or waited.value < STARVED * spent:
        return
    words = f"the steps waited {waited.value:.1f} s of {spent:.1f} s for their batches"
    cause = "the rows come slower from the disk than the model takes them"
    yield Finding(words, cause, "dlrm bench loader --data DATA --out DIR")


def _too_fast(evidence: Evidence) -> Remedy:
    """Why numbers grew without bound."""
    config = evidence.config
    if config.get("train.precision") == "fp16" and config.get("train.loss_scale.kind") == "static":
        scale = {"loss_scale.kind": "dynamic", "loss_scale.value": 65536}
        return Remedy("in fp16 with a static loss scale a gradient overflowed", again(evidence.record, scale))
    cause = "the steps were too large for these data, so that the weights grew without bound"
    return too_large(evidence) or Remedy(cause, slower(evidence))
