import numpy as np
import pytest
from scipy import stats

from dlrm_core.metrics import Difference, auc_difference, log_loss_difference, roc_auc
from reports.read.collect import collect
from reports.read.grouping import group
from reports.read.predictions import Predictions
from reports.stats.statistics import auc_interval, compare, fraction_of_way, over_seeds, verdict


def interval(low: float, high: float) -> Difference:
    return Difference((low + high) / 2, low, high, 0.95)


@pytest.mark.parametrize(
    ("differences", "more_is_better", "word"),
    [
        ([interval(0.1, 0.2)], True, "clearly better"),
        ([interval(0.1, 0.2)], False, "worse"),
        ([interval(-0.2, -0.1)], True, "worse"),
        ([interval(-0.2, -0.1)], False, "clearly better"),
        ([interval(-0.1, 0.2)], True, "tie"),
        ([interval(0.0, 0.2)], True, "tie"),
        ([interval(0.1, 0.2), interval(-0.1, 0.2)], True, "tie"),
        ([interval(0.1, 0.2), interval(-0.2, -0.1)], True, "tie"),
        ([interval(0.1, 0.2), interval(0.01, 0.2)], True, "clearly better"),
    ],
)
def test_verdict(differences, more_is_better, word):
    assert verdict(differences, more_is_better=more_is_better) == word


def test_a_comparison_holds_the_differences_of_the_metrics_module(runs):
    only = group(collect(runs.usual().root))[0]
    run, baseline = only.variants[0].runs[0], only.baselines[1]
    pair = compare(only.variants[0], baseline).pairs[0]
    label_B, logits = run.predictions.label_B, (run.predictions.logit_B, baseline.predictions.logit_B)
    assert pair.auc == auc_difference(label_B, *logits)
    assert pair.log_loss == log_loss_difference(label_B, *logits)
    assert pair.auc.value == pytest.approx(run.auc.value - baseline.auc.value, abs=1e-12)


def test_no_comparison_without_predictions(runs):
    runs.usual()
    (runs.root / "dlrm-seed-1" / "predictions_test.safetensors").unlink()
    only = group(collect(runs.root))[0]
    assert compare(only.variants[0], only.baselines[0]) is None


def test_over_seeds_is_scipys_t_interval_from_three_values_on():
    values = [0.71, 0.72, 0.74, 0.70]
    summary = over_seeds(values)
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (summary.n, summary.smallest, summary.largest) == (4, 0.70, 0.74)
    assert summary.interval == pytest.approx(expected, rel=1e-9)
    assert over_seeds(values[:2]).interval is None


def test_auc_interval_is_hanleys_standard_error_within_a_tenth(runs):
    # Hanley and McNeil, Radiology 143 (1982) 29-36: a rough formula, but made in another way.
    label_B, score_B = runs.label_B, runs.noisy(1.0, 5)
    found = auc_interval(Predictions(label_B, score_B))
    a, clicks, others = roc_auc(label_B, score_B), label_B.sum(), (~label_B).sum()
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    error = ((a * (1 - a) + (clicks - 1) * (q1 - a * a) + (others - 1) * (q2 - a * a)) / (clicks * others)) ** 0.5
    assert found.value == pytest.approx(a, abs=1e-12)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.1)


def test_fraction_of_way():
    assert fraction_of_way(0.5, 0.8) == 0.0
    assert fraction_of_way(0.8, 0.8) == 1.0
