"""The one training loop."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlrm_core.data import Batch, Part, ahead
from dlrm_core.metrics import log_loss, roc_auc
from dlrm_core.model.dlrm import Dlrm
from dlrm_core.schema.config import TrainConfig
from dlrm_core.schema.errors import KitError
from dlrm_core.train.evaluate import predict
from dlrm_core.train.profiling import StepProfiler
from dlrm_core.train.shards import Shards
from dlrm_core.train.speed import Speed
from dlrm_core.train.step import TrainStep

DIVERGED = "the model has diverged: lower mlps.lr and tables.lr or lengthen schedule.warmup_steps"


@dataclass(frozen=True)
class TrainEvent:
    """What a listener hears: every `print_freq` steps, after every evaluation, and at the end."""

    phase: str
    step: int
    steps: int
    loss: float
    learning_rate: float
    samples_per_s: float
    seconds_left: float
    auc: float | None = None
    log_loss: float | None = None


Listener = Callable[[TrainEvent], None]


@dataclass
class History:
    """Curves of one fit, by step."""

    loss: list[tuple[int, float]] = field(default_factory=list)
    learning_rate: list[tuple[int, float]] = field(default_factory=list)
    auc: list[tuple[int, float]] = field(default_factory=list)
    log_loss: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Best:
    """The best evaluation so far."""

    step: int
    score: float
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Reached:
    """When an evaluation's AUC reached `auc_threshold`: after which step, and how many seconds from the first one on."""

    step: int
    seconds: float


class Fit:
    """Trains one model on one part and looks at another as the stopping rule says."""

    def __init__(
        self,
        model: Dlrm,
        config: TrainConfig,
        shards: Shards,
        listener: Listener,
        phase: str,
        profiler: StepProfiler | None = None,
    ) -> None:
        self.model = model
        self.history = History()
        self.best: Best | None = None
        self._config = config
        self._shards = shards
        self._listener = listener
        self._phase = phase
        self._profiler = profiler
        self._step = TrainStep(model, config, shards, profiled=profiler is not None)
        self._window: list[Tensor] = []
        self._window_start = 0.0
        self._window_rows = 0
        self._samples_per_s = math.inf
        self._evaluations_since_best = 0
        self._start = 0.0
        self.speed = Speed()
        self.reached: Reached | None = None

    @property
    def skipped_steps(self) -> int | None:
        """Steps without an update, since a gradient overflowed in fp16; None in other precisions."""
        scale = self._step.loss_scale
        return None if scale is None else scale.skipped

    def run(self, part: Part, stop: Part | None, max_steps: int) -> None:
        """Train for `max_steps` steps, or until the stopping rule has had enough; leave the chosen weights in the model.

        Raises
        ------
        KitError
            If `part` has no rows, no step is left after `benchmark_warmup_steps`, or the loss or a weight becomes infinite
            or not a number.
        """
        if not len(part):
            raise KitError(f"the {part.split} part has no rows to train on; prepare the data set with files for it")
        self._check_warmup(max_steps)
        marks = self._evaluation_steps(len(part), max_steps) if stop is not None and len(stop) else set()
        if self._config.standardize:
            self.model.standardize(*_mean_and_deviation(part, self._config.batch_size))
        self._window_start = self._start = time.perf_counter()
        self.speed.start()
        with closing(ahead(self._batches(part, max_steps), self._config.prefetch_depth)) as batches:
            self._train(self.speed.waited_for(batches), stop, max_steps, marks)
        self._choose()
        self.model.fold_standardization()
        self._check_weights()

    def _train(self, batches: Iterator[Batch], stop: Part | None, max_steps: int, marks: set[int]) -> None:
        for batch in batches:
            self._window.append(self._step.run(batch))
            self._window_rows += len(batch)
            if self._profiler is not None:
                self._profiler.step()
            step = self._step.step
            self.speed.step(len(batch), counts=step > self._config.benchmark_warmup_steps)
            if step % self._config.print_freq == 0 or step == max_steps or step in marks:
                self._log(max_steps)
            if step in marks and stop is not None:
                self._evaluate(stop, max_steps)
                if self._has_had_enough():
                    break

    def _check_warmup(self, max_steps: int) -> None:
        warmup = self._config.benchmark_warmup_steps
        if warmup and warmup >= max_steps:
            raise KitError(
                f"benchmark_warmup_steps is {warmup} and the run has {max_steps} steps, so that none is left to measure; "
                "lower the one or raise epochs or max_steps"
            )

    def _has_had_enough(self) -> bool:
        threshold = self._config.auc_threshold
        if threshold is not None and self.history.auc[-1][1] >= threshold:
            self.reached = Reached(self._step.step, time.perf_counter() - self._start)
            return True
        stopping = self._config.stopping
        return stopping.rule != "last" and self._evaluations_since_best >= stopping.patience

    def _batches(self, part: Part, max_steps: int) -> Iterator[Batch]:
        step, batch_size = 0, self._config.batch_size
        for epoch in count():
            order = self._order(len(part), epoch) if self._config.reshuffle else None
            numbers = math.ceil(len(part) / batch_size)
            batch_order = self._order(numbers, epoch) if self._config.shuffle_batch_order else None
            for batch in part.batches(batch_size, order, batch_order):
                if step == max_steps:
                    return
                step += 1
                yield batch

    def _order(self, number: int, epoch: int) -> NDArray[np.int64]:
        key = (self._config.seed * 1_000_003 + epoch) % 2**63
        return torch.randperm(number, generator=torch.Generator().manual_seed(key)).numpy()

    def _evaluation_steps(self, rows: int, max_steps: int) -> set[int]:
        """The last step, and those that `test_freq` or `evaluations_per_epoch` names from `test_after` on."""
        per_epoch = math.ceil(rows / self._config.batch_size)
        every = self._config.test_freq or max(1.0, per_epoch / self._config.stopping.evaluations_per_epoch)
        number = math.ceil(max_steps / every)
        marks = {min(max_steps, max(1, round(every * i))) for i in range(1, number + 1)}
        return {mark for mark in marks if mark / per_epoch >= self._config.test_after} | {max_steps}

    def _log(self, max_steps: int) -> None:
        if not self._window:
            return
        loss = float(torch.stack(self._window).mean())
        step, now = self._step.step, time.perf_counter()
        if not math.isfinite(loss):
            raise KitError(f"the training loss is {loss} at step {step}; {self._diverged()}")
        self._samples_per_s = self._window_rows / (now - self._window_start)
        self.history.loss.append((step, loss))
        self.history.learning_rate.append((step, self._step.learning_rate(self._config.mlps.lr)))
        self._event(max_steps)
        self._window, self._window_rows, self._window_start = [], 0, now

    def _event(self, max_steps: int, auc: float | None = None, log_loss: float | None = None) -> None:
        step, loss = self.history.loss[-1]
        event = TrainEvent(
            phase=self._phase,
            step=step,
            steps=max_steps,
            loss=loss,
            learning_rate=self.history.learning_rate[-1][1],
            samples_per_s=self._samples_per_s,
            seconds_left=(max_steps - step) * self._config.batch_size / self._samples_per_s,
            auc=auc,
            log_loss=log_loss,
        )
        self._listener(event)

    def _evaluate(self, stop: Part, max_steps: int) -> None:
        start = time.perf_counter()
        self._swap_average()
        logit_B = predict(self.model, stop, self._config.test_batch_size, self._shards)
        label_B, step = stop.labels(), self._step.step
        auc, loss = roc_auc(label_B, logit_B), log_loss(label_B, logit_B)
        self.history.auc.append((step, auc))
        self.history.log_loss.append((step, loss))
        score = auc if self._config.stopping.rule == "best_auc" else -loss
        self._evaluations_since_best += 1
        if self._config.stopping.rule == "last":
            self.best = None
        elif self.best is None or score > self.best.score:
            self.best = Best(step, score, {n: t.detach().clone() for n, t in self.model.state_dict().items()})
            self._evaluations_since_best = 0
        self._swap_average()
        self._event(max_steps, auc, loss)
        self._window_start += time.perf_counter() - start
        self.speed.start()

    def _swap_average(self) -> None:
        if self._step.average is not None:
            self._step.average.swap()

    def _choose(self) -> None:
        if self.best is not None:
            self.model.load_state_dict(self.best.weights)
        else:
            self._swap_average()

    def _check_weights(self) -> None:
        """The loss of a step is that before its update, so that nothing else sees the last one."""
        if not all(bool(torch.isfinite(tensor).all()) for tensor in self.model.state_dict().values()):
            raise KitError(f"a weight is not finite after step {self._step.step}; {self._diverged()}")
        if self.skipped_steps == self._step.step:
            raise KitError(
                f"a gradient overflowed in fp16 in each of the {self._step.step} steps, so that none was taken; lower "
                f"loss_scale.value, {self._config.loss_scale.value:g} here"
            )

    def _diverged(self) -> str:
        if self._step.loss_scale is not None and self._config.loss_scale.kind == "static":
            return f"{DIVERGED}, or lower loss_scale.value, {self._config.loss_scale.value:g} here: fp16 overflows above 65504"
        return DIVERGED


def _mean_and_deviation(part: Part, batch_size: int) -> tuple[Tensor, Tensor]:
    """Of each numerical over all rows of `part`, in float64, summed in the order on disk; a constant one deviates by 1."""

    def batches() -> Iterator[NDArray[np.float64]]:
        return (batch.numerical_BN.numpy().astype(np.float64) for batch in part.batches(batch_size))

    mean = sum(batch.sum(axis=0) for batch in batches()) / len(part)
    deviation = np.sqrt(sum(((batch - mean) ** 2).sum(axis=0) for batch in batches()) / len(part))
    deviation[deviation == 0] = 1.0
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(deviation.astype(np.float32))
