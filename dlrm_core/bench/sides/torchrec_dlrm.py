"""TorchRec's DLRM on a FusedEmbeddingBagCollection, which is fbgemm's table-batched lookup with SGD in its backward pass.

Runs in .venv-peers, which has neither pydantic nor yaml.
"""

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dlrm_core.bench.sides.plain import load_linears
from dlrm_core.bench.sides.side import Side, tensor
from dlrm_core.bench.workload import (
    CARDINALITIES,
    LEARNING_RATE,
    NUM_NUMERICAL,
    Arrays,
    Weights,
    Workload,
    initial_weights,
    upper_pair_columns,
)

if TYPE_CHECKING:
    from torchrec import KeyedJaggedTensor
    from torchrec.modules.fused_embedding_modules import FusedEmbeddingBagCollection

KEYS = [f"C{number}" for number in range(1, len(CARDINALITIES) + 1)]


@dataclass(frozen=True)
class JaggedBatch:
    """A batch as TorchRec takes it."""

    numerical_BN: Tensor
    ids: "KeyedJaggedTensor"
    label_B: Tensor


class TorchRec(Side[JaggedBatch]):
    """The model of its package as it comes; SGD of the tables fused, torch's for the MLPs."""

    # fbgemm 1.8.0 has no CPU kernel of its lookup for inference mode ("Could not run ... from the 'CPU' backend").
    without_gradient = torch.no_grad

    def __init__(self, workload: Workload) -> None:
        from torchrec.models.dlrm import DLRM

        super().__init__(workload)
        self.description = (
            f"TorchRec {version('torchrec')} DLRM with FusedEmbeddingBagCollection "
            f"(fbgemm-gpu-cpu {version('fbgemm-gpu-cpu')}, exact SGD), fp32"
        )
        self._tables = _tables(workload)
        self._model = DLRM(self._tables, NUM_NUMERICAL, list(workload.bottom_mlp_sizes), list(workload.top_mlp_sizes))
        self._load(initial_weights(workload))
        dense = [*self._model.dense_arch.parameters(), *self._model.over_arch.parameters()]
        self._optimizer = torch.optim.SGD(dense, lr=LEARNING_RATE)

    def native(self, arrays: Arrays) -> JaggedBatch:
        """One jagged tensor, feature by feature, its lengths and offsets ready."""
        from torchrec import KeyedJaggedTensor

        values = tensor(np.ascontiguousarray(arrays.ids_BT.T).reshape(-1))
        lengths, offsets = torch.ones(len(values), dtype=torch.int64), torch.arange(len(values) + 1)
        ids = KeyedJaggedTensor(keys=KEYS, values=values, lengths=lengths, offsets=offsets)
        ids.sync()
        return JaggedBatch(tensor(arrays.numerical_BN), ids, tensor(arrays.label_B))

    def step(self, batch: JaggedBatch) -> Tensor:
        """Forward, loss, backward with the tables' update in it, SGD of the MLPs."""
        self._optimizer.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(self.logits(batch), batch.label_B)
        loss.backward()
        self._optimizer.step()
        return loss

    def logits(self, batch: JaggedBatch) -> Tensor:
        """Logits of shape (B,)."""
        logit_B: Tensor = self._model(batch.numerical_BN, batch.ids).squeeze(1)
        return logit_B

    @torch.no_grad()
    def _load(self, weights: Weights) -> None:
        dim = self.workload.embedding_dim
        order = np.concatenate([np.arange(dim), dim + upper_pair_columns(len(KEYS) + 1)])
        (weight, bias), *others = weights.top
        for arch, arrays in (
            (self._model.dense_arch, weights.bottom),
            (self._model.over_arch, [(weight[:, order], bias), *others]),
        ):
            load_linears([module for module in arch.modules() if isinstance(module, nn.Linear)], arrays)
        for key, table in zip(KEYS, weights.tables, strict=True):
            self._tables.embedding_bags[key].weight.copy_(torch.from_numpy(table))


def _tables(workload: Workload) -> "FusedEmbeddingBagCollection":
    from torchrec import EmbeddingBagConfig
    from torchrec.modules.fused_embedding_modules import FusedEmbeddingBagCollection

    dim = workload.embedding_dim
    configs = [
        EmbeddingBagConfig(name=key, embedding_dim=dim, num_embeddings=rows, feature_names=[key])
        for key, rows in zip(KEYS, CARDINALITIES, strict=True)
    ]
    rate = {"lr": LEARNING_RATE}
    return FusedEmbeddingBagCollection(tables=configs, optimizer_type=torch.optim.SGD, optimizer_kwargs=rate)
