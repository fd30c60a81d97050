"""fp16's loss scaling: what is divided, what is skipped, and when the factor changes."""

import pytest
import torch

from dlrm_core.data import open_training_parts
from dlrm_core.model.fused import Gradients
from dlrm_core.schema.config import LossScaleConfig
from dlrm_core.train.checkpoint import build_model
from dlrm_core.train.implementation import choose
from dlrm_core.train.shards import Shards
from dlrm_core.train.step import LossScale, TrainStep
from tests.train.builders import tiny_config


def gradients(value: float) -> Gradients:
    return Gradients(torch.tensor(0.5), (torch.full((2, 3), value), torch.ones(3)), torch.ones(4, 2, 5))


def test_gradients_are_divided_by_the_factor():
    found = LossScale(LossScaleConfig(value=8.0)).unscale(gradients(4.0))
    assert found is not None
    assert found.mlps[0].unique().tolist() == [0.5]
    assert found.embedding_BTD.unique().tolist() == [0.125]
    assert float(found.loss) == 0.5


def test_dynamic_halves_on_overflow_and_doubles_after_good_steps():
    scale = LossScale(LossScaleConfig(kind="dynamic", value=16.0, growth_interval=3))
    seen = []
    for value in (1.0, 1.0, float("inf"), 1.0, 1.0, 1.0, float("nan"), 1.0):
        kept = scale.unscale(gradients(value)) is not None
        seen.append((kept, scale.value))
    assert seen == [(True, 16), (True, 16), (False, 8), (True, 8), (True, 8), (True, 16), (False, 8), (True, 8)]
    assert scale.skipped == 2


def test_static_never_changes():
    scale = LossScale(LossScaleConfig(value=1024.0))
    assert scale.unscale(gradients(float("inf"))) is not None
    assert (scale.value, scale.skipped) == (1024.0, 0)


def fp16_step(data, **loss_scale):
    config = tiny_config(precision="fp16", loss_scale=loss_scale)
    parts = open_training_parts(data)
    model = build_model(config.model, parts.fit.spec, config.seed, choose(config))
    return model, config, parts.fit.read(0, 64)


@pytest.mark.parametrize("value", [2.0**40, 1024.0])
def test_an_overflow_skips_mlps_and_tables_alike(data, value):
    """Quirk 19: HEAD skips the MLPs and writes infinities into the tables."""
    model, config, batch = fp16_step(data, kind="dynamic", value=value)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with Shards(deterministic=True, threads=1) as shards:
        step = TrainStep(model, config, shards)
        loss = step.run(batch)
    changed = {
        name.split(".")[0] for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert bool(torch.isfinite(loss))
    assert step.loss_scale is not None
    if value > 2.0**20:
        assert (changed, step.loss_scale.value, step.loss_scale.skipped) == (set(), value / 2, 1)
    else:
        assert (changed, step.loss_scale.value, step.loss_scale.skipped) == ({"bottom", "embeddings", "top"}, value, 0)


def test_the_scale_keeps_small_gradients(data):
    """Without it they fall below fp16's smallest number; with it the step is float32's, to fp16's rounding."""
    updates = {}
    for name, value in (("none", 1.0), ("scaled", 1024.0)):
        model, config, batch = fp16_step(data, value=value)
        with torch.no_grad():
            model.top[-1].weight.mul_(1e-6)
        with Shards(deterministic=True, threads=1) as shards:
            source = TrainStep(model, config, shards)._source
            found = source.of(batch, step=1, scale=value)
        updates[name] = (found.embedding_BTD == 0).double().mean()
    assert updates["scaled"] < updates["none"]
