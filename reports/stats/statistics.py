"""Is the DLRM better than a baseline, by how much, and how sure is that?

Two kinds of chance are kept apart. Which rows are in the test part: the 95 % interval of a paired difference on the same
rows. Which seed the model had: smallest and largest value over the seeds, and from three seeds on a t-interval of the mean.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t

from dlrm_core.metrics import Difference, auc_difference, log_loss_difference
from reports.read.grouping import Model, Variant
from reports.read.predictions import Predictions

Verdict = Literal["clearly better", "tie", "worse"]
CONFIDENCE = 0.95
MIN_SEEDS = 3


@dataclass(frozen=True)
class OverSeeds:
    """Mean, smallest and largest of n values, and the t-interval of the mean (None below three values)."""

    n: int
    mean: float
    smallest: float
    largest: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Paired:
    """One run minus one baseline on the same test rows."""

    run: Model
    auc: Difference
    log_loss: Difference


@dataclass(frozen=True)
class Comparison:
    """A variant beside a baseline, seed by seed."""

    variant: Variant
    baseline: Model
    pairs: tuple[Paired, ...]

    @property
    def auc_verdict(self) -> Verdict:
        """By AUC, of which more is better."""
        return verdict([pair.auc for pair in self.pairs], more_is_better=True)

    @property
    def log_loss_verdict(self) -> Verdict:
        """By log loss, of which less is better."""
        return verdict([pair.log_loss for pair in self.pairs], more_is_better=False)


def verdict(differences: Sequence[Difference], *, more_is_better: bool) -> Verdict:
    """What paired differences say together, one for each seed.

    "clearly better" (or "worse") only if every seed's interval lies on that side of 0. The seeds share their test rows, so
    that many seeds whose intervals contain 0 do not add up to certainty.

    >>> verdict([Difference(0.02, 0.01, 0.03, 0.95), Difference(0.01, -0.01, 0.03, 0.95)], more_is_better=True)
    'tie'
    """
    signs = {_sign(difference) for difference in differences}
    if signs == {1 if more_is_better else -1}:
        return "clearly better"
    return "worse" if signs == {-1 if more_is_better else 1} else "tie"


def compare(variant: Variant, baseline: Model) -> Comparison | None:
    """Paired differences of each seed's run with the baseline; None if no pair was scored on the same rows."""
    pairs = []
    for run in variant.runs:
        a, b = run.predictions, baseline.predictions
        if a is not None and b is not None and np.array_equal(a.label_B, b.label_B):
            auc = auc_difference(a.label_B, a.logit_B, b.logit_B, CONFIDENCE)
            pairs.append(Paired(run, auc, log_loss_difference(a.label_B, a.logit_B, b.logit_B, CONFIDENCE)))
    return Comparison(variant, baseline, tuple(pairs)) if pairs else None


def over_seeds(values: Sequence[float]) -> OverSeeds:
    """Summary of one value for each seed.

    >>> over_seeds([1.0, 2.0]).interval is None
    True
    """
    n, mean = len(values), float(np.mean(values))
    interval = None
    if n >= MIN_SEEDS:
        reach = float(t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
        interval = (mean - reach, mean + reach)
    return OverSeeds(n, mean, min(values), max(values), interval)


def auc_interval(predictions: Predictions) -> Difference:
    """AUC of one model with DeLong's interval: its difference with a constant score, whose AUC is 1/2 without any error."""
    logit_B = predictions.logit_B
    gain = auc_difference(predictions.label_B, logit_B, np.zeros_like(logit_B), CONFIDENCE)
    return Difference(gain.value + 0.5, gain.low + 0.5, gain.high + 0.5, CONFIDENCE)


def fraction_of_way(auc: float, best: float) -> float:
    """Share of the way from chance, AUC 1/2, to the best attainable AUC.

    >>> fraction_of_way(0.625, 0.75)
    0.5
    """
    return (auc - 0.5) / (best - 0.5)


def _sign(difference: Difference) -> int:
    """1 if the whole interval lies above 0, -1 if below, else 0."""
    return int(difference.low > 0) - int(difference.high < 0)
