"""The sides in this process: they compute the same."""

import numpy as np
import pytest
import torch

from dlrm_core.bench.sides.limits import ROUTES, Limits
from dlrm_core.bench.sides.ours import Ours, train_config
from dlrm_core.bench.sides.plain import ConvLinear, Plain
from dlrm_core.bench.workload import CONFIGS, Workload
from dlrm_core.schema.errors import KitError

TINY = Workload("tiny", 4, (8, 4), (8, 1), 16, 3, 2, 2, 2, 0.5)


@pytest.fixture(scope="module")
def stock():
    side = Plain(TINY, "stock")
    before = side.predict(16, 1)["logits"]
    return before, side.train(4)["losses"], side.predict(16, 1)["logits"]


@pytest.mark.parametrize("make", [lambda: Plain(TINY, "onednn"), lambda: Ours(TINY, "fp32")], ids=["onednn", "fp32"])
def test_a_side_computes_what_plain_pytorch_does(make, stock):
    before, losses, after = stock
    assert make().predict(16, 1)["logits"] == pytest.approx(before, abs=1e-5)
    side = make()
    assert side.train(4)["losses"] == pytest.approx(losses, rel=1e-5)
    assert side.predict(16, 3)["logits"] == pytest.approx(after, abs=1e-5)


def test_training_changes_the_model(stock):
    before, _, after = stock
    assert np.abs(np.subtract(before, after)).max() > 1e-3


def test_every_call_and_step_is_timed():
    side = Ours(TINY, "fp32")
    assert len(side.predict(3, 5)["seconds"]) == 5
    assert len(side.train(2)["seconds"]) == 2
    assert min(side.predict(1, 2)["seconds"]) > 0


def test_the_convolution_is_the_linear_layer():
    layer = ConvLinear(5, 3)
    x = torch.randn(7, 5, requires_grad=True)
    expected = torch.nn.functional.linear(x, layer.weight, layer.bias)
    assert torch.allclose(layer(x), expected, atol=1e-6)
    inputs = (x, layer.weight, layer.bias)
    for a, b in zip(
        torch.autograd.grad(layer(x).square().sum(), inputs),
        torch.autograd.grad(expected.square().sum(), inputs),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("route", ROUTES)
def test_limits_multiply_what_a_layer_multiplies(route):
    from dlrm_core.bench.sides.limits import _Layer

    x, w, b, g = torch.randn(6, 5), torch.randn(3, 5), torch.randn(3), torch.randn(6, 3)
    with torch.no_grad():
        results = [product() for product in ROUTES[route](_Layer(x, w, b, g))]
    expected = (torch.nn.functional.linear(x, w, b), g.t() @ x, g @ w)
    for result, wanted in zip(results, expected, strict=True):
        dense = result.to_dense() if result.is_mkldnn else result
        assert torch.allclose(dense.float(), wanted, atol=0.1 if route == "bf16" else 1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_every_route_has_its_limit(training):
    found = Limits(CONFIGS["S"]).limits(256, 3, training=training)
    assert set(found) == set(ROUTES)
    assert all(value > 0 for value in found.values())


def test_modes_of_ours():
    assert train_config(TINY, "deterministic").deterministic
    config = train_config(TINY, "bf16")
    assert (config.deterministic, config.precision) == (False, "bf16")
    with pytest.raises(KitError, match="the mode ours:fp8"):
        train_config(TINY, "fp8")
