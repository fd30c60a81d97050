"""The arithmetic of a sweep's record, on numbers."""

from collections.abc import Sequence

import pytest

from dlrm_core.schema.environment import describe_environment
from dlrm_core.schema.record import Metric, RunRecord
from dlrm_core.train.tally import Tally


def scored(auc: float, log_loss: float = 0.5) -> RunRecord:
    values = (("auc", auc), ("log_loss", log_loss))
    metrics = tuple(Metric(name=n, value=v, unit="1", split="test", selection="last step") for n, v in values)
    environment = describe_environment()
    return RunRecord(
        command="train",
        name="x",
        status="finished",
        repeat="dlrm",
        config={},
        environment=environment,
        metrics=metrics,
        timings_s={"total": 100 * auc},
    )


def metrics(**aucs: Sequence[float | None]) -> dict[str, Metric]:
    """What the record says of AUCs by mode, for the seeds 1, 2, ...; None is a failed run. The first mode is the reference."""
    tally = Tally(list(aucs))
    for mode, values in aucs.items():
        for seed, value in enumerate(values, 1):
            if value is None:
                tally.add_failure(mode, seed, "diverged")
            else:
                tally.add(mode, seed, scored(value))
    return {metric.name: metric for metric in tally.fields([])["metrics"]}


def test_a_mode_outside_the_band_is_called_so():
    found = metrics(fp32=[0.70, 0.71, 0.72], bf16=[0.70, 0.71, 0.72], fp16=[0.60, 0.61, 0.62])
    assert found["auc, bf16 away"].value == pytest.approx(0, abs=1e-12)
    assert found["auc, bf16 away"].selection.startswith(
        "within the band of 2 standard deviations of fp32, 0.010000 each"
    )
    assert found["auc, fp16 away"].value == pytest.approx(-10)
    assert found["auc, fp16 away"].selection.startswith("OUTSIDE")
    assert found["auc, fp16"].selection == "mean of 3 seeds, 0.600000 to 0.620000, standard deviation 0.010000"


def test_the_time_to_train_is_a_median():
    found = metrics(fp32=[0.70, 0.71, 0.90], bf16=[None, None, 0.5])
    assert found["time_to_train, fp32"].value == pytest.approx(71.0)
    assert found["time_to_train, fp32"].selection == "median of 3 seeds, 70.0 to 90.0"
    assert found["time_to_train, bf16"].selection == "median of 1 seed, 50.0 to 50.0"


def test_a_failed_run_is_left_out_of_the_pairs_not_taken_for_a_score():
    """Seed 3 is the reference's best: means over all seeds would put bf16 one deviation low, though it never differs."""
    found = metrics(fp32=[0.70, 0.71, 0.72], bf16=[0.70, 0.71, None])
    assert found["auc, bf16 away"].value == pytest.approx(0, abs=1e-12)
    assert found["auc, bf16 away"].selection.endswith("; 2 seeds")
    assert found["failed runs"].value == 1
    assert found["finished runs"].selection == "of 6 runs"


def test_without_a_spread_there_is_no_distance():
    assert "auc, bf16 away" not in metrics(fp32=[0.5, 0.5], bf16=[0.6, 0.6])
    assert "auc, bf16 away" not in metrics(fp32=[0.5, None], bf16=[0.6, 0.6])
    assert "auc, bf16 away" not in metrics(fp32=[0.5, 0.6, None], bf16=[None, None, 0.6])
    assert metrics(fp32=[0.5], bf16=[None])["auc, fp32"].selection == "mean of 1 seed, 0.500000 to 0.500000"


def test_series_are_ordered_by_seed_whatever_came_first():
    tally = Tally(["fp32"])
    for seed, auc in ((9, 0.9), (2, 0.2), (5, 0.5)):
        tally.add("fp32", seed, scored(auc))
    series = tally.fields(["fp32-seed-11"])["series"][0]
    assert (series.x, series.y) == ((2.0, 5.0, 9.0), (0.2, 0.5, 0.9))
    assert tally.fields(["fp32-seed-11"])["choices"] == {"still to do": "fp32-seed-11"}
