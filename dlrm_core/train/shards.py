"""Work on pieces of a batch, whose number and borders do not depend on the number of threads.

A matrix product's rounding changes with the number of threads inside it. So in the deterministic mode a batch is cut
into a fixed number of shards, each computed by one thread, and whatever they return is combined in shard order by one
thread too: 1, 2 and 4 threads give the same bits. Without it, one shard is computed by all threads.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import TracebackType
from typing import Self, TypeVar

import torch

DETERMINISTIC_SHARDS = 4

Result = TypeVar("Result")


class Shards:
    """A pool that maps a function over the shards of a batch.

    Parameters
    ----------
    deterministic : bool
    threads : int, optional
        Default: ``torch.get_num_threads()``, which obeys OMP_NUM_THREADS.
    """

    def __init__(self, *, deterministic: bool, threads: int | None = None) -> None:
        self.count = DETERMINISTIC_SHARDS if deterministic else 1
        threads = threads or torch.get_num_threads()
        self._pool = ThreadPoolExecutor(threads, initializer=_one_thread) if deterministic and threads > 1 else None
        self._saved_threads = torch.get_num_threads()
        if deterministic:
            # Also for what is done between the shards: where torch splits an elementwise operation decides which numbers
            # its vector instructions miss. Besides, its threads would spin for the cores that the pool needs.
            _one_thread()

    def map(self, function: Callable[[int, int], Result], rows: int) -> list[Result]:
        """``function(start, stop)`` of each non-empty shard of `rows` rows, in order."""
        borders = [rows * i // self.count for i in range(self.count + 1)]
        pieces = [(a, b) for a, b in pairwise(borders) if b > a]
        if self._pool is None:
            return [function(a, b) for a, b in pieces]
        return list(self._pool.map(lambda piece: function(*piece), pieces))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        torch.set_num_threads(self._saved_threads)


def _one_thread() -> None:
    torch.set_num_threads(1)
