"""Every mode trained for real, small; the band on numbers."""

import pytest

from dlrm_core.bench import precision
from dlrm_core.bench.precision import MODES, REFERENCE, bench_precision
from dlrm_core.schema.record import read_record
from tests.train.builders import tiny_config, write_dataset


def test_every_mode_is_trained_and_compared(tmp_path):
    write_dataset(tmp_path / "DATA")
    record = bench_precision(
        data=tmp_path / "DATA", out=tmp_path / "B", config=tiny_config(), preset="tiny", seeds=[1, 2]
    )
    assert record == read_record(tmp_path / "B")
    assert record.status == "finished"
    for mode in MODES:
        assert 0 < record.metric(f"auc, {mode}", "test").value < 1
        assert "mean of 2 seeds" in record.metric(f"log_loss, {mode}", "test").selection
        assert (record.metric(f"auc, {mode} away", "test") is None) == (mode == REFERENCE)
    chosen = {mode: record.choices[f"{mode}: precision"] for mode in MODES}
    assert chosen["fp16 dynamic"].startswith("fp16")
    assert chosen["bf16"].startswith("bf16")
    assert record.choices["fp32: step"] != record.choices[f"{REFERENCE}: step"]
    runs = [read_record(tmp_path / "B" / mode.replace(" ", "-") / "2") for mode in MODES]
    assert {run.config["train"]["seed"] for run in runs} == {2}


def test_a_mode_outside_the_band_is_called_so():
    good, bad = [0.70, 0.71, 0.72], [0.60, 0.61, 0.62]
    scores = {mode: {"auc": list(good), "log_loss": [0.5, 0.51, 0.52]} for mode in (REFERENCE, "fp32", "bf16")}
    scores["bf16"]["auc"] = bad
    found = {metric.name: metric for metric in precision._metrics(scores)}
    assert found["auc, fp32 away"].value == pytest.approx(0)
    assert found["auc, fp32 away"].selection.startswith("within")
    assert found["auc, bf16 away"].value == pytest.approx(-10)
    assert found["auc, bf16 away"].selection.startswith("OUTSIDE")


def test_one_seed_has_no_spread(tmp_path):
    with pytest.raises(ValueError, match="at least 2"):
        bench_precision(data=tmp_path, out=tmp_path / "B", config=tiny_config(), preset="tiny", seeds=[1])
