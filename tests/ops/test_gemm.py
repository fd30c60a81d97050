"""Both routes give the same products, and the faster one is found."""

import pytest
import torch

from dlrm_core.ops import gemm
from dlrm_core.ops.gemm import ROUTES, Gemm, bf16_gain, fastest_route


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 1, 1), (5, 13, 8), (64, 7, 3)])
def test_products_to_twice_the_error_of_linear(route, rows, inputs, outputs):
    generator = torch.Generator().manual_seed(0)
    x, w, g = (torch.randn(*s, generator=generator) for s in ((rows, inputs), (outputs, inputs), (rows, outputs)))
    output, gradient, tested = torch.empty(rows, outputs), torch.empty(rows, inputs), Gemm(route)
    tested.forward_(output, x, w)
    tested.input_gradient_(gradient, g, w)
    for found, plain, a, b in (
        (output, x @ w.t(), x, w.t()),
        (gradient, g @ w, g, w),
        (tested.weight_gradient(g, x), g.t() @ x, g.t(), x),
    ):
        exact = a.double() @ b.double()
        floor = torch.finfo(torch.float32).eps * exact.abs().max()
        assert found.dtype == torch.float32
        assert (found.double() - exact).abs().max() <= 2 * (plain.double() - exact).abs().max() + floor


def test_the_fastest_route_is_the_one_with_the_highest_rate(monkeypatch):
    rates = {"linear": 190.0, "convolution": 440.0}
    monkeypatch.setattr(gemm, "_rate", lambda tested, _dtype: rates[tested.route])
    fastest_route.cache_clear()
    bf16_gain.cache_clear()
    assert fastest_route() == ("convolution", rates)
    assert bf16_gain() == 190.0 / 440.0
    fastest_route.cache_clear()
    bf16_gain.cache_clear()


def test_measuring_leaves_the_threads_alone():
    before = torch.get_num_threads()
    assert gemm._rate(Gemm("linear"), torch.float32) > 0
    assert torch.get_num_threads() == before


def test_unknown_route_is_refused():
    with pytest.raises(ValueError, match="linear, convolution"):
        Gemm("fast")
