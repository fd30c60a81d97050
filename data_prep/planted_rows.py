"""The rows of the planted sample before their clicks: Zipf-like categorical values, skewed counts, missing fields.

Letters: N rows, F = 26 categorical features, J = 13 integer features. A *rank* is a categorical value by its frequency
in the law that draws it: 1 is the most frequent, 0 is a missing field. The teacher names each rank.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Distinct values of C1 .. C26: the small ones as in the Kaggle set, the large ones cut to fit a laptop.
CARDINALITIES = (
    1460, 583, 200_000, 120_000, 305, 24, 12_500, 633, 3, 30_000, 5_600, 180_000, 3_200,
    26, 15_000, 150_000, 10, 5_600, 2_100, 4, 160_000, 18, 15, 60_000, 105, 40_000,
)  # fmt: skip
# Share of rows in which C1 .. C26 is missing; the pattern follows the Kaggle set (C19, C25, C26 are often absent).
CATEGORICAL_MISSING = (
    0, 0, 0.03, 0.03, 0, 0.04, 0, 0, 0, 0, 0, 0.03, 0, 0, 0, 0.03, 0, 0, 0.3, 0.05, 0.03, 0.1, 0, 0.03, 0.3, 0.3,
)  # fmt: skip
ZIPF_EXPONENT = 1.1

# I1 .. I13 are floor(exp(median_log + spread * normal)) - shift: skewed counts, mostly with many zeros.
MEDIAN_LOG = (0.3, 3.4, 1.6, 1.5, 7.0, 3.3, 1.5, 2.0, 3.4, 0.0, 0.8, 0.0, 1.6)
SPREAD = (1.2, 1.2, 1.3, 0.9, 1.6, 1.5, 1.3, 0.9, 1.3, 0.7, 1.0, 0.9, 0.9)
SHIFT = (0, 3, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0)
INTEGER_MISSING = (0.45, 0, 0.21, 0.22, 0.02, 0.22, 0.04, 0, 0.04, 0.45, 0.04, 0.76, 0.22)
LARGEST_INTEGER = 2_000_000
MISSING_INTEGER = -(2**31)  # stands for an empty field in an int32 array


@dataclass(frozen=True)
class Features:
    """Rows without labels: `integers` int32 (J, N), `MISSING_INTEGER` = missing; `ranks` int32 (F, N), 0 = missing."""

    integers: NDArray[np.int32]
    ranks: NDArray[np.int32]


def draw_features(rng: np.random.Generator, rows: int) -> Features:
    """Draw `rows` independent rows: Zipf-like ranks, log-normal counts, missing fields."""
    ranks = np.empty((len(CARDINALITIES), rows), np.int32)
    integers = np.empty((len(MEDIAN_LOG), rows), np.int32)
    for feature in range(len(CARDINALITIES)):
        ranks[feature] = _zipf_ranks(rng.random(rows), CARDINALITIES[feature], CATEGORICAL_MISSING[feature])
    for feature, missing in enumerate(INTEGER_MISSING):
        counts = np.exp(MEDIAN_LOG[feature] + SPREAD[feature] * rng.standard_normal(rows))
        integers[feature] = np.minimum(counts, LARGEST_INTEGER).astype(np.int32) - SHIFT[feature]
        if missing:
            integers[feature][rng.random(rows, np.float32) < missing] = MISSING_INTEGER
    return Features(integers, ranks)


def _zipf_ranks(uniform: FloatArray, cardinality: int, missing: float) -> FloatArray:
    """Turn uniform numbers (N,) into whole ranks by the inverse distribution; the lowest `missing` of them become 0.

    The density x^-s on [1/2, K + 1/2] is inverted in closed form and rounded, so that P(k) is the integral of x^-s over
    [k - 1/2, k + 1/2]: k^-s to within 0.5% from k = 5 on (12% at k = 1). A table of 200,000 ranks would be slower.
    """
    power = 1.0 - ZIPF_EXPONENT
    low, high = 0.5**power, (cardinality + 0.5) ** power
    present = np.maximum(uniform - missing, 0.0) * (1.0 / (1.0 - missing))
    ranks = np.rint((low + present * (high - low)) ** (1.0 / power))
    np.clip(ranks, 1, cardinality, out=ranks)
    ranks[uniform < missing] = 0
    return np.asarray(ranks)


def rank_probabilities(cardinality: int) -> FloatArray:
    """Probability of the ranks 1 .. `cardinality` (float64, sum 1) of a field that is not missing."""
    steps = (np.arange(cardinality + 1) + 0.5) ** (1.0 - ZIPF_EXPONENT)
    return np.asarray(-np.diff(steps) / (steps[0] - steps[-1]))
