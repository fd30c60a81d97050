"""A side of the comparison: one model in one process, asked for steps and predictions, timing each by itself."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from dlrm_core.bench.workload import Arrays, Workload, batches

Native = TypeVar("Native")

CHECKED_ROWS = 64  # rows whose logits are compared between the sides


class Answering(ABC):
    """Whatever a process of the benchmark serves."""

    description: str

    @abstractmethod
    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command; commands and answers are plain values."""


class Side(Answering, Generic[Native]):
    """A DLRM that trains and predicts. Its batches are made beforehand, in the layout that it likes best."""

    without_gradient: Callable[[], AbstractContextManager[object]] = torch.inference_mode

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self._steps_done = 0
        self._training: list[Native] = []
        self._prediction: dict[int, list[Native]] = {}

    @abstractmethod
    def native(self, arrays: Arrays) -> Native:
        """A batch in the side's own layout."""

    @abstractmethod
    def step(self, batch: Native) -> Tensor:
        """One training step; the loss before the update."""

    @abstractmethod
    def logits(self, batch: Native) -> Tensor:
        """Logits of shape (B,), without a gradient."""

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """``train`` with `steps`, or ``predict`` with `batch_size` and `calls`; see :meth:`train` and :meth:`predict`."""
        if command["do"] == "train":
            return self.train(command["steps"])
        assert command["do"] == "predict", command
        return self.predict(command["batch_size"], command["calls"])

    def train(self, steps: int) -> dict[str, Any]:
        """Seconds and losses of the next `steps` steps."""
        if not self._training:
            self._training = [*self._native_batches(self.workload.batch_size, self.workload.distinct_batches)]
        losses, seconds = [], []
        for _ in range(steps):
            batch = self._training[self._steps_done % len(self._training)]
            start = time.perf_counter()
            loss = self.step(batch)
            seconds.append(time.perf_counter() - start)
            losses.append(float(loss.detach()))
            self._steps_done += 1
        return {"seconds": seconds, "losses": losses}

    def predict(self, batch_size: int, calls: int) -> dict[str, Any]:
        """Seconds of each of `calls` calls, and the logits of the first batch's first rows."""
        made = self.prediction_batches(batch_size)
        with self.without_gradient():
            checked = self.logits(made[0])[:CHECKED_ROWS].float().tolist()
            seconds = [_timed(self.logits, made[number % len(made)]) for number in range(calls)]
        return {"seconds": seconds, "logits": checked}

    def prediction_batches(self, batch_size: int) -> list[Native]:
        """Some batches of that size, made once."""
        if batch_size not in self._prediction:
            self._prediction[batch_size] = self._native_batches(batch_size, max(2, min(64, 65536 // batch_size)))
        return self._prediction[batch_size]

    def _native_batches(self, batch_size: int, count: int) -> list[Native]:
        return [self.native(arrays) for arrays in batches(self.workload, batch_size, count)]


def tensor(array: NDArray[Any]) -> Tensor:
    """A copy in torch's own memory, which is aligned to 64 bytes as numpy's is not."""
    return torch.from_numpy(array).clone()


def _timed(call: Callable[[Native], object], batch: Native) -> float:
    start = time.perf_counter()
    call(batch)
    return time.perf_counter() - start
