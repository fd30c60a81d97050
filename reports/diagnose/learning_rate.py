"""Does the learning rate, or its schedule, belong to another data set? Causes, each with the command that mends it."""

import shlex
from collections.abc import Mapping
from typing import NamedTuple

from dlrm_core.schema.config import load_preset, preset_names
from dlrm_core.schema.record import RunRecord
from reports.diagnose.evidence import Evidence

FAR = 10.0  # a learning rate this many times larger or smaller than another one is far from it
PUBLISHED_LR, PUBLISHED_BATCH = 28.0, 32768  # NVIDIA's README of June 2020, one GPU, Criteo 1TB, SGD
USUAL_LR = {"adam": 0.001, "adagrad": 0.01}  # Kingma and Ba (arXiv:1412.6980); PyTorch's default
PARTS = ("mlps", "tables")
STANDSTILL = 0.01  # relative change of the training loss over a whole run
SPENT = 2.0  # a run this many times as long as its schedule stands still for half of it
FEW_STEPS = 20  # below which no schedule helps: the run has to be longer
FLOOR = 0.01  # the last learning rate over the first, below which training stands still


class Remedy(NamedTuple):
    """A likely cause in one sentence, and the command or key to try next."""

    cause: str
    next_step: str


class Beside(NamedTuple):
    """A learning rate beside the one that is usual for its update rule and batch size; `words` say where that is from."""

    part: str
    lr: float
    usual: float
    words: str

    @property
    def ratio(self) -> float:
        """How many times the usual one."""
        return self.lr / self.usual


class ScheduleFault(NamedTuple):
    """How a run's length and its schedule disagree."""

    symptom: str
    remedy: Remedy


def again(record: RunRecord, changes: Mapping[str, object]) -> str:
    """The recorded command with other values; of two for one key the last one holds.

    Parameters
    ----------
    record : RunRecord
    changes : mapping
        Value by key of the training configuration.
    """
    return " ".join([record.repeat, *(f"--set {shlex.quote(f'{key}={_short(v)}')}" for key, v in changes.items())])


def slower(evidence: Evidence, factor: float = 0.1) -> str:
    """The command with both learning rates multiplied by `factor`."""
    rates = {f"{part}.lr": evidence.number(f"{part}.lr") for part in PARTS}
    return again(evidence.record, {key: rate * factor for key, rate in rates.items() if rate is not None})


def too_large(evidence: Evidence) -> Remedy | None:
    """A learning rate that is far above the usual one for its update rule and batch size."""
    far = [beside for beside in _beside_usual(evidence) if beside.ratio >= FAR]
    if not far:
        return None
    first = far[0]
    words = f"{first.part}.lr {first.lr:g} is {first.ratio:,.0f} times {first.words}, too large for these data"
    return Remedy(words, again(evidence.record, {f"{beside.part}.lr": beside.usual for beside in far}))


def too_small(evidence: Evidence) -> Remedy | None:
    """A learning rate that is far below the usual one, or a training loss that stands still."""
    far = [beside for beside in _beside_usual(evidence) if beside.ratio <= 1 / FAR]
    if far:
        first = far[0]
        words = f"{first.part}.lr {first.lr:g} is {1 / first.ratio:,.0f} times smaller than {first.words}, too small for these data"
        return Remedy(words, again(evidence.record, {f"{beside.part}.lr": beside.usual for beside in far}))
    loss = evidence.training_loss
    if len(loss) < 2 or abs(loss[-1] - loss[0]) > STANDSTILL * loss[0]:
        return None
    cause = f"the training loss stood still, {loss[0]:.4f} at first and {loss[-1]:.4f} at last: the learning rate is too small"
    return Remedy(cause, slower(evidence, FAR))


def schedule_fault(evidence: Evidence) -> ScheduleFault | None:
    """A run that is far shorter or far longer than what its schedule was made for; None where the record has no schedule."""
    warmup, decay, lr = (evidence.number(key) for key in ("schedule.warmup_steps", "schedule.decay_steps", "mlps.lr"))
    steps = evidence.steps
    if steps is None or warmup is None or decay is None or lr is None:
        return None
    start = evidence.number("schedule.decay_start_step")
    start = warmup if start is None else start
    if steps < warmup:
        reached = max(
            (s.y[-1] for s in evidence.record.series if s.name == "learning_rate"), default=lr * steps / warmup
        )
        words = f"its {steps:,} steps end within the warm-up of {warmup:,.0f}: the learning rate reached {reached:.3g} of {lr:g}"
    elif decay and steps <= start:
        words = f"its {steps:,} steps end before the decay of the learning rate begins, after step {start:,.0f}"
    elif decay and steps > SPENT * (start + decay) and (evidence.number("schedule.decay_end_lr") or 0.0) < FLOOR * lr:
        share = 100 * (1 - (start + decay) / steps)
        words = (
            f"the learning rate was all but 0 for {share:.0f} % of its {steps:,} steps, after step {start + decay:,.0f}"
        )
    else:
        return None
    return ScheduleFault(words, _fitted(evidence, steps, warmup, start, decay))


def nothing_learnt(evidence: Evidence) -> Remedy:
    """Why a model knows no more than chance."""
    fault = schedule_fault(evidence)
    found = fault.remedy if fault is not None else too_large(evidence) or too_small(evidence)
    if found is not None:
        return found
    no_signal = "the columns say nothing about the label in these rows, or another column was read as the label"
    if evidence.record.command == "train":
        return Remedy(f"{no_signal}: simpler models tell", "dlrm baselines --data DATA --out DIR")
    return Remedy(no_signal, "dlrm spec FILE --out my.yaml")


def _fitted(evidence: Evidence, steps: int, warmup: float, start: float, decay: float) -> Remedy:
    """The schedule shrunk or stretched to the run's steps; and its learning rate, where that belongs to another batch size."""
    whole = start + decay if decay else FAR * warmup
    new = {"schedule.warmup_steps": warmup, "schedule.decay_start_step": start, "schedule.decay_steps": decay}
    changes: dict[str, object] = {key: round(value * steps / whole) for key, value in new.items()}
    changes |= {f"{beside.part}.lr": beside.usual for beside in _beside_usual(evidence) if beside.ratio >= FAR}
    rows = "" if evidence.rows is None else f" on {evidence.rows:,} training rows"
    if evidence.number("max_steps") == steps:
        cause = f"max_steps {steps:,} ends the run long before its schedule, made for {whole:,.0f} steps"
        if steps < FEW_STEPS:
            changes["max_steps"] = round(whole)
    else:
        cause = (
            f"its schedule was made for another data set, batch size or number of epochs: it plans {whole:,.0f} steps, "
            f"this run has {steps:,}{rows}"
        )
    return Remedy(cause, again(evidence.record, changes))


def _beside_usual(evidence: Evidence) -> list[Beside]:
    found = [_beside(evidence, part) for part in PARTS]
    return [beside for beside in found if beside is not None]


def _beside(evidence: Evidence, part: str) -> Beside | None:
    """Beside the preset's, where that has the same update rule and a batch size of the same order; else beside the published."""
    lr, batch, rule = (
        evidence.number(f"{part}.lr"),
        evidence.number("batch_size"),
        evidence.config.get(f"train.{part}.name"),
    )
    if lr is None or not batch or rule is None:
        return None
    name = evidence.config.get("preset")
    preset = load_preset(name).train if name in preset_names() else None
    if preset is not None and 1 / FAR < batch / preset.batch_size < FAR:
        planned = preset.mlps if part == "mlps" else preset.tables
        if planned.name == rule:
            return Beside(part, lr, planned.lr, f"the {planned.lr:g} of preset {name}")
    if rule == "sgd":
        usual = PUBLISHED_LR * batch / PUBLISHED_BATCH
        words = (
            f"the {usual:.2g} that is as much a row, at batch size {batch:,.0f}, as the published {PUBLISHED_LR:g} for "
            f"batches of {PUBLISHED_BATCH:,} of Criteo 1TB"
        )
        return Beside(part, lr, usual, words)
    return Beside(part, lr, USUAL_LR[rule], f"the {USUAL_LR[rule]:g} that is usual with {rule}")


def _short(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
