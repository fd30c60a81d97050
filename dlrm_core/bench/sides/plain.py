"""Plain PyTorch: 26 EmbeddingBag(sparse), bmm, gather of the triangle, SGD. As users run it, or with what torch itself offers.

Legend: B rows, N numerical features, F feature vectors, D embedding dimension, P pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dlrm_core.bench.sides.side import Side, tensor
from dlrm_core.bench.workload import CARDINALITIES, LEARNING_RATE, NUM_NUMERICAL, Arrays, Workload, initial_weights

MODES = {
    "stock": "26 EmbeddingBag(sparse), bmm, torch.optim.SGD, fp32",
    "onednn": "the same, its linear layers as 1x1 conv2d, which oneDNN computes in fp32",
    "bf16-compile": "the same under CPU bf16 autocast and torch.compile",
}


@dataclass(frozen=True)
class PlainBatch:
    """A batch as EmbeddingBag takes it: one column of ids a table, and the bags' offsets."""

    numerical_BN: Tensor
    ids_B: list[Tensor]
    offsets_B: Tensor
    label_B: Tensor


class ConvLinear(nn.Linear):
    """A linear layer as a 1x1 convolution over the batch, one row of pixels: torch gives those to oneDNN."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) to (B, outputs)."""
        pixels = x.reshape(1, 1, *x.shape).permute(0, 3, 1, 2)
        y = functional.conv2d(pixels, self.weight[:, :, None, None], self.bias)
        return y.permute(0, 2, 3, 1).reshape(len(x), -1)


class PlainDlrm(nn.Module):
    """DLRM in a few lines of PyTorch."""

    def __init__(self, workload: Workload, linear: type[nn.Linear]) -> None:
        super().__init__()
        dim, features = workload.embedding_dim, len(CARDINALITIES) + 1
        self.bags = nn.ModuleList(nn.EmbeddingBag(rows, dim, mode="sum", sparse=True) for rows in CARDINALITIES)
        self.bottom = _mlp([NUM_NUMERICAL, *workload.bottom_mlp_sizes], linear, last_relu=True)
        inputs = dim + features * (features - 1) // 2
        self.top = _mlp([inputs, *workload.top_mlp_sizes], linear, last_relu=False)
        row_P, column_P = torch.tril_indices(features, features, -1)
        self.row_P: Tensor
        self.column_P: Tensor
        self.register_buffer("row_P", row_P)
        self.register_buffer("column_P", column_P)
        _load(self, workload)

    def forward(self, numerical_BN: Tensor, ids_B: list[Tensor], offsets_B: Tensor) -> Tensor:
        """Logits of shape (B,)."""
        x_BD = self.bottom(numerical_BN)
        vectors = [x_BD, *(bag(ids, offsets_B) for bag, ids in zip(self.bags, ids_B, strict=True))]
        x_BFD = torch.stack(vectors, 1)
        gram_BFF = torch.bmm(x_BFD, x_BFD.transpose(1, 2))
        pairs_BP = gram_BFF[:, self.row_P, self.column_P]
        logit: Tensor = self.top(torch.cat([x_BD, pairs_BP], 1)).squeeze(1)
        return logit


class Plain(Side[PlainBatch]):
    """One of :data:`MODES`."""

    def __init__(self, workload: Workload, mode: str) -> None:
        super().__init__(workload)
        self.description = MODES[mode]
        self._autocast = mode == "bf16-compile"
        self._model = PlainDlrm(workload, ConvLinear if mode == "onednn" else nn.Linear)
        self._forward: Any = self._model
        if mode == "bf16-compile":
            self._forward = torch.compile(self._model, dynamic=False)
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=LEARNING_RATE)

    def native(self, arrays: Arrays) -> PlainBatch:
        """Columns of ids, each contiguous."""
        ids_B = [tensor(np.ascontiguousarray(column)) for column in arrays.ids_BT.T]
        offsets_B = torch.arange(len(arrays.label_B))
        return PlainBatch(tensor(arrays.numerical_BN), ids_B, offsets_B, tensor(arrays.label_B))

    def step(self, batch: PlainBatch) -> Tensor:
        """Forward, loss, backward, SGD."""
        self._optimizer.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(self.logits(batch).float(), batch.label_B)
        loss.backward()
        self._optimizer.step()
        return loss

    def logits(self, batch: PlainBatch) -> Tensor:
        """Logits of shape (B,)."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self._autocast):
            logit_B: Tensor = self._forward(batch.numerical_BN, batch.ids_B, batch.offsets_B)
        return logit_B


def _mlp(sizes: Sequence[int], linear: type[nn.Linear], *, last_relu: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*(layers if last_relu else layers[:-1]))


@torch.no_grad()
def _load(model: PlainDlrm, workload: Workload) -> None:
    weights = initial_weights(workload)
    for mlp, arrays in ((model.bottom, weights.bottom), (model.top, weights.top)):
        load_linears([module for module in mlp if isinstance(module, nn.Linear)], arrays)
    for bag, table in zip(model.bags, weights.tables, strict=True):
        assert isinstance(bag, nn.EmbeddingBag)
        bag.weight.copy_(torch.from_numpy(table))


@torch.no_grad()
def load_linears(
    linears: Sequence[nn.Linear], arrays: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]
) -> None:
    """Give each layer its weight and bias; columns beyond the weight's, which are padding, become 0."""
    for linear, (weight, bias) in zip(linears, arrays, strict=True):
        linear.weight.zero_()
        linear.weight[:, : weight.shape[1]] = torch.from_numpy(weight)
        linear.bias.copy_(torch.from_numpy(bias))
