"""How fast a loop is, and how long it waits for its batches."""

import time
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


class Speed:
    """Rows and seconds of the steps that count, evaluations left out.

    Attributes
    ----------
    rows : int
    seconds : float
    all_rows : int
        Of all steps.
    waited_s : float
        Of all steps, those that do not count included: seconds that the loop waited for batches.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.all_rows = 0
        self.seconds = 0.0
        self.waited_s = 0.0
        self._last = time.perf_counter()

    def start(self) -> None:
        """The first step begins now, or goes on after something that is no part of it."""
        self._last = time.perf_counter()

    def step(self, rows: int, *, counts: bool) -> None:
        """A step of so many rows ends now."""
        now = time.perf_counter()
        self.all_rows += rows
        if counts:
            self.rows += rows
            self.seconds += now - self._last
        self._last = now

    def waited_for(self, batches: Iterator[T]) -> Iterator[T]:
        """The same batches; the time until each comes is counted."""
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self.waited_s += time.perf_counter() - start
            if batch is None:
                return
            yield batch
