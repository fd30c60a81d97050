"""The seeded teacher of the planted sample, which knows the click probability of every row.

Letters: N rows, F = 26 categorical features, J = 13 integer features, P = 6 paired features, R = length of a latent
vector. A *rank* is a categorical value by its frequency, see `data_prep.planted_rows`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from data_prep.planted_best import expected_auc
from data_prep.planted_rows import (
    CARDINALITIES,
    CATEGORICAL_MISSING,
    MEDIAN_LOG,
    MISSING_INTEGER,
    SHIFT,
    SPREAD,
    Features,
    FloatArray,
    draw_features,
    rank_probabilities,
)
from dlrm_core.schema.errors import KitError

MAIN_RANKS = (
    30  # only the most frequent values of a feature have an effect of their own: those survive a frequency limit
)
PAIRED_FEATURES = (5, 13, 16, 19, 21, 22)  # C6, C14, C17, C20, C22, C23, whose latent vectors meet
LATENT_SIZE = 2

# Shares of the logit's variance. Logistic regression does not see the interactions: with these it gets about 0.76 of
# the way to the optimum, and one epoch of a small DLRM about 0.97.
MAIN_SHARE, NUMERIC_SHARE, PAIR_SHARE = 0.53, 0.10, 0.37
TARGET_AUC = 0.79  # the middle of 0.76 .. 0.82
TARGET_CLICK_RATE = 0.25
CALIBRATION_ROWS = 1 << 16


@dataclass(frozen=True)
class Teacher:
    """The law of the clicks: logit = intercept + main effects + effects of the counts + products of latent vectors.

    Attributes
    ----------
    seed : int
        What `build_teacher` was given.
    intercept : float
    main : float64 (F, MAIN_RANKS + 2)
        Effect of rank 0 (missing), 1 .. MAIN_RANKS, and (last, 0) of all rarer ranks.
    slope, hump, absent : float64 (J,)
        A count x adds slope * tanh(z) + hump * exp(-z^2 / 2) with z = (ln(max(x + 3, 1)) - centre) / width; a missing
        one adds `absent`.
    centre, width : float64 (J,)
    latent : float64 (P, 1 + largest paired cardinality, R)
        Latent vectors of the paired features by rank; zero for rank 0.
    names : uint32 (sum of CARDINALITIES,)
        The values that the ranks 1 .. K of each feature are written as, feature after feature.
    """

    seed: int
    intercept: float
    main: FloatArray
    slope: FloatArray
    hump: FloatArray
    absent: FloatArray
    centre: FloatArray
    width: FloatArray
    latent: FloatArray
    names: NDArray[np.uint32]

    def logits(self, features: Features) -> FloatArray:
        """Log odds of a click, float64 (N,)."""
        return self.intercept + self.main_effects(features) + self.count_effects(features) + self.pair_effects(features)

    def probabilities(self, features: Features) -> FloatArray:
        """Probability of a click, float64 (N,): what no model can beat."""
        return _sigmoid(self.logits(features))

    def main_effects(self, features: Features) -> FloatArray:
        """Sum of the effects of the single categorical values, float64 (N,)."""
        total = np.zeros(features.ranks.shape[1])
        for effects, ranks in zip(self.main, features.ranks, strict=True):
            total += effects[np.minimum(ranks, MAIN_RANKS + 1)]
        return total

    def count_effects(self, features: Features) -> FloatArray:
        """Sum of the effects of the integer fields, float64 (N,)."""
        total = np.zeros(features.integers.shape[1])
        for j, values in enumerate(features.integers):
            z = (np.log(np.maximum(values + 3.0, 1.0)) - self.centre[j]) / self.width[j]
            effect = self.slope[j] * np.tanh(z) + self.hump[j] * np.exp(-0.5 * z * z)
            total += np.where(values == MISSING_INTEGER, self.absent[j], effect)
        return total

    def pair_effects(self, features: Features) -> FloatArray:
        """Sum over all pairs of paired features of the dot product of their latent vectors, float64 (N,)."""
        vectors = [self.latent[p][features.ranks[f]] for p, f in enumerate(PAIRED_FEATURES)]
        total = np.sum(vectors, axis=0)
        squares = sum(np.einsum("nr,nr->n", v, v) for v in vectors)
        return np.asarray(0.5 * (np.einsum("nr,nr->n", total, total) - squares))  # |sum v|^2 = sum |v|^2 + 2 * pairs

    def names_of(self, feature: int) -> NDArray[np.uint32]:
        """Values of categorical feature `feature` (0 .. 25) in the order of their ranks 1 .. K, uint32 (K,)."""
        start = sum(CARDINALITIES[:feature])
        return self.names[start : start + CARDINALITIES[feature]]

    def ranks_of(self, feature: int, values: NDArray[np.uint32]) -> NDArray[np.int32]:
        """Ranks, int32 (N,), of `values` uint32 (N,) of one feature.

        Raises
        ------
        KitError
            If a value is not one of the feature's.
        """
        names = self.names_of(feature)
        order = np.argsort(names)
        found = order[np.minimum(np.searchsorted(names, values, sorter=order), len(names) - 1)]
        if (wrong := names[found] != values).any():
            raise KitError(
                f"C{feature + 1}: {int(values[wrong][0]):08x} is no value of teacher {self.seed}; "
                "the rows must come from the sample that lies beside this teacher"
            )
        return (found + 1).astype(np.int32)

    def save(self, handle: BinaryIO) -> None:
        """Write the arrays as an uncompressed .npz without pickles."""
        arrays: dict[str, Any] = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        np.savez(handle, **arrays)


def load_teacher(path: Path) -> Teacher:
    """Read what `Teacher.save` wrote.

    Raises
    ------
    KitError
        If the file is missing or is not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            values: dict[str, Any] = {field.name: arrays[field.name] for field in fields(Teacher)}
        return Teacher(**values | {name: values[name].item() for name in ("seed", "intercept")})
    except (OSError, ValueError, KeyError) as error:
        raise KitError(
            f"{path}: not a teacher's arrays ({error}); `dlrm sample` writes them as teacher/teacher.npz"
        ) from None


def build_teacher(seed: int) -> Teacher:
    """Draw a teacher, and set its scale and intercept so that the best AUC is 0.79 and a quarter of the rows clicks.

    The scale is found on 65,536 rows of its own, by the AUC that true probabilities expect of themselves.

    Raises
    ------
    KitError
        If `seed` is negative.
    """
    if seed < 0:
        raise KitError(f"seed {seed}: a number from 0 on is needed; give another --seed")
    # Key of one number: the keys of the rows have two, (day, chunk), so no row shares the teacher's stream.
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    raw = _draw_teacher(rng, seed)
    features = draw_features(rng, CALIBRATION_ROWS)
    parts = (raw.main_effects(features), raw.count_effects(features), raw.pair_effects(features))
    gains = [math.sqrt(s) / part.std() for s, part in zip((MAIN_SHARE, NUMERIC_SHARE, PAIR_SHARE), parts, strict=True)]
    scale, intercept = _calibrate(sum(gain * part for gain, part in zip(gains, parts, strict=True)))
    main, numeric, pair = (scale * gain for gain in gains)
    return Teacher(
        seed=raw.seed, intercept=intercept, main=raw.main * main,
        slope=raw.slope * numeric, hump=raw.hump * numeric, absent=raw.absent * numeric,
        centre=raw.centre, width=raw.width, latent=raw.latent * math.sqrt(pair), names=raw.names,
    )  # fmt: skip


def _draw_teacher(rng: np.random.Generator, seed: int) -> Teacher:
    """Draw every array of a teacher, before the three parts get their shares of the variance."""
    main = np.stack(
        [_draw_main(rng, k, missing) for k, missing in zip(CARDINALITIES, CATEGORICAL_MISSING, strict=True)]
    )
    size = max(CARDINALITIES[f] for f in PAIRED_FEATURES)
    slope, hump, jump = rng.normal(size=(3, len(MEDIAN_LOG))) * [[1.0], [0.5], [0.3]]
    # The typical place of ln(x + 3): for small counts the 3 matters more than the count.
    centre, width = np.log(np.exp(MEDIAN_LOG) + 3.0 - np.array(SHIFT)), np.array(SPREAD)
    at_zero = (
        -centre / width
    )  # a missing field is prepared as ln(x + 3) = 0: its effect is the curve's there, and a jump
    absent = slope * np.tanh(at_zero) + hump * np.exp(-0.5 * at_zero**2) + jump
    return Teacher(
        seed=seed, intercept=0.0, main=main,
        slope=slope, hump=hump, absent=absent, centre=centre, width=width,
        latent=np.stack([_draw_latent(rng, CARDINALITIES[f], size) for f in PAIRED_FEATURES]),
        names=np.concatenate([rng.choice(2**32, k, replace=False).astype(np.uint32) for k in CARDINALITIES]),
    )  # fmt: skip


def _draw_main(rng: np.random.Generator, cardinality: int, missing: float) -> FloatArray:
    """One feature's main effects (MAIN_RANKS + 2,), with a standard deviation of 0.5 to 1.5 over the rows."""
    effects = rng.normal(size=MAIN_RANKS + 2)
    effects[-1] = 0.0
    frequent = rank_probabilities(cardinality)[:MAIN_RANKS] * (1.0 - missing)
    weights = np.zeros(MAIN_RANKS + 2)
    weights[0], weights[1 : 1 + len(frequent)] = missing, frequent
    weights[-1] = 1.0 - weights.sum()
    spread = math.sqrt(weights @ effects**2 - (weights @ effects) ** 2)
    return effects * (rng.uniform(0.5, 1.5) / spread)


def _draw_latent(rng: np.random.Generator, cardinality: int, size: int) -> FloatArray:
    """One feature's latent vectors (1 + size, R): mean 0, so that products have no main effect, and covariance 1."""
    weights = rank_probabilities(cardinality)
    vectors = rng.normal(size=(cardinality, LATENT_SIZE))
    vectors -= weights @ vectors
    latent = np.zeros((1 + size, LATENT_SIZE))
    # Whitening needs more values than directions; a feature with too few keeps the directions it has.
    values, axes = np.linalg.eigh((vectors.T * weights) @ vectors)
    keep = values > 1e-9
    latent[1 : 1 + cardinality] = vectors @ (axes[:, keep] / np.sqrt(values[keep])) @ axes[:, keep].T
    return latent


def _calibrate(score: FloatArray) -> tuple[float, float]:
    """Scale and intercept that give the score (N,) `TARGET_AUC` and `TARGET_CLICK_RATE`; both by bisection."""
    ordered = np.sort(score - score.mean())

    def intercept(scale: float) -> float:
        return _bisect(lambda b: _sigmoid(scale * ordered + b).mean() - TARGET_CLICK_RATE, -10.0, 10.0)

    def excess(scale: float) -> float:
        return expected_auc(_sigmoid(scale * ordered + intercept(scale))) - TARGET_AUC

    scale = _bisect(excess, 0.1, 10.0)
    return scale, intercept(scale) - scale * float(score.mean())


def _bisect(rising: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return 0.5 * (low + high)


def _sigmoid(logit: FloatArray) -> FloatArray:
    return 1.0 / (1.0 + np.exp(-logit))
