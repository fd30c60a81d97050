"""One optimisation step: shards forward and backward, gradients summed in shard order, MLPs and rows updated."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from dlrm_core.data import Batch
from dlrm_core.model.dlrm import Dlrm
from dlrm_core.schema.config import TrainConfig
from dlrm_core.train.optimizers import TableOptimizer, build_mlp_optimizer
from dlrm_core.train.schedule import learning_rate
from dlrm_core.train.shards import Shards


@dataclass(frozen=True)
class _ShardResult:
    loss: Tensor
    mlp_gradients: tuple[Tensor, ...]
    row_gradient_BTD: Tensor


class TrainStep:
    """Everything that changes from step to step: model, optimiser states, step number, averaged weights."""

    def __init__(self, model: Dlrm, config: TrainConfig, shards: Shards) -> None:
        self.model = model
        self.step = 0
        self._config = config
        self._shards = shards
        self._mlp_parameters: list[nn.Parameter] = list(model.parameters())
        self._mlp_optimizer = build_mlp_optimizer(config.mlps, self._mlp_parameters)
        self._table_optimizer = TableOptimizer(config.tables, model.table_VD)
        self.average = WeightAverage(model, config.average_decay) if config.average_decay else None

    def run(self, batch: Batch) -> Tensor:
        """Train on one batch; return its mean loss in nats before the update, a float32 scalar tensor."""
        self.step += 1
        rows_BT = self.model.rows(batch.ids_BT)
        results = self._shards.map(lambda a, b: self._shard(batch.shard(a, b), rows_BT[a:b], len(batch), a), len(batch))
        self._set_mlp_gradients(results)
        for group in self._mlp_optimizer.param_groups:
            group["lr"] = self.learning_rate(self._config.mlps.lr)
        self._mlp_optimizer.step()
        gradient_BTD = torch.cat([result.row_gradient_BTD for result in results])
        self._table_optimizer.step(rows_BT, gradient_BTD, self.learning_rate(self._config.tables.lr))
        if self.average is not None:
            self.average.update(self.step)
        return torch.stack([result.loss for result in results]).sum()

    def learning_rate(self, base: float) -> float:
        """Scheduled learning rate of the current step for a base rate."""
        return learning_rate(self.step, base, self._config.schedule)

    def _shard(self, shard: Batch, rows_BT: Tensor, batch_rows: int, start: int) -> _ShardResult:
        embeddings_BTD = self.model.gather(rows_BT).requires_grad_()
        logit_B = self.model(shard.numerical_BN, embeddings_BTD, self._dropout_generator(start))
        loss = binary_cross_entropy_with_logits(logit_B, shard.label_B, reduction="sum") / batch_rows
        *mlps, rows = torch.autograd.grad(loss, [*self._mlp_parameters, embeddings_BTD])
        return _ShardResult(loss.detach(), tuple(mlps), rows)

    def _dropout_generator(self, start: int) -> torch.Generator | None:
        if not self._config.model.dropout:
            return None
        key = (self._config.seed * 1_000_003 + self.step) * 1_000_003 + start
        return torch.Generator().manual_seed(key % 2**63)

    def _set_mlp_gradients(self, results: list[_ShardResult]) -> None:
        for index, parameter in enumerate(self._mlp_parameters):
            total = results[0].mlp_gradients[index]
            for result in results[1:]:
                total = total + result.mlp_gradients[index]
            parameter.grad = total


class WeightAverage:
    """Exponential moving average of all weights, for evaluation.

    ``average += (1 - d) (weights - average)`` after step t, with d = min(decay, (1 + t) / (10 + t)).
    """

    def __init__(self, model: Dlrm, decay: float) -> None:
        self._decay = decay
        self._live = [*model.parameters(), model.table_VD]
        self._average = [tensor.detach().clone() for tensor in self._live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimisation step `step`."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._average, [tensor.detach() for tensor in self._live], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange live and averaged weights."""
        for live, average in zip(self._live, self._average, strict=True):
            kept = live.detach().clone()
            live.copy_(average)
            average.copy_(kept)
