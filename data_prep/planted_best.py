"""The best scores that a model can attain on a planted sample."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.planted_rows import FloatArray
from dlrm_core.schema.teacher import TeacherFile, TeacherRecord

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
    """Best scores of each day, of the last one (the test part) by that name too, and of all rows."""
    ends = np.cumsum(rows_per_day)
    spans = {f"day_{day}": (end - rows, end) for day, (rows, end) in enumerate(zip(rows_per_day, ends, strict=True))}
    spans["last_day"] = spans[f"day_{len(rows_per_day) - 1}"]
    spans["all"] = (0, sum(rows_per_day))
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


def describe(seed: int, digests: Sequence[str], best: dict[str, Attainable]) -> TeacherRecord:
    """Content of teacher.json, given the SHA-256 of each day file."""
    days = [best[f"day_{day}"] for day in range(len(digests))]
    return TeacherRecord(
        generator_version=GENERATOR_VERSION,
        description="Planted click log: the best attainable scores of a day are those of the true click probabilities "
        "on the labels that were drawn from them.",
        seed=seed,
        rows=best["all"].rows,
        files=tuple(
            TeacherFile(
                name=f"day_{number}",
                rows=day.rows,
                sha256=digest,
                best_auc=day.auc,
                best_log_loss=day.log_loss,
                click_rate=day.click_rate,
            )
            for number, (digest, day) in enumerate(zip(digests, days, strict=True))
        ),
    )
