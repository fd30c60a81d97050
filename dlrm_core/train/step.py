"""One optimisation step: gradients of a batch, scaled and looked at where fp16 needs it, then MLPs and rows updated."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from dlrm_core.data import Batch
from dlrm_core.model.dlrm import Dlrm
from dlrm_core.model.fused import Gradients, unnamed
from dlrm_core.schema.config import LossScaleConfig, TrainConfig
from dlrm_core.train.gradients import AutogradGradients, FusedGradients, GradientSource
from dlrm_core.train.optimizers import TableOptimizer, build_mlp_optimizer
from dlrm_core.train.profiling import named
from dlrm_core.train.schedule import learning_rate
from dlrm_core.train.shards import Shards


class TrainStep:
    """Everything that changes from step to step: model, optimiser states, step number, loss scale, averaged weights."""

    def __init__(self, model: Dlrm, config: TrainConfig, shards: Shards, *, profiled: bool = False) -> None:
        self.model = model
        self.step = 0
        self._config = config
        self._source: GradientSource = (
            FusedGradients(model) if model.fused is not None else AutogradGradients(model, config, shards)
        )
        self._mlp_parameters: list[nn.Parameter] = list(model.parameters())
        self._mlp_optimizer = build_mlp_optimizer(config.mlps, self._mlp_parameters)
        self._table_optimizer = TableOptimizer(config.tables, model.embeddings)
        self.loss_scale = LossScale(config.loss_scale) if model.compute_dtype == torch.float16 else None
        self.average = WeightAverage(model, config.average_decay) if config.average_decay else None
        self._named = named if profiled else unnamed
        if model.fused is not None and profiled:
            model.fused.named = named

    def run(self, batch: Batch) -> Tensor:
        """Train on one batch; return its mean loss in nats before the update, a float32 scalar tensor."""
        self.step += 1
        scale = 1.0 if self.loss_scale is None else self.loss_scale.value
        with self._whole():
            gradients = self._source.of(batch, step=self.step, scale=scale)
        unscaled = gradients if self.loss_scale is None else self.loss_scale.unscale(gradients)
        if unscaled is not None:
            self._update(batch, unscaled)
        return gradients.loss

    def _whole(self) -> AbstractContextManager[object]:
        """The gradients as one part, where what computes them names none itself."""
        return self._named("gradients by autograd") if self.model.fused is None else nullcontext()

    def _update(self, batch: Batch, gradients: Gradients) -> None:
        for parameter, gradient in zip(self._mlp_parameters, gradients.mlps, strict=True):
            parameter.grad = gradient
        for group in self._mlp_optimizer.param_groups:
            group["lr"] = self.learning_rate(self._config.mlps.lr)
        with self._named("MLP update"):
            self._mlp_optimizer.step()
        with self._named("row update"):
            rate = self.learning_rate(self._config.tables.lr)
            self._table_optimizer.step(batch.ids_BT, gradients.embedding_BTD, rate)
        if self.average is not None:
            self.average.update(self.step)

    def learning_rate(self, base: float) -> float:
        """Scheduled learning rate of the current step for a base rate."""
        return learning_rate(self.step, base, self._config.schedule)


class LossScale:
    """The factor on the loss that keeps small gradients above fp16's smallest number; see :class:`LossScaleConfig`.

    Attributes
    ----------
    value : float
        The factor of the next step.
    skipped : int
        Steps without an update so far, since a gradient overflowed.
    """

    def __init__(self, config: LossScaleConfig) -> None:
        self.value = config.value
        self.skipped = 0
        self._config = config
        self._good_steps = 0

    def unscale(self, gradients: Gradients) -> Gradients | None:
        """The gradients divided by the factor; None, after lowering the factor, where it is dynamic and one overflowed."""
        parts = [*gradients.mlps, gradients.embedding_BTD]
        if self._config.kind == "dynamic" and not all(bool(torch.isfinite(part).all()) for part in parts):
            self.value, self._good_steps = self.value / 2, 0
            self.skipped += 1
            return None
        *mlps, embedding_BTD = (part / self.value for part in parts)
        self._good_steps += 1
        if self._config.kind == "dynamic" and self._good_steps == self._config.growth_interval:
            self.value, self._good_steps = self.value * 2, 0
        return Gradients(gradients.loss, tuple(mlps), embedding_BTD)


class WeightAverage:
    """Exponential moving average of all weights, for evaluation.

    ``average += (1 - d) (weights - average)`` after step t, with d = min(decay, (1 + t) / (10 + t)).
    """

    def __init__(self, model: Dlrm, decay: float) -> None:
        self._decay = decay
        self._live = [*model.parameters(), *model.embeddings.storage()]
        self._average = [tensor.detach().clone() for tensor in self._live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimisation step `step`."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for average, live in zip(self._average, self._live, strict=True):
            average.lerp_(live, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange live and averaged weights."""
        for live, average in zip(self._live, self._average, strict=True):
            kept = live.detach().clone()
            live.copy_(average)
            average.copy_(kept)
