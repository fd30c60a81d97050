"""Matrix products on CPU, and which public route of torch is the fastest one on the processor at hand.

Legend: B rows of a batch, I inputs of a layer, O its outputs.
"""

import functools
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d
from torch.nn.grad import conv2d_weight

ROUTES = ("linear", "convolution")
_TRIAL = (
    1024,
    512,
    512,
)  # rows, inputs, outputs: large enough to tell the libraries apart, small enough to take milliseconds


class Gemm:
    """The three products of a layer, by one of two routes of torch to the processor's libraries.

    ``linear`` is what ``torch.nn.functional.linear`` takes. ``convolution`` says the same as a 1 x 1 convolution, which goes
    through oneDNN: on AMD processors twice as fast in float32, since MKL keeps to AVX2 there.
    """

    def __init__(self, route: str) -> None:
        if route not in ROUTES:
            raise ValueError(f"route is {route!r}; one of {', '.join(ROUTES)} is needed")
        self.route = route

    def forward_(self, output_BO: Tensor, input_BI: Tensor, weight_OI: Tensor, bias_O: Tensor) -> None:
        """Fill the output with input weight^T + bias."""
        if self.route == "linear":
            torch.addmm(bias_O, input_BI, weight_OI.t(), out=output_BO)
        else:
            output_BO.copy_(conv2d(_image(input_BI), _image(weight_OI), bias_O).flatten(1))

    def input_gradient_(self, gradient_BI: Tensor, gradient_BO: Tensor, weight_OI: Tensor) -> None:
        """Gradient of the input."""
        if self.route == "linear":
            torch.mm(gradient_BO, weight_OI, out=gradient_BI)
        else:
            gradient_BI.copy_(conv2d(_image(gradient_BO), _image(weight_OI.t().contiguous())).flatten(1))

    def weight_gradient(self, gradient_BO: Tensor, input_BI: Tensor) -> Tensor:
        """Gradient of the weight, float32 of shape (O, I)."""
        if self.route == "linear":
            return torch.mm(gradient_BO.t(), input_BI).float()
        shape = (gradient_BO.shape[1], input_BI.shape[1], 1, 1)
        return conv2d_weight(_image(input_BI), shape, _image(gradient_BO)).flatten(1)


@functools.cache
def fastest_route() -> tuple[str, dict[str, float]]:
    """The route that does float32 products fastest, and GFLOP/s of each, measured at the first call; some 50 ms."""
    rates = {route: _rate(Gemm(route), torch.float32) for route in ROUTES}
    return max(rates, key=rates.__getitem__), rates


@functools.cache
def bf16_gain() -> float:
    """How many times faster bfloat16 products are than float32 ones by the fastest route, measured at the first call."""
    route, rates = fastest_route()
    return _rate(Gemm("linear"), torch.bfloat16) / rates[route]


def _rate(gemm: Gemm, dtype: torch.dtype) -> float:
    rows, inputs, outputs = _TRIAL
    x, weight, bias = torch.ones(rows, inputs), torch.ones(outputs, inputs), torch.ones(outputs)
    x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    output, gradient = x.new_empty(rows, outputs), torch.empty_like(x)

    def layer() -> None:
        gemm.forward_(output, x, weight, bias)
        gemm.input_gradient_(gradient, output, weight)
        gemm.weight_gradient(output, x)

    layer()
    return 3 * 2 * rows * inputs * outputs / min(_seconds(layer) for _ in range(5)) / 1e9


def _seconds(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _image(x: Tensor) -> Tensor:
    """A matrix as a batch of images of one pixel."""
    return x[:, :, None, None]
