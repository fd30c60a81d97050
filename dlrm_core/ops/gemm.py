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
_TRIES = 9
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

    def forward_(self, output_BO: Tensor, input_BI: Tensor, weight_OI: Tensor) -> None:
        """Fill the output with input weight^T; the bias is added with the ReLU, in one pass."""
        if self.route == "linear":
            torch.mm(input_BI, weight_OI.t(), out=output_BO)
        else:
            output_BO.copy_(_rows(conv2d(_image(input_BI), weight_OI[:, :, None, None])))

    def input_gradient_(self, gradient_BI: Tensor, gradient_BO: Tensor, weight_OI: Tensor) -> None:
        """Gradient of the input."""
        if self.route == "linear":
            torch.mm(gradient_BO, weight_OI, out=gradient_BI)
        else:
            weight_IO = weight_OI.t().contiguous()
            gradient_BI.copy_(_rows(conv2d(_image(gradient_BO), weight_IO[:, :, None, None])))

    def weight_gradient(self, gradient_BO: Tensor, input_BI: Tensor) -> Tensor:
        """Gradient of the weight, float32 of shape (O, I)."""
        if self.route == "linear":
            return torch.mm(gradient_BO.t(), input_BI).float()
        shape = (gradient_BO.shape[1], input_BI.shape[1], 1, 1)
        return conv2d_weight(_image(input_BI), shape, _image(gradient_BO)).flatten(1).float()


@functools.cache
def fastest_route() -> tuple[str, dict[str, float]]:
    """The route that does float32 products fastest, and each one's GFLOP/s by one thread, measured at the first call."""
    rates = {route: _rate(Gemm(route), torch.float32) for route in ROUTES}
    return max(rates, key=rates.__getitem__), rates


@functools.cache
def bf16_gain() -> float:
    """How many times faster bfloat16 products are than float32 ones by the fastest route, measured at the first call."""
    route, rates = fastest_route()
    return _rate(Gemm("linear"), torch.bfloat16) / rates[route]


def _rate(gemm: Gemm, dtype: torch.dtype) -> float:
    """GFLOP/s of a layer forward and backward, the best of several tries by one thread: two wait for each other."""
    rows, inputs, outputs = _TRIAL
    x, weight = torch.ones(rows, inputs, dtype=dtype), torch.ones(outputs, inputs, dtype=dtype)
    output, gradient = x.new_empty(rows, outputs), torch.empty_like(x)

    def layer() -> None:
        gemm.forward_(output, x, weight)
        gemm.input_gradient_(gradient, output, weight)
        gemm.weight_gradient(output, x)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        layer()
        return 3 * 2 * rows * inputs * outputs / min(_seconds(layer) for _ in range(_TRIES)) / 1e9
    finally:
        torch.set_num_threads(threads)


def _seconds(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _image(x_BI: Tensor) -> Tensor:
    """A matrix as one image of one row of B pixels with I channels, which lie side by side as they do in the matrix."""
    return x_BI.contiguous().view(1, 1, *x_BI.shape).permute(0, 3, 1, 2)


def _rows(image: Tensor) -> Tensor:
    """The matrix that :func:`_image` made such an image of."""
    return image.permute(0, 2, 3, 1).reshape(image.shape[3], image.shape[1])
