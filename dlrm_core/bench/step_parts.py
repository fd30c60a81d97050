"""The sides of `bench throughput`: one model in a process of its own, which times its training step whole and in parts."""

import functools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from itertools import chain, islice, product, repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from dlrm_core.bench.sides.ours import train_config
from dlrm_core.bench.throughput_request import IMPLEMENTATIONS, Asked
from dlrm_core.bench.workload import CONFIGS
from dlrm_core.data import Batch, Part, ahead, open_part
from dlrm_core.schema.config import TrainConfig
from dlrm_core.schema.errors import KitError
from dlrm_core.train.checkpoint import build_model
from dlrm_core.train.implementation import choose
from dlrm_core.train.shards import Shards
from dlrm_core.train.step import TrainStep

PARTS = ("whole", "compute", "loader")


@functools.cache
def _side(size: str, precision: str, implementation: str, data: Path) -> "Side":
    """The one that this process serves, made at the first call."""
    return Side(side_config(size, precision, implementation), implementation, data)


def side_config(size: str, precision: str, implementation: str) -> TrainConfig:
    """The configuration that a side trains with.

    >>> side_config("S", "bf16", "reference").deterministic
    True
    """
    config = train_config(CONFIGS[size], precision)
    return config.model_copy(update={"deterministic": IMPLEMENTATIONS[implementation]})


class Side:
    """A model, its training step and its reader."""

    def __init__(self, config: TrainConfig, implementation: str, data: Path) -> None:
        chosen = choose(config)
        if implementation == "fast" and not chosen.fused:
            raise KitError(f"fast needs the compiled kernels, but there are only {chosen.choices['step']}")
        self.description = "; ".join(f"{what}: {how}" for what, how in chosen.choices.items())
        self._data, self._depth = data, config.prefetch_depth
        self._spec = open_part(data, "train").spec
        model = build_model(config.model, self._spec, config.seed, chosen)
        self._step = TrainStep(model, config, Shards(deterministic=config.deterministic))

    def seconds(self, what: str, batch_size: int, steps: int) -> list[float]:
        """Of each of `steps` steps of one of :data:`PARTS`, the waiting for its batch included."""
        rows = self._spec.splits["train"].rows // batch_size * batch_size
        part = Part(self._data, self._spec, "train", stop=rows)
        endless = chain.from_iterable(part.batches(batch_size) for _ in repeat(None))
        # Endless, so that all the time one batch is read for each that is used, as in the middle of a training.
        source = ahead(endless, self._depth)
        if what == "compute":
            source = (batch for batch in [*islice(endless, steps)])
        with closing(source):
            return _laps(islice(source, steps), _unused if what == "loader" else self._step.run)


def _unused(_batch: Batch) -> None:
    """What the loader alone does with a batch."""


def _laps(batches: Iterator[Batch], use: Callable[[Batch], object]) -> list[float]:
    seconds, last = [], time.perf_counter()
    for batch in batches:
        use(batch)
        now = time.perf_counter()
        seconds.append(now - last)
        last = now
    return seconds


def _describe(*side: Any) -> str:
    return _side(*side).description


def _seconds(side: tuple[Any, ...], what: str, batch_size: int, steps: int) -> list[float]:
    return _side(*side).seconds(what, batch_size, steps)


class SideProcess:
    """The parent's end of a side; what it raises is raised here."""

    def __init__(self, size: str, precision: str, implementation: str, data: Path) -> None:
        self.name = f"{precision}, {implementation}"
        self._side = (size, precision, implementation, data)
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))  # a fork would share torch's threads

    def start(self) -> str:
        """Build the side; what runs, in words."""
        return self._result(self._pool.submit(_describe, *self._side))

    def seconds(self, what: str, batch_size: int, steps: int) -> list[float]:
        """As of :class:`Side`."""
        return self._result(self._pool.submit(_seconds, self._side, what, batch_size, steps))

    def _result(self, future: Future[Any]) -> Any:
        try:
            return future.result()
        except BrokenProcessPool:
            raise KitError(
                f"{self._side[0]}, {self.name}: its process has ended, killed or out of memory; ask for fewer "
                "precisions and implementations at once, each is a model in memory"
            ) from None

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()


@contextmanager
def processes(size: str, data: Path, asked: Asked) -> Iterator[tuple[dict[str, SideProcess], dict[str, str]]]:
    """The sides that can run, by precision and implementation; and of all of them what runs, or why not.

    One starts after the other, since some choose by a measurement what they compute with.
    """
    with ExitStack() as stack:
        running, words = {}, {}
        for one in product(asked.precisions, asked.implementations):
            side = stack.enter_context(closing(SideProcess(size, *one, data)))
            try:
                words[side.name] = side.start()
                running[side.name] = side
            except KitError as error:
                words[side.name] = f"cannot run: {error}"
        yield running, words
