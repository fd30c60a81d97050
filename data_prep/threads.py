"""Work on several threads whose results come in the order of the jobs, in bounded memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(work: Callable[[T], R], jobs: Iterable[T], *, threads: int) -> Generator[R, None, None]:
    """`work` of each job, in the order of the jobs; at most twice as many results wait as there are threads.

    The first job, in order, that raises ends it with what it raised. Close it (`contextlib.closing`) where the reader may
    stop early, so that no thread goes on working.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(work, job))
                if len(waiting) >= 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
