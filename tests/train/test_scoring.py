"""The command `evaluate`: what stands in RUN afterwards, whatever happens."""

import json
import math
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from dlrm_core.data import open_part
from dlrm_core.metrics import log_loss, roc_auc
from dlrm_core.schema.dataset import Preparation, read_dataset
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_file
from dlrm_core.schema.record import read_record, write_record
from dlrm_core.train.checkpoint import MLPS, TABLES, load_model, save_model
from dlrm_core.train.scoring import evaluate
from tests.train.builders import tiny_config, torch_threads, trained, write_dataset


def test_evaluate_replaces_its_split_and_nothing_else(data, run):
    before = read_record(run)
    first = evaluate(run=run, data=data)
    assert first == read_record(run)
    again = evaluate(run=run, data=data)
    assert again.metrics == first.metrics
    assert again.series == first.series
    assert again.outputs == first.outputs
    assert first.metrics[: len(before.metrics)] == before.metrics
    assert first.status == "finished"
    assert first.config == before.config


def test_names_of_the_test_metrics(data, run):
    """`auc` and `log_loss` once each, and no other metric of the split contains those words."""
    names = [m.name for m in evaluate(run=run, data=data).metrics if m.split == "test"]
    assert [n for n in names if "auc" in n] == ["auc"]
    assert [n for n in names if "log_loss" in n] == ["log_loss"]
    assert len(set(names)) == len(names)


def test_metrics_are_those_of_the_predictions_and_the_predictions_of_the_model(data, run):
    record = evaluate(run=run, data=data)
    path = run / "predictions_test.safetensors"
    assert record.outputs[path.name] == sha256_file(path)
    saved = load_file(path)
    part = open_part(data, "test")
    assert (saved["logit"].dtype, saved["label"].dtype) == (np.float32, np.uint8)
    assert np.array_equal(saved["label"], part.labels())
    model = load_model(run, tiny_config().model, read_dataset(data))
    batch = part.read(0, len(part))
    with torch.no_grad():
        logit = model(batch.numerical_BN, model.gather(model.rows(batch.ids_BT))).numpy()
    np.testing.assert_allclose(saved["logit"], logit, rtol=1e-4, atol=1e-6)
    assert record.metric("auc", "test").value == roc_auc(part.labels(), saved["logit"])
    assert record.metric("log_loss", "test").value == pytest.approx(log_loss(part.labels(), saved["logit"]), rel=1e-12)
    assert record.metric("click_rate", "test").value == pytest.approx(part.labels().mean())
    assert record.metric("rows", "test").value == len(part)
    expected = np.mean(1 / (1 + np.exp(-saved["logit"].astype(np.float64))))
    assert record.metric("mean_prediction", "test").value == pytest.approx(expected, rel=1e-12)
    assert {s.name for s in record.series if s.split == "test"} == {"roc", "calibration"}
    assert record.metric("auc", "test").selection == record.choices["selection"]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_learning_curves_outlive_the_evaluation_of_another_split(data_with_validation, tmp_path, split):
    trained(data_with_validation, tmp_path / "RUN")
    record = evaluate(run=tmp_path / "RUN", data=data_with_validation, split=split)
    names = [s.name for s in record.series]
    assert sorted(names) == sorted(
        ["training_loss", "learning_rate", "auc_by_step", "log_loss_by_step", "roc", "calibration"]
    )
    assert [m.name for m in record.metrics if m.split == split].count("auc") == 1


def test_speed_outlives_the_evaluation_of_the_training_part(data, run):
    assert evaluate(run=run, data=data, split="train").metric("throughput", "train") is not None


def test_evaluation_time_is_recorded(data, run):
    before = set(read_record(run).timings_s)
    start = time.perf_counter()
    after = evaluate(run=run, data=data).timings_s
    assert set(after) - before
    assert set(after) - before == {"evaluate on test"}
    assert 0 < after["evaluate on test"] <= time.perf_counter() - start


@pytest.mark.parametrize("size", [1, 7, 90, 1000])
def test_scores_do_not_depend_on_the_test_batch(data, run, size):
    record = read_record(run)
    values = []
    for test_batch_size in (50, size):
        config = record.config | {"train": record.config["train"] | {"test_batch_size": test_batch_size}}
        write_record(run, record.model_copy(update={"config": config}))
        evaluate(run=run, data=data)
        values.append(load_file(run / "predictions_test.safetensors")["logit"])
    np.testing.assert_allclose(values[1], values[0], rtol=1e-4, atol=1e-6)


def test_evaluation_has_the_same_bits_for_any_threads(data, run):
    digests = set()
    for threads in (1, 2, 4):
        with torch_threads(threads):
            digests.add(evaluate(run=run, data=data).outputs["predictions_test.safetensors"])
    assert len(digests) == 1


def with_labels(data: Path, folder: Path, value: bool) -> Path:
    shutil.copytree(data, folder)
    np.full(90, value).tofile(folder / "test" / "label.bin")
    return folder


@pytest.mark.parametrize("value", [False, True])
def test_a_test_part_of_one_class_is_a_named_failure(data, run, tmp_path, value):
    before = evaluate(run=run, data=data)
    with pytest.raises(KitError, match="both classes"):
        evaluate(run=run, data=with_labels(data, tmp_path / "DATA", value))
    record = read_record(run)
    assert record.status == "failed"
    assert "test" in record.reason
    assert "both classes" in record.reason
    assert record.config == before.config


def test_a_failed_evaluation_leaves_no_scores_of_that_split(data, run, tmp_path):
    evaluate(run=run, data=data)
    with pytest.raises(KitError):
        evaluate(run=run, data=with_labels(data, tmp_path / "DATA", True))
    assert read_record(run).metric("auc", "test") is None


def test_a_failed_evaluation_can_be_mended(data, run, tmp_path):
    """The weights are sound: evaluating rows of both classes afterwards works without training again."""
    with pytest.raises(KitError):
        evaluate(run=run, data=with_labels(data, tmp_path / "DATA", True))
    record = evaluate(run=run, data=data)
    assert (record.status, record.reason) == ("finished", None)


def test_a_failed_evaluation_is_told_from_a_failed_training(data, run, tmp_path):
    """What a failed evaluation leaves: training's own results, the weights, a reason without folders, and no scores."""
    before = read_record(run)
    evaluate(run=run, data=data)
    with pytest.raises(KitError):
        evaluate(run=run, data=with_labels(data, tmp_path / "DATA", True))
    record = read_record(run)
    assert record.reason.startswith("evaluate on test: ")
    assert str(tmp_path) not in (run / "run.json").read_text()
    assert record.metrics == before.metrics
    assert record.series == before.series
    assert record.outputs == before.outputs
    assert record.choices == before.choices
    assert not (run / "predictions_test.safetensors").exists()


def test_a_damaged_row_is_a_failed_evaluation_that_can_be_mended(data, run, tmp_path):
    shutil.copytree(data, tmp_path / "DATA")
    path = tmp_path / "DATA" / "test" / "cat_0.bin"
    path.write_bytes(b"\x70" + path.read_bytes()[1:])
    with pytest.raises(KitError, match=r"cat_0\.bin: row 0"):
        evaluate(run=run, data=tmp_path / "DATA")
    assert "cat_0.bin: row 0" in read_record(run).reason
    assert evaluate(run=run, data=data).reason is None


def test_another_split_mends_a_failed_evaluation_too(data, run, tmp_path):
    with pytest.raises(KitError):
        evaluate(run=run, data=with_labels(data, tmp_path / "DATA", True))
    record = evaluate(run=run, data=data, split="train")
    assert (record.status, record.reason) == ("finished", None)
    assert record.metric("auc", "test") is None


def test_a_record_without_weights_is_refused(data, run):
    record = read_record(run)
    write_record(run, record.model_copy(update={"outputs": {MLPS: record.outputs[MLPS]}}))
    with pytest.raises(KitError, match="finished training run is needed"):
        evaluate(run=run, data=data)


def test_another_vocabulary_is_refused(data, run, tmp_path):
    write_dataset(tmp_path / "DATA", vocabulary="another")
    before = (run / "run.json").read_bytes()
    with pytest.raises(KitError, match="vocabulary"):
        evaluate(run=run, data=tmp_path / "DATA")
    assert (run / "run.json").read_bytes() == before


def test_another_transform_of_the_numericals_is_refused(data, run, tmp_path):
    """The ids are the same, the numbers are not."""
    write_dataset(tmp_path / "DATA", preparation=Preparation(numerical_transform="none"))
    with pytest.raises(KitError, match="numerical"):
        evaluate(run=run, data=tmp_path / "DATA")


def test_what_was_scored_is_recorded(data, run, tmp_path):
    """Other rows with the same vocabulary may be scored; then their digest stands in the record."""
    other = write_dataset(tmp_path / "DATA", seed=9)
    assert other.digest != read_dataset(data).digest
    evaluate(run=run, data=tmp_path / "DATA")
    assert other.digest in (run / "run.json").read_text()
    evaluate(run=run, data=data)
    assert other.digest not in (run / "run.json").read_text()


@pytest.mark.parametrize("status", ["running", "failed"])
def test_an_unfinished_run_is_refused(data, run, status):
    write_record(run, read_record(run).model_copy(update={"status": status}))
    with pytest.raises(KitError, match=status):
        evaluate(run=run, data=data)


def test_the_record_of_another_command_is_refused(data, run):
    write_record(run, read_record(run).model_copy(update={"command": "prepare"}))
    with pytest.raises(KitError, match="prepare"):
        evaluate(run=run, data=data)


def test_a_folder_without_record_is_refused(data, tmp_path):
    with pytest.raises(KitError, match=r"run\.json"):
        evaluate(run=tmp_path, data=data)


def test_a_record_that_is_no_json_is_refused(data, run):
    (run / "run.json").write_text('{"command": ')
    with pytest.raises(KitError, match=r"run\.json"):
        evaluate(run=run, data=data)


FAULTS = [(name, fault) for name in (MLPS, TABLES, "dataset.json") for fault in ("missing", "truncated", "flipped")]


@pytest.mark.parametrize(("name", "fault"), FAULTS[:-1])  # dataset.json has no digest of its own in the record
def test_damaged_files_of_a_run_are_refused_by_name(data, run, name, fault):
    path = run / name
    raw = bytearray(path.read_bytes())
    if fault == "missing":
        path.unlink()
    elif fault == "truncated":
        path.write_bytes(raw[: len(raw) // 2])
    else:
        raw[-3] ^= 0x40  # in the numbers: safetensors itself cannot notice, the digest in run.json does
        path.write_bytes(raw)
    before = (run / "run.json").read_bytes()
    with pytest.raises(KitError, match=name):
        evaluate(run=run, data=data)
    assert (run / "run.json").read_bytes() == before  # it may be mended by putting the file back


def test_an_empty_split_is_refused(data, run):
    with pytest.raises(KitError, match="validation part has no rows"):
        evaluate(run=run, data=data, split="validation")
    assert read_record(run).status == "finished"


def test_weights_that_are_not_finite_are_a_named_failure(data, run):
    record = read_record(run)
    model = load_model(run, tiny_config().model, read_dataset(data))
    with torch.no_grad():
        model.top[-1].bias.fill_(math.nan)
    outputs = save_model(model, read_dataset(data), run)
    write_record(run, record.model_copy(update={"outputs": outputs}))
    with pytest.raises(KitError, match="not finite"):
        evaluate(run=run, data=data)
    assert "not finite" in read_record(run).reason


def test_run_json_is_plain_json(data, run):
    evaluate(run=run, data=data)

    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is no JSON")

    json.loads((run / "run.json").read_text(), parse_constant=refuse)
