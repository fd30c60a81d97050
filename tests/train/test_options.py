"""The options of a training that June 2020 has too, the precisions, and the profile."""

import json
import re

import pytest
import torch
from safetensors.numpy import load_file

from dlrm_core.data import open_training_parts
from dlrm_core.ops import cpu
from dlrm_core.schema.config import SyntheticConfig, load_preset
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import read_record
from dlrm_core.train.checkpoint import MLPS, TABLES
from dlrm_core.train.implementation import choose
from dlrm_core.train.scoring import evaluate
from tests.train.builders import tiny_config, trained, write_dataset


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


def test_a_refit_keeps_to_max_steps(data, tmp_path):
    stopping = {"rule": "best_log_loss", "refit": True}
    record = trained(
        data, tmp_path / "RUN", tiny_config(epochs=3, max_steps=8, stopping=stopping, benchmark_warmup_steps=7)
    )
    words = record.choices["selection"].split()
    assert words[:6] == ["refit", "on", "all", "training", "rows", "for"]
    assert int(words[6]) <= 8


@pytest.mark.parametrize(("kind", "value", "skipped"), [("dynamic", 2.0**27, True), ("static", 1024.0, False)])
def test_steps_that_overflowed_are_recorded(data, tmp_path, kind, value, skipped):
    config = tiny_config(precision="fp16", epochs=2, loss_scale={"kind": kind, "value": value})
    found = trained(data, tmp_path / "RUN", config).metric("skipped_steps", "train")
    assert (found.value > 0) == skipped
    assert found.unit == "steps"
    assert trained(data, tmp_path / "REF", tiny_config()).metric("skipped_steps", "train") is None


@pytest.mark.parametrize(
    ("kind", "needed"), [("static", "lower loss_scale.value, 1e+30"), ("dynamic", "none was taken")]
)
def test_a_loss_scale_that_lets_nothing_through_is_named(data, tmp_path, kind, needed):
    config = tiny_config(precision="fp16", loss_scale={"kind": kind, "value": 1e30})
    with pytest.raises(KitError, match=re.escape(needed)):
        trained(data, tmp_path / "RUN", config)
    assert "loss_scale.value" in read_record(tmp_path / "RUN").reason


@pytest.mark.parametrize(
    ("synthetic", "changes", "words"),
    [
        ({"cardinalities": (10,) * 45}, {}, "46 vectors (bottom MLP and 45 tables) of 6 was asked for; at most 40"),
        ({"cardinalities": (10,)}, {"model": {"embedding_dim": 257, "bottom_mlp_sizes": [257]}}, "at most 256"),
    ],
)
@pytest.mark.parametrize("deterministic", [True, False])
def test_a_model_beyond_the_limits_is_refused_before_anything_starts(
    tmp_path, synthetic, changes, words, deterministic
):
    model = tiny_config().model.model_dump() | changes.get("model", {})
    rows = SyntheticConfig(rows=100, test_rows=10, **synthetic)
    with pytest.raises(KitError, match=re.escape(words)):
        trained(rows, tmp_path / "RUN", tiny_config(model=model, deterministic=deterministic))
    assert not (tmp_path / "RUN").exists()


def test_45_tables_train_without_the_dot(tmp_path):
    rows = SyntheticConfig(rows=200, test_rows=50, click_rate=0.5, cardinalities=(10,) * 45)
    model = tiny_config().model.model_dump() | {"interaction": "cat"}
    assert trained(rows, tmp_path / "RUN", tiny_config(model=model)).status == "finished"


def test_test_freq_takes_the_place_of_a_preset_s_rhythm():
    preset = load_preset("tiny", ["test_freq=10"])
    assert (preset.train.test_freq, preset.train.stopping.evaluations_per_epoch) == (10, 1)
    with pytest.raises(KitError, match="choose one"):
        load_preset("tiny", ["test_freq=10", "stopping.evaluations_per_epoch=2"])


def test_one_class_to_look_at_fails_before_the_first_step(tmp_path):
    heard = []
    rows = SyntheticConfig(rows=500, test_rows=3, click_rate=1e-6)
    with pytest.raises(KitError, match="all 3 labels are 0"):
        trained(rows, tmp_path / "RUN", tiny_config(print_freq=1), listener=heard.append)
    assert heard == []


def test_the_command_of_a_profiled_run_says_so_and_the_next_run_clears_it(data, tmp_path):
    record = trained(data, tmp_path / "RUN", tiny_config(epochs=4), profile_steps=2)
    assert record.repeat.endswith("--profile 2")
    assert (tmp_path / "RUN" / "profile" / "trace.json").is_file()
    assert "--profile" not in trained(data, tmp_path / "RUN").repeat
    assert not (tmp_path / "RUN" / "profile" / "trace.json").exists()


def test_a_run_that_stops_before_its_profile_says_so(data, tmp_path):
    config = tiny_config(epochs=4, auc_threshold=0.01, test_freq=1)
    with pytest.raises(KitError, match="stopped after 1 steps, profiling begins after 5"):
        trained(data, tmp_path / "RUN", config, profile_steps=2)


def test_where_numba_can_keep_nothing_the_message_says_what_to_set(monkeypatch):
    def fail():
        raise ImportError("numba: cannot cache; name a folder that can be written: export NUMBA_CACHE_DIR=...")

    monkeypatch.setattr(cpu, "kernels", fail)
    with pytest.raises(KitError, match=r"NUMBA_CACHE_DIR=\.\.\.; or set deterministic=true"):
        choose(tiny_config(deterministic=False))
