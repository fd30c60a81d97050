"""Do two ways to train reach the same score? Paired differences by seed, an equivalence test, and the spread of the two sets.

A t-test that finds no difference does not show that there is none. The two one-sided tests of Schuirmann (1987, "TOST") do: they
ask whether the mean difference lies below +margin and above -margin, and their p-value is the larger of the two.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import ks_2samp, t, ttest_1samp

CONFIDENCE = 0.95
LEVEL = 0.05
MIN_PAIRS = 3


@dataclass(frozen=True)
class Margin:
    """How far two mean AUCs may lie apart and still count as the same, and where that figure comes from."""

    value: float
    origin: str


# The coarser one first. Cheng et al. 2016 (arXiv 1606.07792) and Guo et al. 2017 (arXiv 1703.04247) report gains of this order.
MARGINS = (
    Margin(
        0.001,
        "the order of the AUC gains that papers on click prediction report as worth having "
        "(Cheng et al. 2016, Wide & Deep; Guo et al. 2017, DeepFM)",
    ),
    Margin(0.0001, "one unit of the last digit that the published accuracy table prints"),
)


@dataclass(frozen=True)
class Equivalence:
    """Differences `other` minus `reference`, one for each seed.

    `interval` is the 95 % t-interval of the mean difference, `p_tost` the p-value of the two one-sided tests, and
    `equivalent` says that it is below 0.05: the 90 % interval then lies within plus and minus `margin`.
    """

    n: int
    mean_difference: float
    deviation: float
    interval: tuple[float, float]
    margin: float
    p_tost: float

    @property
    def equivalent(self) -> bool:
        """Whether the means are shown to be the same within the margin."""
        return self.p_tost < LEVEL

    @property
    def differs(self) -> bool:
        """Whether the mean difference is shown not to be 0. It can be that, and be within the margin all the same."""
        return not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class Ks:
    """Largest distance of two empirical distributions, and how often chance alone makes one as large."""

    statistic: float
    p_value: float
    n_a: int
    n_b: int


def equivalence(reference: Sequence[float], other: Sequence[float], margin: float) -> Equivalence:
    """Paired test of `other` against `reference`, value by value of the same seed.

    >>> equivalence([0.5, 0.6, 0.7], [0.5001, 0.6002, 0.7003], margin=0.001).equivalent
    True

    Raises
    ------
    ValueError
        If the lengths differ, there are fewer than three pairs, or the margin is not positive.
    """
    if len(reference) != len(other):
        raise ValueError(f"{len(reference)} and {len(other)} values came; one of each for every seed is needed")
    if len(reference) < MIN_PAIRS:
        raise ValueError(f"{len(reference)} pairs came; at least {MIN_PAIRS} seeds are needed")
    if not margin > 0:
        raise ValueError(f"a margin of {margin} came; a positive one is needed")
    differences = np.asarray(other, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    n, mean, deviation = len(differences), float(differences.mean()), float(differences.std(ddof=1))
    reach = float(t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * deviation / n**0.5
    return Equivalence(n, mean, deviation, (mean - reach, mean + reach), margin, _p_tost(differences, margin))


def _p_tost(differences: np.ndarray, margin: float) -> float:
    if np.ptp(differences) == 0:  # the t statistic is infinite
        return 0.0 if abs(differences[0]) < margin else 1.0
    above = ttest_1samp(differences, -margin, alternative="greater").pvalue
    below = ttest_1samp(differences, margin, alternative="less").pvalue
    return float(max(above, below))


def ks_two_sample(a: Sequence[float], b: Sequence[float]) -> Ks:
    """Two-sample Kolmogorov-Smirnov test with the exact p-value, for two sided differences.

    The p-value is that of continuous distributions; ties, as printed digits make them, only make it larger.

    >>> ks_two_sample([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).p_value
    1.0

    Raises
    ------
    ValueError
        If one of them is empty.
    """
    if not len(a) or not len(b):
        raise ValueError(f"{len(a)} and {len(b)} values came; at least one of each is needed")
    with warnings.catch_warnings():
        warnings.simplefilter(
            "error", RuntimeWarning
        )  # scipy would go over to the asymptotic p-value with no more than that
        try:
            found = ks_2samp(a, b, method="exact")
        except RuntimeWarning:
            return _smallest_distance(a, b)
    return Ks(float(found.statistic), float(found.pvalue), len(a), len(b))


def _smallest_distance(a: Sequence[float], b: Sequence[float]) -> Ks:
    """Where scipy's exact p-value rounds to more than 1: at the smallest distance, which every order has or exceeds."""
    statistic = float(ks_2samp(a, b, method="asymp").statistic)
    if round(statistic * math.lcm(len(a), len(b))) > 1:
        raise ValueError(f"no exact p-value for {len(a)} and {len(b)} values with a distance of {statistic}")
    return Ks(statistic, 1.0, len(a), len(b))
