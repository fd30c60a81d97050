"""The best scores that a model can attain on a planted sample."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.planted_rows import FloatArray

GENERATOR_VERSION = 1  # raise it whenever the same seed gives other bytes


@dataclass(frozen=True)
class Attainable:
    """What the true probabilities score on the labels that were drawn from them.

    Attributes
    ----------
    rows : int
    click_rate : float
    auc, log_loss : float
        Exact AUC (a tie counts one half) and mean negative log likelihood (natural logarithm) of the teacher's own
        probabilities. In expectation no model does better; on few rows one may, by luck.
    """

    rows: int
    click_rate: float
    auc: float
    log_loss: float


def attainable(
    labels: NDArray[np.bool_], probabilities: FloatArray, rows_per_day: tuple[int, ...]
) -> dict[str, Attainable]:
    """Best scores of each day, of the last day and its halves (one of them may be the test part), and of all rows."""
    ends = np.cumsum(rows_per_day)
    spans = {f"day_{day}": (end - rows, end) for day, (rows, end) in enumerate(zip(rows_per_day, ends, strict=True))}
    start, end = spans["last_day"] = spans[f"day_{len(rows_per_day) - 1}"]
    middle = start + (end - start + 1) // 2
    spans |= {"last_day_head": (start, middle), "last_day_tail": (middle, end), "all": (0, end)}
    return {name: _score(labels[first:last], probabilities[first:last]) for name, (first, last) in spans.items()}


def _score(labels: NDArray[np.bool_], probabilities: FloatArray) -> Attainable:
    from sklearn.metrics import roc_auc_score  # a second to import, and only the generator needs it here

    likelihood = np.where(labels, probabilities, 1.0 - probabilities)
    return Attainable(
        rows=len(labels),
        click_rate=float(labels.mean()),
        auc=float(roc_auc_score(labels, probabilities)),
        log_loss=float(-np.log(likelihood).mean()),
    )


def expected_auc(ordered: FloatArray) -> float:
    """AUC that click probabilities (N,), in rising order, expect of labels drawn from them."""
    no_click = 1.0 - ordered
    below = np.cumsum(no_click) - 0.5 * no_click  # a row against itself is a tie
    return float(ordered @ below / (ordered.sum() * no_click.sum()))


def describe(seed: int, rows_per_day: tuple[int, ...], best: dict[str, Attainable]) -> dict[str, Any]:
    """Content of teacher.json."""
    return {
        "description": "Planted click log: the best attainable scores are those of the true click probabilities on the "
        "labels drawn from them. last_day_head is the first half of the last day, rounded up; last_day_tail the rest.",
        "generator_version": GENERATOR_VERSION,
        "seed": seed,
        "rows": sum(rows_per_day),
        "rows_per_day": rows_per_day,
        "click_rate": best["all"].click_rate,
        "best_auc": best["last_day"].auc,
        "best_log_loss": best["last_day"].log_loss,
        "attainable": {name: asdict(scores) for name, scores in best.items()},
    }
