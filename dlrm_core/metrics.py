"""Quality of predicted click probabilities: exact ROC AUC, log loss, curves, and paired differences.

Naming law (scikit-learn's): of ``*_auc`` more is better, of ``*_loss`` less is better. No torch here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm, rankdata

from dlrm_core.schema.errors import KitError

Scores = NDArray[np.floating]
Labels = NDArray[np.bool_]


def roc_auc(label_B: Labels, score_B: Scores) -> float:
    """Area under the ROC curve, exact: the share of (click, no click) pairs ranked right, ties counted half.

    Parameters
    ----------
    label_B : bool array of shape (B,)
    score_B : float array of shape (B,)
        Any strictly increasing function of the click probability; logits will do.

    Returns
    -------
    float
        Twice the number of pairs ranked right is summed in int64, divided once in float64 (exact below 2**62 pairs).

    Raises
    ------
    KitError
        If shapes differ, a score is not finite, or only one class is there.

    Examples
    --------
    >>> roc_auc(np.array([False, True, True]), np.array([0.1, 0.1, 0.7]))
    0.75
    """
    positives, negatives = _check(label_B, score_B)
    order = np.argsort(score_B, kind="stable")
    new_group = np.diff(score_B[order], prepend=np.nan) != 0
    group = np.cumsum(new_group) - 1
    num_groups = int(group[-1]) + 1
    clicks = np.bincount(group, weights=label_B[order], minlength=num_groups).astype(np.int64)
    others = np.bincount(group, minlength=num_groups).astype(np.int64) - clicks
    below = np.cumsum(others) - others
    twice_right = int(np.sum(clicks * (2 * below + others), dtype=np.int64))
    return twice_right / (2 * positives * negatives)


def log_loss(label_B: Labels, logit_B: Scores) -> float:
    """Mean binary cross entropy in nats: mean of softplus(logit) - label * logit, in float64.

    Raises
    ------
    KitError
        If shapes differ or a logit is not finite.
    """
    return float(np.mean(row_log_loss(label_B, logit_B)))


def click_probability(logit_B: Scores) -> NDArray[np.float64]:
    """Logistic function of the logits, in float64, without overflow.

    >>> click_probability(np.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 0.5, 1.0]
    """
    return expit(logit_B.astype(np.float64))


def row_log_loss(label_B: Labels, logit_B: Scores) -> NDArray[np.float64]:
    """Binary cross entropy of each row, in nats, float64 of shape (B,)."""
    _check_shapes(label_B, logit_B)
    logit = logit_B.astype(np.float64)
    return np.logaddexp(0.0, logit) - label_B * logit


def roc_curve(label_B: Labels, score_B: Scores, points: int = 201) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rates, thinned to at most `points` thresholds; starts at (0, 0), ends at (1, 1)."""
    positives, negatives = _check(label_B, score_B)
    order = np.argsort(-score_B, kind="stable")
    last_of_tie = np.flatnonzero(np.diff(score_B[order], append=np.nan) != 0)
    true = np.cumsum(label_B[order], dtype=np.int64)[last_of_tie]
    false = 1 + last_of_tie - true
    keep = np.unique(np.linspace(0, len(true) - 1, points - 1).round().astype(np.int64))
    fpr = np.concatenate([[0.0], false[keep] / negatives])
    tpr = np.concatenate([[0.0], true[keep] / positives])
    return fpr, tpr


def calibration_curve(
    label_B: Labels, logit_B: Scores, bins: int = 20
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Mean predicted probability, observed click rate and rows of `bins` groups of equal size, by rising prediction."""
    _check_shapes(label_B, logit_B)
    order = np.argsort(logit_B, kind="stable")
    groups = [g for g in np.array_split(order, bins) if len(g)]
    probability = click_probability(logit_B)
    predicted = np.array([probability[g].mean() for g in groups])
    observed = np.array([label_B[g].mean() for g in groups])
    return predicted, observed, np.array([len(g) for g in groups], dtype=np.int64)


@dataclass(frozen=True)
class Difference:
    """A paired difference A - B on the same rows, with its confidence interval."""

    value: float
    low: float
    high: float
    confidence: float


def auc_difference(label_B: Labels, score_a_B: Scores, score_b_B: Scores, confidence: float = 0.95) -> Difference:
    """AUC(A) - AUC(B) with DeLong's interval for correlated curves.

    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) 837-845, by mid-ranks as in Sun and Xu, IEEE Signal
    Processing Letters 21 (2014) 1389-1393.
    """
    placements = [_placements(label_B, score) for score in (score_a_B, score_b_B)]
    value = roc_auc(label_B, score_a_B) - roc_auc(label_B, score_b_B)
    variance = sum(float(np.var(a - b, ddof=1)) / len(a) for a, b in zip(*placements, strict=True))
    return _interval(value, variance**0.5, confidence)


def log_loss_difference(label_B: Labels, logit_a_B: Scores, logit_b_B: Scores, confidence: float = 0.95) -> Difference:
    """Log loss of A minus that of B, in nats, with the normal interval of the mean of row differences."""
    rows = row_log_loss(label_B, logit_a_B) - row_log_loss(label_B, logit_b_B)
    return _interval(float(rows.mean()), float(rows.std(ddof=1) / len(rows) ** 0.5), confidence)


def _placements(label_B: Labels, score_B: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each click the share of non-clicks ranked below it, and for each non-click the share of clicks above it."""
    positives, negatives = _check(label_B, score_B)
    ranks = rankdata(score_B)
    within_clicks, within_others = rankdata(score_B[label_B]), rankdata(score_B[~label_B])
    return (ranks[label_B] - within_clicks) / negatives, 1.0 - (ranks[~label_B] - within_others) / positives


def _interval(value: float, error: float, confidence: float) -> Difference:
    reach = float(norm.ppf(0.5 + confidence / 2)) * error
    return Difference(value=value, low=value - reach, high=value + reach, confidence=confidence)


def _check_shapes(label_B: Labels, score_B: Scores) -> None:
    if label_B.shape != score_B.shape or label_B.ndim != 1:
        raise KitError(
            f"labels of shape {label_B.shape} and scores of shape {score_B.shape}; two vectors of one length are needed"
        )
    bad = int(np.count_nonzero(~np.isfinite(score_B)))
    if bad:
        raise KitError(
            f"{bad} of {len(score_B)} predictions are not finite; the model has diverged, lower the learning rate"
        )


def _check(label_B: Labels, score_B: Scores) -> tuple[int, int]:
    _check_shapes(label_B, score_B)
    return count_classes(label_B)


def count_classes(label_B: Labels) -> tuple[int, int]:
    """How many labels are 1, and how many 0.

    Raises
    ------
    KitError
        If all are the same.
    """
    positives = int(np.count_nonzero(label_B))
    negatives = len(label_B) - positives
    if not positives or not negatives:
        raise KitError(f"all {len(label_B)} labels are {int(bool(positives))}; the AUC needs rows of both classes")
    return positives, negatives
