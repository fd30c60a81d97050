"""Metrics and files of a scored split, apart from any model."""

import struct
import warnings

import numpy as np
import pytest
from safetensors.numpy import load_file

from dlrm_core.data import open_part
from dlrm_core.schema.dataset import Preparation, read_dataset
from dlrm_core.schema.errors import KitError
from dlrm_core.train.checkpoint import build_model
from dlrm_core.train.evaluate import CURVES, MEASURED, check_same_encoding, curves, measure, predict, save_predictions
from dlrm_core.train.shards import Shards
from tests.train.builders import tiny_config, write_dataset

LABEL = np.array([True, False, True, False, False])
LOGIT = np.array([2.0, -1.0, -0.5, 0.25, 0.25], np.float32)


def test_measure_by_hand():
    metrics = {m.name: m for m in measure(LABEL, LOGIT, "test", "last step")}
    assert metrics["auc"].value == 4 / 6  # 3 pairs of the first click, 1 of the second
    probability = 1 / (1 + np.exp(-LOGIT.astype(np.float64)))
    expected = -np.mean(np.where(LABEL, np.log(probability), np.log1p(-probability)))
    assert metrics["log_loss"].value == pytest.approx(expected, rel=1e-14)
    assert metrics["mean_prediction"].value == pytest.approx(probability.mean(), rel=1e-14)
    assert metrics["click_rate"].value == 0.4
    assert metrics["rows"].value == 5
    assert {(m.split, m.selection) for m in metrics.values()} == {("test", "last step")}
    assert (metrics["auc"].unit, metrics["log_loss"].unit) == ("1", "nat")


def test_very_sure_predictions_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = {m.name: m.value for m in measure(LABEL, LOGIT * 1e4, "test", "x")}
    assert metrics["mean_prediction"] == pytest.approx(0.6)
    assert np.isfinite(metrics["log_loss"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_predictions_that_are_not_finite_are_refused_without_a_warning(value):
    logit = LOGIT.copy()
    logit[1] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KitError, match="1 of 5 predictions are not finite"):
            measure(LABEL, logit, "test", "x")


def test_names_of_what_an_evaluation_adds():
    assert tuple(m.name for m in measure(LABEL, LOGIT, "test", "x")) == MEASURED
    assert tuple(c.name for c in curves(LABEL, LOGIT, "test")) == CURVES


def test_curves_are_aggregates():
    roc, calibration = curves(LABEL, LOGIT, "test")
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)
    assert len(calibration.x) == len(calibration.y) == 5


def test_predictions_have_no_metadata_and_the_same_bytes_anywhere(tmp_path):
    files = []
    for name in ("one", "a longer name"):
        (tmp_path / name).mkdir()
        files.append(save_predictions(tmp_path / name, "test", LABEL, LOGIT))
        assert [p.name for p in (tmp_path / name).iterdir()] == ["predictions_test.safetensors"]
    raw = files[0].read_bytes()
    assert raw == files[1].read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    assert b"__metadata__" not in raw[8 : 8 + length]
    saved = load_file(files[0])
    assert np.array_equal(saved["logit"], LOGIT)
    assert np.array_equal(saved["label"], LABEL)


def test_progress_counts_rows_to_the_last(data):
    heard = []
    model = build_model(tiny_config().model, read_dataset(data), 1)
    with Shards(deterministic=True, threads=1) as shards:
        logit = predict(model, open_part(data, "test"), 40, shards, lambda *call: heard.append(call))
    assert logit.shape == (90,)
    assert logit.dtype == np.float32
    assert heard == [("evaluate on test", done, 90) for done in (40, 80, 90)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 3, "train": 50, "validation": 4}, None),  # other rows of the same kind
        ({"vocabulary": "another"}, "vocabulary"),
        ({"preparation": Preparation(numerical_transform="none")}, "numerical transform"),
        ({"num_numerical": 5}, "numerical features"),
        ({"cardinalities": (5, 130, 41)}, "categorical features"),
        ({"preparation": Preparation(frequency_limit=3)}, None),  # the vocabulary is the same nevertheless
    ],
)
def test_rows_of_another_encoding_are_refused(data, tmp_path, changes, said):
    other = write_dataset(tmp_path / "DATA", **changes)
    if said is None:
        check_same_encoding(read_dataset(data), other, tmp_path / "DATA")
        return
    with pytest.raises(KitError, match=rf"DATA: its {said} differs"):
        check_same_encoding(read_dataset(data), other, tmp_path / "DATA")
