"""Loss and gradients of a batch: by autograd over shards, or by the compiled kernels over the whole batch.

Legend: B rows, T tables, D embedding dimension.
"""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from dlrm_core.data import Batch
from dlrm_core.model.dlrm import Dlrm
from dlrm_core.model.fused import Gradients
from dlrm_core.schema.config import TrainConfig
from dlrm_core.train.shards import Shards


class GradientSource(Protocol):
    """What a step asks for."""

    def of(self, batch: Batch, *, step: int, scale: float) -> Gradients:
        """Mean loss of a batch, and the gradients of `scale` times it."""
        ...


class AutogradGradients:
    """Each shard forward and backward by autograd, whatever the options of the model; sums in shard order."""

    def __init__(self, model: Dlrm, config: TrainConfig, shards: Shards) -> None:
        self._model = model
        self._seed = config.seed
        self._shards = shards
        self._parameters: list[nn.Parameter] = list(model.parameters())

    def of(self, batch: Batch, *, step: int, scale: float) -> Gradients:
        """Mean loss of a batch, and the gradients of `scale` times it."""
        rows_BT = self._model.rows(batch.ids_BT)

        def shard(start: int, stop: int) -> Gradients:
            generator = self._dropout_generator(step, start)
            return self._shard(batch.shard(start, stop), rows_BT[start:stop], len(batch), scale, generator)

        results = self._shards.map(shard, len(batch))
        mlps = tuple(_sum([result.mlps[i] for result in results]) for i in range(len(self._parameters)))
        embedding_BTD = torch.cat([result.embedding_BTD for result in results])
        return Gradients(torch.stack([result.loss for result in results]).sum(), mlps, embedding_BTD)

    def _shard(
        self, shard: Batch, rows_BT: Tensor, batch_rows: int, scale: float, dropout: torch.Generator | None
    ) -> Gradients:
        embeddings_BTD = self._model.gather(rows_BT).requires_grad_()
        logit_B = self._model(shard.numerical_BN, embeddings_BTD, dropout)
        loss = binary_cross_entropy_with_logits(logit_B, shard.label_B, reduction="sum") / batch_rows
        scaled = loss if scale == 1.0 else loss * scale
        *mlps, embeddings = torch.autograd.grad(scaled, [*self._parameters, embeddings_BTD])
        return Gradients(loss.detach(), tuple(mlps), embeddings)

    def _dropout_generator(self, step: int, start: int) -> torch.Generator | None:
        if not self._model.dropout:
            return None
        key = (self._seed * 1_000_003 + step) * 1_000_003 + start
        return torch.Generator().manual_seed(key % 2**63)


class FusedGradients:
    """The model's own fused implementation; its dtypes need no scaling of the loss."""

    def __init__(self, model: Dlrm) -> None:
        if model.fused is None:
            raise ValueError("the model was built without a fused implementation; AutogradGradients is needed")
        self._fused = model.fused

    def of(self, batch: Batch, *, step: int, scale: float) -> Gradients:  # noqa: ARG002 - as GradientSource
        """Mean loss of a batch and its gradients."""
        if scale != 1.0:
            raise ValueError(f"scale is {scale}; 1 is needed, float32 and bfloat16 do not overflow")
        return self._fused.gradients(batch.numerical_BN, batch.ids_BT, batch.label_B)


def _sum(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
