"""The commands `train` and `evaluate`: what stands in RUN afterwards, whatever happens."""

import json
import math
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from dlrm_core.data import open_part, open_training_parts
from dlrm_core.metrics import log_loss, roc_auc
from dlrm_core.schema.config import TrainConfig
from dlrm_core.schema.dataset import Preparation, read_dataset
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_file
from dlrm_core.schema.record import RunRecord, read_record, write_record
from dlrm_core.train.checkpoint import MLPS, TABLES, build_model, load_model, save_model
from dlrm_core.train.loop import Fit, TrainEvent
from dlrm_core.train.run import evaluate, train
from dlrm_core.train.shards import Shards
from tests.train.builders import tiny_config, torch_threads, write_dataset


def trained(data: Path, out: Path, config: TrainConfig | None = None, **arguments: Any) -> RunRecord:
    return train(data=data, out=out, config=config or tiny_config(), preset="tiny", **arguments)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "RUN"
    trained(data, run, tiny_config(epochs=2))
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run that a test may spoil."""
    shutil.copytree(finished, tmp_path / "RUN")
    return tmp_path / "RUN"


# train


def test_record_of_a_training_run(data, tmp_path):
    config = tiny_config(epochs=2, seed=5)
    record = train(data=data, out=tmp_path / "RUN", config=config, preset="tiny", overrides=["seed=5", "epochs=2"])
    assert record == read_record(tmp_path / "RUN")
    assert (record.command, record.status, record.reason) == ("train", "finished", None)
    assert TrainConfig.from_dict(record.config["train"], source="record") == config
    assert record.config["preset"] == "tiny"
    assert record.repeat == "dlrm train --data DATA --out RUN --preset tiny --set seed=5 --set epochs=2"
    assert record.seeds == {"model": 5}
    assert record.dataset_digest == read_dataset(data).digest
    assert {"train", "evaluate on validation", "total"} <= set(record.timings_s)
    assert record.outputs == {name: sha256_file(tmp_path / "RUN" / name) for name in (MLPS, TABLES)}
    assert sorted(p.name for p in (tmp_path / "RUN").iterdir()) == ["dataset.json", MLPS, "run.json", TABLES]
    assert (tmp_path / "RUN" / "dataset.json").read_bytes() == (data / "dataset.json").read_bytes()
    series = {s.name: s for s in record.series}
    assert list(series["training_loss"].x) == list(series["learning_rate"].x) == [2, 4, 6, 8]
    assert list(series["auc_by_step"].x) == list(series["log_loss_by_step"].x) == [4, 8]
    assert not [m for m in record.metrics if m.split == "test"]
    assert record.choices["selection"] == "last step"
    assert "23 training rows" in record.choices["stopping rows"]


def test_validation_metrics_are_of_the_model_that_is_left(data, tmp_path):
    record = trained(data, tmp_path / "RUN", tiny_config(epochs=2))
    assert record.metric("auc", "validation").value == next(s for s in record.series if s.name == "auc_by_step").y[-1]
    model = load_model(tmp_path / "RUN", tiny_config().model, read_dataset(data))
    stop = open_training_parts(data).stop
    batch = stop.read(0, len(stop))
    with torch.no_grad():
        logit = model(batch.numerical_BN, model.gather(model.rows(batch.ids_BT))).numpy()
    assert record.metric("log_loss", "validation").value == pytest.approx(log_loss(stop.labels(), logit), rel=1e-6)
    assert record.metric("rows", "validation").value == 23


@pytest.mark.parametrize("refit", [False, True])
def test_same_bits_for_1_2_4_threads_and_a_repeat(data, tmp_path, refit):
    config = tiny_config(
        model={"embedding_dim": 16, "bottom_mlp_sizes": [64, 16], "top_mlp_sizes": [96, 64, 1], "dropout": 0.1},
        epochs=3,
        batch_size=100,
        tables={"name": "adagrad", "lr": 0.1},
        average_decay=0.9,
        stopping={"rule": "best_log_loss", "refit": refit},
    )
    records = []
    for place, threads in enumerate((1, 2, 4, 4)):
        with torch_threads(threads):
            records.append(trained(data, tmp_path / str(place), config))
            assert torch.get_num_threads() == threads
    first = records[0]
    timeless = [m for m in first.metrics if m.unit not in ("rows/s", "s")]
    for record in records[1:]:
        assert record.outputs == first.outputs
        assert [m for m in record.metrics if m.unit not in ("rows/s", "s")] == timeless
        assert record.series == first.series
    other = trained(data, tmp_path / "other", config.model_copy(update={"seed": 2}))
    assert all(other.outputs[name] != first.outputs[name] for name in (MLPS, TABLES))


def test_throughput_counts_rows_that_were_trained_on(data, tmp_path):
    record = trained(data, tmp_path / "RUN", tiny_config(epochs=3))
    metric = record.metric("throughput", "train")
    assert metric.selection.startswith(f"{3 * 207} rows")
    assert metric.value == pytest.approx(3 * 207 / record.timings_s["train"])


def test_refit_trains_anew_on_all_rows(data, tmp_path):
    config = tiny_config(epochs=4, stopping={"rule": "best_log_loss", "refit": True, "patience": 9})
    events: list[TrainEvent] = []
    record = trained(data, tmp_path / "RUN", config, listener=events.append)
    losses = next(s for s in record.series if s.name == "log_loss_by_step")
    chosen = losses.x[int(np.argmin(losses.y))]
    steps = round(chosen * 230 / 207)
    refit = [event for event in events if event.phase == "refit"]
    assert refit[-1].step == refit[-1].steps == steps
    assert not [event for event in refit if event.auc is not None]
    assert f"refit on all training rows for {steps} steps" in record.choices["selection"]
    parts = open_training_parts(data)
    model = build_model(config.model, parts.fit.spec, config.seed)
    with Shards(deterministic=True, threads=1) as shards:
        Fit(model, config, shards, lambda _e: None, "refit").run(parts.everything, None, steps)
    kept = load_model(tmp_path / "RUN", config.model, parts.fit.spec)
    assert all(torch.equal(t, kept.state_dict()[n]) for n, t in model.state_dict().items())


@pytest.mark.parametrize("rule", ["best_auc", "best_log_loss"])
def test_rule_and_chosen_step_stand_in_the_record(data_with_validation, tmp_path, rule):
    config = tiny_config(epochs=4, stopping={"rule": rule, "patience": 9, "evaluations_per_epoch": 2})
    record = trained(data_with_validation, tmp_path / "RUN", config)
    name = rule.removeprefix("best_")
    curve = next(s for s in record.series if s.name == f"{name}_by_step")
    best = max(curve.y) if name == "auc" else min(curve.y)
    step = int(curve.x[curve.y.index(best)])
    assert record.choices["selection"] == f"{rule} on the validation part, step {step} of 16"
    assert record.metric(name, "validation").value == best


def test_divergence_is_a_named_failure_and_leaves_no_weights(data, tmp_path):
    config = tiny_config(mlps={"lr": 1e30}, tables={"lr": 1e30})
    with pytest.raises(KitError, match="loss is"):
        trained(data, tmp_path / "RUN", config)
    record = read_record(tmp_path / "RUN")
    assert record.status == "failed"
    assert "loss is" in record.reason
    assert [p.name for p in (tmp_path / "RUN").iterdir()] == ["run.json"]


def test_divergence_at_the_very_last_update_is_a_failure_too(data_with_validation, tmp_path):
    """The loss of a step is that before its update: after the last one the weights themselves are infinite."""
    config = tiny_config(
        mlps={"lr": 1e38}, tables={"lr": 1e38}, batch_size=1000, schedule={"warmup_steps": 0, "decay_start_step": None}
    )
    with pytest.raises(KitError):
        trained(data_with_validation, tmp_path / "RUN", config)
    assert read_record(tmp_path / "RUN").status == "failed"


def test_an_interrupt_is_recorded(data, tmp_path):
    def interrupt(_event: TrainEvent) -> None:
        assert read_record(tmp_path / "RUN").status == "running"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(data, tmp_path / "RUN", listener=interrupt)
    record = read_record(tmp_path / "RUN")
    assert (record.status, record.reason) == ("failed", "interrupted by the user")


def test_no_training_rows_are_refused(tmp_path):
    write_dataset(tmp_path / "DATA", train=0)
    with pytest.raises(KitError, match="no rows"):
        trained(tmp_path / "DATA", tmp_path / "RUN")


@pytest.mark.parametrize("rule", ["best_auc", "best_log_loss"])
def test_a_stopping_rule_without_rows_to_look_at_is_refused(tmp_path, rule):
    """Nothing rewrites what was asked: it must not quietly become `last`."""
    write_dataset(tmp_path / "DATA", train=9)
    assert len(open_training_parts(tmp_path / "DATA").stop) == 0
    with pytest.raises(KitError, match=r"held back|hold|validation"):
        trained(tmp_path / "DATA", tmp_path / "RUN", tiny_config(stopping={"rule": rule}))


def test_last_needs_no_rows_to_look_at(tmp_path):
    write_dataset(tmp_path / "DATA", train=9)
    record = trained(tmp_path / "DATA", tmp_path / "RUN")
    assert [m.name for m in record.metrics] == ["throughput", "step_throughput", "loader_wait"]


def test_stopping_rows_of_one_class_are_a_named_failure(tmp_path):
    write_dataset(tmp_path / "DATA", train=230)
    label = np.fromfile(tmp_path / "DATA" / "train" / "label.bin", dtype=bool)
    label[-23:] = False
    label.tofile(tmp_path / "DATA" / "train" / "label.bin")
    with pytest.raises(KitError, match="all 23 labels are 0"):
        trained(tmp_path / "DATA", tmp_path / "RUN")
    assert "all 23 labels are 0" in read_record(tmp_path / "RUN").reason


def test_run_and_data_must_be_two_folders(tmp_path):
    write_dataset(tmp_path / "DATA")
    before = {p.name: p.read_bytes() for p in (tmp_path / "DATA").iterdir() if p.is_file()}
    with pytest.raises(KitError):
        trained(tmp_path / "DATA", tmp_path / "DATA")
    assert {p.name: p.read_bytes() for p in (tmp_path / "DATA").iterdir() if p.is_file()} == before


def test_run_must_not_be_another_prepared_data_set(data, tmp_path):
    write_dataset(tmp_path / "OTHER", seed=4)
    before = (tmp_path / "OTHER" / "dataset.json").read_bytes()
    with pytest.raises(KitError, match="prepared data set"):
        trained(data, tmp_path / "OTHER")
    assert (tmp_path / "OTHER" / "dataset.json").read_bytes() == before
    assert not (tmp_path / "OTHER" / "run.json").exists()


def test_command_to_repeat_can_be_pasted(data, tmp_path):
    overrides = ["seed=1", "model.top_mlp_sizes=[10, 5, 1]", "stopping={rule: last}"]
    record = train(data=data, out=tmp_path / "RUN", config=tiny_config(), preset="tiny", overrides=overrides)
    words = shlex.split(record.repeat)
    assert words[:8] == ["dlrm", "train", "--data", "DATA", "--out", "RUN", "--preset", "tiny"]
    assert words[8:] == ["--set", overrides[0], "--set", overrides[1], "--set", overrides[2]]


def test_records_hold_no_absolute_path(data, tmp_path):
    """`--preset /home/somebody/mine.yaml` must not put somebody's name into run.json."""
    preset = str(tmp_path / "somebody" / "mine.yaml")
    train(data=data, out=tmp_path / "RUN", config=tiny_config(), preset=preset)
    assert "mine" in read_record(tmp_path / "RUN").name
    assert str(tmp_path) not in (tmp_path / "RUN" / "run.json").read_text()


def test_training_again_leaves_nothing_of_the_model_before(data, run):
    """Else a finished record stands beside another model's predictions."""
    evaluate(run=run, data=data)
    trained(data, run, tiny_config(seed=9))
    assert not (run / "predictions_test.safetensors").exists()


def test_a_failed_training_leaves_nothing_of_the_model_before(data, run):
    evaluate(run=run, data=data)
    with pytest.raises(KitError, match="loss is"):
        trained(data, run, tiny_config(mlps={"lr": 1e30}, tables={"lr": 1e30}))
    assert [p.name for p in run.iterdir()] == ["run.json"]
    with pytest.raises(KitError, match="train failed"):
        evaluate(run=run, data=data)


def test_a_training_that_is_refused_leaves_the_model_before(tmp_path, run):
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    write_dataset(tmp_path / "DATA", train=0)
    with pytest.raises(KitError, match="no rows"):
        trained(tmp_path / "DATA", run)
    assert {p.name: p.read_bytes() for p in run.iterdir()} == before


# evaluate


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


# The options of June 2020


def test_max_steps_is_the_number_of_updates(data, tmp_path):
    """Quirk 6: the published loop takes one more."""
    record = trained(data, tmp_path / "RUN", tiny_config(epochs=9, max_steps=5, print_freq=1))
    (loss,) = (s for s in record.series if s.name == "training_loss")
    assert loss.x == (1.0, 2.0, 3.0, 4.0, 5.0)


def test_max_rows_takes_the_first_rows(data, tmp_path):
    parts = open_training_parts(data, 100)
    assert (len(parts.fit), len(parts.everything), len(parts.stop)) == (100, 100, len(open_training_parts(data).stop))
    first, whole = parts.fit.read(0, 100), open_training_parts(data).fit.read(0, 100)
    assert torch.equal(first.ids_BT, whole.ids_BT)
    record = trained(data, tmp_path / "RUN", tiny_config(max_rows=100))
    assert record.metric("throughput", "train").selection.startswith("100 rows")
    assert len(open_training_parts(data, 10**9).fit) == len(open_training_parts(data).fit)


def test_auc_threshold_leaves_a_finished_run(data, tmp_path):
    """Quirk 11: the published one writes no final record."""
    record = trained(data, tmp_path / "RUN", tiny_config(epochs=50, auc_threshold=0.01))
    assert record.status == "finished"
    assert record.choices["auc_threshold"].startswith("0.01 reached at step 4, ")
    assert "step 4 of 200" in record.choices["selection"]
    assert {MLPS, TABLES} <= set(record.outputs)
    other = trained(data, tmp_path / "RUN2", tiny_config(auc_threshold=0.9999))
    assert other.choices["auc_threshold"] == "0.9999 was not reached in 4 steps"


def test_auc_threshold_needs_rows_to_look_at(tmp_path):
    write_dataset(tmp_path / "DATA", train=9)
    with pytest.raises(KitError, match=r"auc_threshold 0\.8 needs rows"):
        trained(tmp_path / "DATA", tmp_path / "RUN", tiny_config(auc_threshold=0.8))


def test_throughput_is_not_that_of_the_last_window(data, tmp_path):
    """Quirk 7. All rows after the warm-up count, whatever the printing."""
    record = trained(data, tmp_path / "RUN", tiny_config(epochs=3, benchmark_warmup_steps=2, print_freq=5))
    metric = record.metric("step_throughput", "train")
    assert metric.selection.startswith(f"{3 * 207 - 2 * 64} rows over the time of their steps")
    wait = record.metric("loader_wait", "train")
    assert 0 <= wait.value < record.timings_s["train"]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "auto"])
@pytest.mark.parametrize("deterministic", [True, False])
def test_every_precision_trains_and_evaluates(data, tmp_path, precision, deterministic):
    changes = {"precision": precision, "deterministic": deterministic, "epochs": 2, "test_batch_size": 300}
    record = trained(data, tmp_path / "RUN", tiny_config(**changes))
    chosen = {"fp32": "fp32", "bf16": "bf16", "fp16": "fp16", "auto": "fp32" if deterministic else ""}[precision]
    assert record.choices["precision"].startswith(chosen)
    scored = evaluate(run=tmp_path / "RUN", data=data)
    reference = trained(data, tmp_path / "REF", tiny_config(epochs=2))
    exact = evaluate(run=tmp_path / "REF", data=data)
    assert reference.status == "finished"
    # Eight bits of mantissa: a relative error of 2^-9 in each of a few roundings, on a log loss of about 0.7.
    assert abs(scored.metric("log_loss", "test").value - exact.metric("log_loss", "test").value) < 8 * 2**-9


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"precision": "tf32"}, "precision is tf32"),
        ({"model": {"interaction": "cuda_dot"}}, "needs a CUDA device"),
        ({"model": {"embedding_type": "joint_fused"}}, "deterministic is true"),
    ],
)
def test_what_cannot_run_here_is_refused_by_name(data, tmp_path, changes, words):
    model = tiny_config().model.model_dump() | changes.pop("model", {})
    with pytest.raises(KitError, match=words):
        trained(data, tmp_path / "RUN", tiny_config(model=model, **changes))


def test_hashed_ids_of_smaller_tables(data, tmp_path):
    model = tiny_config().model.model_dump() | {"hash_indices": True, "max_table_size": 5}
    for deterministic in (True, False):
        run = tmp_path / str(deterministic)
        record = trained(data, run, tiny_config(model=model, deterministic=deterministic))
        assert all(len(table) <= 5 for table in load_file(run / TABLES).values())
        assert evaluate(run=run, data=data).status == record.status == "finished"


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_profile_on_request(data, tmp_path, deterministic):
    config = tiny_config(epochs=3, deterministic=deterministic)
    record = trained(data, tmp_path / "RUN", config, profile_steps=4)
    parts = {m.name.removeprefix("step: "): m.value for m in record.metrics if m.name.startswith("step: ")}
    assert {"MLP update", "row update", "gradients by autograd" if deterministic else "lookup"} <= set(parts)
    assert all(value > 0 for value in parts.values())
    trace = json.loads((tmp_path / "RUN" / "profile" / "trace.json").read_text())
    names = [event.get("name") for event in trace["traceEvents"]]
    assert names.count("dlrm: row update") == 4
    table = (tmp_path / "RUN" / "profile" / "table.txt").read_text()
    assert table.startswith("4 steps after 5")
    assert all(part in table for part in parts)
    plain = trained(data, tmp_path / "PLAIN", config)
    assert plain.outputs == record.outputs  # looking changes nothing
    with pytest.raises(KitError, match="9 steps are to be profiled after 5 and the run has 12"):
        trained(data, tmp_path / "RUN", config, profile_steps=9)


def test_a_run_that_stops_within_its_warm_up_has_no_step_throughput(data, tmp_path):
    record = trained(data, tmp_path / "RUN", tiny_config(epochs=50, auc_threshold=0.01, benchmark_warmup_steps=100))
    assert record.status == "finished"
    assert record.metric("step_throughput", "train") is None
    assert record.metric("throughput", "train").selection.startswith("207 rows")


def test_throughput_counts_short_batches_as_they_are(data, tmp_path):
    record = trained(data, tmp_path / "RUN", tiny_config(epochs=9, max_steps=5))
    assert record.metric("throughput", "train").selection.startswith(f"{207 + 64} rows")
