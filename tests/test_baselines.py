"""Baselines on a few hundred rows: what they see, how they are tuned, what they leave."""

import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from dlrm_core import baselines
from dlrm_core.baselines import run_baselines
from dlrm_core.data import open_part, open_training_parts
from dlrm_core.metrics import log_loss, roc_auc
from dlrm_core.schema.config import BaselinesConfig
from dlrm_core.schema.dataset import read_dataset
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_file
from dlrm_core.schema.record import RunRecord, read_record
from tests.train.builders import write_dataset

NAMES = ["constant", "logistic", "trees"]
CONFIG = BaselinesConfig(
    logistic_c=(0.05, 1.0), logistic_frequency_limit=3, tree_learning_rates=(0.3, 0.1), tree_leaf_nodes=(5,)
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("baselines") / "DATA"
    write_dataset(folder, train=600, test=300)
    return folder


@pytest.fixture(scope="module")
def scored(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[RunRecord]]:
    out = tmp_path_factory.mktemp("baselines") / "OUT"
    return out, run_baselines(data=data, out=out, config=CONFIG)


def test_records(data, scored):
    out, records = scored
    assert [r.name for r in records] == NAMES
    outer = read_record(out)
    assert (outer.command, outer.status) == ("baselines", "finished")
    for record in records:
        assert read_record(out / record.name) == record
        assert (record.command, record.status) == ("baselines", "finished")
        assert record.dataset_digest == read_dataset(data).digest
        assert BaselinesConfig.from_dict(record.config, source="record") == CONFIG
        assert "fit" in record.timings_s
        names = [m.name for m in record.metrics if m.split == "test"]
        assert [n for n in names if "auc" in n or "log_loss" in n] == ["auc", "log_loss"]


@pytest.mark.parametrize("name", NAMES)
def test_metrics_are_those_of_the_predictions(data, scored, name):
    out, _ = scored
    record = read_record(out / name)
    path = out / name / "predictions_test.safetensors"
    assert record.outputs == {path.name: sha256_file(path)}
    saved = load_file(path)
    label = open_part(data, "test").labels()
    assert np.array_equal(saved["label"], label)
    # The file holds float32, the metrics are of the float64 scores.
    assert record.metric("auc", "test").value == pytest.approx(roc_auc(label, saved["logit"]), abs=1e-3)
    assert record.metric("log_loss", "test").value == pytest.approx(log_loss(label, saved["logit"]), rel=1e-6)


def test_constant_is_the_click_rate_of_all_training_rows(data, scored):
    record = read_record(scored[0] / "constant")
    everything, test = open_training_parts(data).everything.labels(), open_part(data, "test").labels()
    rate, share = everything.mean(), test.mean()
    assert record.metric("auc", "test").value == 0.5
    expected = -(share * math.log(rate) + (1 - share) * math.log(1 - rate))
    assert record.metric("log_loss", "test").value == pytest.approx(expected, rel=1e-12)


def test_each_learns_the_planted_signal(scored):
    constant, logistic, trees = (read_record(scored[0] / name) for name in NAMES)
    for record in (logistic, trees):
        assert record.metric("auc", "test").value > 0.6
        assert record.metric("log_loss", "test").value < constant.metric("log_loss", "test").value


def test_choice_is_made_on_held_back_rows(scored):
    for name in NAMES[1:]:
        selection = read_record(scored[0] / name).metric("auc", "test").selection
        assert "the last 60 training rows" in selection
        assert "fitted on all training rows" in selection
        assert "test" not in selection


@pytest.mark.parametrize(("rows", "same"), [("everything", True), ("fit", False)])
def test_the_chosen_one_is_fitted_on_all_training_rows(data, tmp_path, rows, same):
    config = BaselinesConfig(logistic_c=(0.3,), logistic_frequency_limit=3, tree_learning_rates=(0.2,))
    run_baselines(data=data, out=tmp_path / "OUT", config=config)
    columns, test = getattr(open_training_parts(data), rows).columns(), open_part(data, "test").columns()
    encoder = baselines._OneHot(columns, 3)
    logistic = LogisticRegression(C=0.3, max_iter=500).fit(encoder(columns), columns[2])
    trees = int(re.search(r"(\d+) trees", read_record(tmp_path / "OUT" / "trees").metrics[0].selection).group(1))
    dense = [np.concatenate([c[0], c[1].astype(np.float32)], axis=1) for c in (columns, test)]
    boosted = HistGradientBoostingClassifier(
        learning_rate=0.2, max_iter=trees, max_leaf_nodes=31, early_stopping=False, random_state=config.seed
    ).fit(dense[0], columns[2])
    expected = {
        "logistic": logistic.decision_function(encoder(test)),
        "trees": boosted.decision_function(dense[1]),
    }
    for name, logit in expected.items():
        saved = load_file(tmp_path / "OUT" / name / "predictions_test.safetensors")["logit"]
        assert np.allclose(saved, logit, rtol=1e-5, atol=1e-5) == same


def test_test_rows_decide_nothing(data, scored, tmp_path):
    """Other labels in the test part change no prediction."""
    shutil.copytree(data, tmp_path / "DATA")
    path = tmp_path / "DATA" / "test" / "label.bin"
    (~np.fromfile(path, np.bool_)).tofile(path)
    run_baselines(data=tmp_path / "DATA", out=tmp_path / "OUT", config=CONFIG)
    for name in NAMES:
        before, after = (
            load_file(out / name / "predictions_test.safetensors")["logit"] for out in (scored[0], tmp_path / "OUT")
        )
        np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-7)


def test_one_hot_by_hand():
    numerical = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 0.0], [2.0, 2.0]], np.float32)
    ids = np.array([[1], [1], [2], [0]], np.int32)
    columns = (numerical, ids, np.zeros(4, bool))
    dense = baselines._OneHot(columns, limit=2)(columns).toarray()
    scaled = (numerical - numerical.mean(0)) / numerical.std(0)
    missing = np.array([[1, 0], [0, 0], [0, 1], [0, 0]])
    kept = np.array([[0, 1], [0, 1], [1, 0], [1, 0]])  # id 2 occurs once: it shares the column of id 0
    np.testing.assert_allclose(dense, np.concatenate([scaled, missing, kept], axis=1), atol=1e-6)


def test_one_hot_of_ids_that_were_not_there_when_fitted():
    fitted = (np.ones((3, 1), np.float32), np.array([[1], [1], [0]], np.int32), np.zeros(3, bool))
    other = (np.ones((1, 1), np.float32), np.array([[7]], np.int32), np.zeros(1, bool))
    assert baselines._OneHot(fitted, limit=1)(other).toarray()[0, 2:].tolist() == [1, 0]


def test_too_few_rows_to_tune_on(tmp_path):
    write_dataset(tmp_path / "DATA", train=9)
    with pytest.raises(KitError, match="hold any back"):
        run_baselines(data=tmp_path / "DATA", out=tmp_path / "OUT", config=CONFIG)


def test_training_rows_of_one_class_are_a_named_failure(tmp_path):
    write_dataset(tmp_path / "DATA")
    np.zeros(230, bool).tofile(tmp_path / "DATA" / "train" / "label.bin")
    with pytest.raises(KitError, match="both classes"):
        run_baselines(data=tmp_path / "DATA", out=tmp_path / "OUT", config=CONFIG)
    assert "both classes" in read_record(tmp_path / "OUT").reason


def test_rows_to_fit_of_one_class_are_a_named_failure(tmp_path):
    """The only clicks are among the rows held back."""
    write_dataset(tmp_path / "DATA")
    label = np.zeros(230, bool)
    label[-5:] = True
    label.tofile(tmp_path / "DATA" / "train" / "label.bin")
    with pytest.raises(KitError, match="class"):
        run_baselines(data=tmp_path / "DATA", out=tmp_path / "OUT", config=CONFIG)


def test_a_test_part_of_one_class_is_a_named_failure(tmp_path):
    write_dataset(tmp_path / "DATA")
    np.zeros(90, bool).tofile(tmp_path / "DATA" / "test" / "label.bin")
    with pytest.raises(KitError, match="both classes"):
        run_baselines(data=tmp_path / "DATA", out=tmp_path / "OUT", config=CONFIG)
    for folder in (tmp_path / "OUT", tmp_path / "OUT" / "constant"):
        assert read_record(folder).status == "failed"
        assert "both classes" in read_record(folder).reason


@pytest.mark.parametrize("other", [False, True], ids=["the same", "another"])
def test_records_do_not_go_into_a_prepared_data_set(data, tmp_path, other):
    shutil.copytree(data, tmp_path / "DATA")
    before = sorted(p.name for p in (tmp_path / "DATA").iterdir())
    with pytest.raises(KitError, match="prepared data set"):
        run_baselines(data=data if other else tmp_path / "DATA", out=tmp_path / "DATA", config=CONFIG)
    assert sorted(p.name for p in (tmp_path / "DATA").iterdir()) == before


def test_a_failure_leaves_no_records_of_an_earlier_call(scored, tmp_path):
    """Else a finished record of other rows stands beside the failed one."""
    shutil.copytree(scored[0], tmp_path / "OUT")
    write_dataset(tmp_path / "DATA")
    np.zeros(230, bool).tofile(tmp_path / "DATA" / "train" / "label.bin")
    with pytest.raises(KitError, match="both classes"):
        run_baselines(data=tmp_path / "DATA", out=tmp_path / "OUT", config=CONFIG)
    assert [p.name for p in (tmp_path / "OUT").rglob("*") if p.is_file()] == ["run.json"]
