"""Quirks of the published code that training or scoring could take over unnoticed; the numbers are those of the errata."""

import itertools
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor

from dlrm_core.data import open_training_parts
from dlrm_core.metrics import roc_auc
from dlrm_core.schema.config import TrainConfig, load_preset
from dlrm_core.schema.errors import KitError
from dlrm_core.train import speed
from dlrm_core.train.checkpoint import MLPS, TABLES, build_model
from dlrm_core.train.implementation import choose
from dlrm_core.train.scoring import evaluate
from dlrm_core.train.shards import Shards
from dlrm_core.train.speed import Speed
from dlrm_core.train.step import TrainStep
from tests.train.builders import tiny_config, trained

ROOMS = Path(__file__).resolve().parents[2] / "dlrm_core"


def updates(data: Path, *, scale: float, schedule: dict) -> list[Tensor]:
    """How far one fp16 step with that loss scale moves each weight of the MLPs."""
    config = tiny_config(precision="fp16", loss_scale={"value": scale}, schedule=schedule)
    parts = open_training_parts(data)
    model = build_model(config.model, parts.fit.spec, config.seed, choose(config))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with Shards(deterministic=True, threads=1) as shards:
        TrainStep(model, config, shards).run(parts.fit.read(0, 64))
    return [after.detach() - start for after, start in zip(model.parameters(), before, strict=True)]


def test_the_floor_of_the_rate_is_that_of_the_true_rate(data):
    """Quirk 5: with a loss scale of 1024 the published floor is 1024 times as high."""
    over = {"warmup_steps": 0, "decay_start_step": 0, "decay_steps": 1, "decay_end_lr": 0.01}
    plain, scaled = (updates(data, scale=scale, schedule=over) for scale in (1.0, 1024.0))
    size = max(float(update.abs().max()) for update in plain)
    assert size > 1e-5
    for a, b in zip(plain, scaled, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0.02 * size)
    published = updates(data, scale=1024.0, schedule=over | {"decay_end_lr": 1024 * 0.01})
    assert max(float(update.abs().max()) for update in published) > 100 * size


def test_speed_is_that_of_all_steps(monkeypatch):
    """Quirk 7: the published figure is the last window's, here 1 row/s."""
    clock = itertools.chain([0.0], itertools.accumulate([1.0, 1.0, 8.0]))
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    measured = Speed()
    for rows in (11, 11, 8):
        measured.step(rows, counts=True)
    assert measured.rows / measured.seconds == 3.0


@pytest.mark.parametrize("test_batch_size", [7, 64, 1000])
def test_every_row_is_scored_once_in_batches_of_the_size_asked_for(data, tmp_path, test_batch_size):
    """Quirks 12, 13 and 24: no size is rounded, no row is made up, no speed is told by the wrong batch size."""
    trained(data, tmp_path / "R", tiny_config(test_batch_size=test_batch_size))
    record = evaluate(run=tmp_path / "R", data=data)
    assert record.config["train"]["test_batch_size"] == test_batch_size
    assert record.metric("rows", "test").value == 90
    assert load_file(tmp_path / "R" / "predictions_test.safetensors")["logit"].shape == (90,)
    assert [metric.name for metric in record.metrics if metric.split == "test" and metric.unit == "rows/s"] == []
    assert record.timings_s["evaluate on test"] > 0


def test_a_warm_up_longer_than_the_printing_hides_no_evaluation(data, tmp_path):
    """Quirk 14, and the evaluations that the published warm-up skips."""
    config = tiny_config(epochs=3, print_freq=2, test_freq=3, benchmark_warmup_steps=10)
    record = trained(data, tmp_path / "RUN", config)
    looks = {series.name: series.x for series in record.series}
    assert looks["training_loss"][:3] == (2.0, 3.0, 4.0)
    assert looks["auc_by_step"] == (3.0, 6.0, 9.0, 12.0)


def test_smaller_tables_need_hashed_ids_for_every_command():
    """Quirk 15: the published distributed script does not look."""
    with pytest.raises(KitError, match="max_table_size 5 needs hash_indices true"):
        load_preset("tiny", ["model.max_table_size=5"])
    assert load_preset("tiny", ["model.max_table_size=5", "model.hash_indices=true"]).train.model.max_table_size == 5


@pytest.mark.parametrize("embedding_type", ["multi_table", "joint", "joint_sparse"])
def test_half_precision_leaves_every_storage_in_float32(data, tmp_path, embedding_type):
    """Quirk 16: the published inference halves the tables, too, which its joint_sparse does not take."""
    model = tiny_config().model.model_dump(mode="json") | {"embedding_type": embedding_type}
    single = trained(data, tmp_path / "FP32", tiny_config()).metric("log_loss", "validation").value
    half = trained(data, tmp_path / "RUN", tiny_config(precision="fp16", model=model)).metric("log_loss", "validation")
    assert abs(half.value - single) < 8 * 2**-11  # eleven bits of mantissa, a few roundings in a row
    assert {table.dtype for table in load_file(tmp_path / "RUN" / TABLES).values()} == {np.dtype(np.float32)}
    weights = load_file(tmp_path / "RUN" / MLPS).values()  # the float32 ones, not those rounded for the products
    assert not any(np.array_equal(weight.astype(np.float16), weight) for weight in weights if weight.ndim == 2)
    record = evaluate(run=tmp_path / "RUN", data=data)
    assert record.choices["embedding storage"] == embedding_type
    assert record.status == "finished"


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_defaults_run_on_a_cpu(deterministic):
    """Quirk 20: HEAD's default storage does not."""
    config = TrainConfig(deterministic=deterministic)
    assert (config.model.embedding_type, config.model.interaction) == ("auto", "auto")
    assert choose(config).embedding_type in ("joint", "joint_fused")


def test_no_variable_of_the_environment_switches_the_precision():
    """Quirk 23: the configuration does, which the record holds."""
    named = ("implementation", "step", "gradients", "loop", "run", "scoring", "checkpoint")
    sources = [ROOMS / "schema" / "config.py", *(ROOMS / "train" / f"{name}.py" for name in named)]
    sources += [path for room in ("model", "ops") for path in (ROOMS / room).glob("*.py")]
    assert [path.name for path in sources if re.search(r"\b(environ|getenv)\b", path.read_text())] == []


def slow_auc(label: np.ndarray, score: np.ndarray) -> float:
    pairs = [(a > b) + (a == b) / 2 for a in score[label] for b in score[~label]]
    return sum(pairs) / len(pairs)


def test_auc_counts_ties_half_and_takes_a_single_score():
    """The published computation fails where all scores are one."""
    generator = np.random.default_rng(3)
    label = generator.random(80) < 0.3
    for values in (1, 2, 5, 10**6):
        score = generator.integers(0, values, 80).astype(np.float32)
        assert roc_auc(label, score) == pytest.approx(slow_auc(label, score), rel=1e-14)
    assert roc_auc(label, np.zeros(80)) == 0.5
