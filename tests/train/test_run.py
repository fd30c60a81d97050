"""The command `train`: what stands in RUN afterwards, whatever happens."""

import shlex

import numpy as np
import pytest
import torch

from dlrm_core.data import open_training_parts
from dlrm_core.metrics import log_loss
from dlrm_core.schema.config import TrainConfig
from dlrm_core.schema.dataset import read_dataset
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_file
from dlrm_core.schema.record import read_record
from dlrm_core.train.checkpoint import MLPS, TABLES, build_model, load_model
from dlrm_core.train.loop import Fit, TrainEvent
from dlrm_core.train.run import train
from dlrm_core.train.scoring import evaluate
from dlrm_core.train.shards import Shards
from tests.train.builders import tiny_config, torch_threads, trained, write_dataset


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
    timeless = [m for m in first.metrics if m.unit not in ("rows/s", "s", "s/s")]
    for record in records[1:]:
        assert record.outputs == first.outputs
        assert [m for m in record.metrics if m.unit not in ("rows/s", "s", "s/s")] == timeless
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
    assert [m.name for m in record.metrics] == ["throughput", "step_throughput", "loader_wait", "loader_wait_share"]


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
