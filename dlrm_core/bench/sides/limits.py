"""What the processor can do at most: the matrix products of all layers, and the gauge that tells quiet minutes from others.

Legend: B rows of a batch, I inputs of a layer, O its outputs.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dlrm_core.bench.sides.side import Answering
from dlrm_core.bench.workload import Workload

GAUGE_SIZE, GAUGE_REPEATS = 1024, 3
Products = list[Callable[[], object]]


@dataclass(frozen=True)
class _Layer:
    """One layer's operands in float32."""

    input_BI: Tensor
    weight_OI: Tensor
    bias_O: Tensor
    gradient_BO: Tensor


class Limits(Answering):
    """The layers' products and nothing else, by three routes; operands lie ready in whatever layout the route likes."""

    def __init__(self, workload: Workload) -> None:
        self.description = "matrix products of every layer; gauge: one fp32 product of 1024 x 1024 matrices"
        self._layers = workload.layers()
        self._generator = torch.Generator().manual_seed(workload.seed)
        self._gauge = [self._random(GAUGE_SIZE, GAUGE_SIZE) for _ in range(3)]

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """``gauge``, or ``limits`` with `batch_size`, `repeats` and `training`."""
        if command["do"] == "gauge":
            a, b, out = self._gauge
            return {"seconds": _median_s(lambda: torch.mm(a, b, out=out), GAUGE_REPEATS)}
        assert command["do"] == "limits", command
        return self.limits(command["batch_size"], command["repeats"], training=command["training"])

    @torch.no_grad()
    def limits(self, batch_size: int, repeats: int, *, training: bool) -> dict[str, float]:
        """Seconds by route of all layers' forward products, and in training of their gradients' too.

        The first layer's input needs no gradient.
        """
        total = dict.fromkeys(ROUTES, 0.0)
        for number, (inputs, outputs) in enumerate(self._layers):
            layer = _Layer(
                self._random(batch_size, inputs),
                self._random(outputs, inputs),
                self._random(outputs),
                self._random(batch_size, outputs),
            )
            for route, products_of in ROUTES.items():
                forward, to_weight, to_input = products_of(layer)
                wanted = [forward, *([to_weight] if training else []), *([to_input] if training and number else [])]
                total[route] += sum(_median_s(product, repeats) for product in wanted)
        return total

    def _random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._generator)


def _stock(layer: _Layer) -> Products:
    """What the peers' layers and their gradients call, results in new memory as there."""
    return [
        lambda: functional.linear(layer.input_BI, layer.weight_OI, layer.bias_O),
        lambda: torch.mm(layer.gradient_BO.t(), layer.input_BI),
        lambda: torch.mm(layer.gradient_BO, layer.weight_OI),
    ]


def _by_onednn(layer: _Layer) -> Products:
    """``linear`` of tensors that are in oneDNN's own layout already."""
    input_BI, weight_OI, bias_O = layer.input_BI.to_mkldnn(), layer.weight_OI.to_mkldnn(), layer.bias_O.to_mkldnn()
    gradient_BO, weight_IO = layer.gradient_BO.to_mkldnn(), layer.weight_OI.t().contiguous().to_mkldnn()
    gradient_OB, input_IB = (x.t().contiguous().to_mkldnn() for x in (layer.gradient_BO, layer.input_BI))
    return [
        lambda: functional.linear(input_BI, weight_OI, bias_O),
        lambda: functional.linear(gradient_OB, input_IB),
        lambda: functional.linear(gradient_BO, weight_IO),
    ]


def _by_bf16(layer: _Layer) -> Products:
    """Products of bfloat16 matrices into memory that is there already."""
    input_BI, weight_OI, bias_O = layer.input_BI.bfloat16(), layer.weight_OI.bfloat16(), layer.bias_O.bfloat16()
    gradient_BO = layer.gradient_BO.bfloat16()
    output_BO, weight_gradient_OI, input_gradient_BI = (torch.empty_like(x) for x in (gradient_BO, weight_OI, input_BI))
    return [
        lambda: torch.addmm(bias_O, input_BI, weight_OI.t(), out=output_BO),
        lambda: torch.mm(gradient_BO.t(), input_BI, out=weight_gradient_OI),
        lambda: torch.mm(gradient_BO, weight_OI, out=input_gradient_BI),
    ]


ROUTES: dict[str, Callable[[_Layer], Products]] = {
    "stock fp32": _stock,
    "oneDNN fp32": _by_onednn,
    "bf16": _by_bf16,
}


def _median_s(product: Callable[[], object], repeats: int) -> float:
    """Median seconds of `repeats` calls after one that is not counted."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
