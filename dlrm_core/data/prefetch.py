"""Batches read by another thread before they are asked for."""

import queue
import threading
from collections.abc import Generator, Iterator

from dlrm_core.data.batch import Batch

THREAD = "batches ahead"


def ahead(batches: Iterator[Batch], depth: int) -> Generator[Batch, None, None]:
    """The same batches in the same order; up to `depth` of them wait, read by another thread, beside the one in use.

    What reading raises is raised where the batch would have come. Close it (`contextlib.closing`) where the reader may
    stop early: the thread then ends. With `depth` 0 nothing is read ahead.
    """
    if not depth:
        yield from batches
        return
    reader = _Reader(batches, depth)
    try:
        while (item := reader.take()) is not None:
            yield item
    finally:
        reader.stop()


class _Reader:
    """A thread that reads as long as there are free places."""

    def __init__(self, batches: Iterator[Batch], depth: int) -> None:
        self._batches = batches
        self._ready: queue.SimpleQueue[Batch | BaseException | None] = queue.SimpleQueue()
        self._places = threading.Semaphore(depth)
        self._stopped = False
        self._thread = threading.Thread(target=self._read, name=THREAD, daemon=True)
        self._thread.start()

    def take(self) -> Batch | None:
        """The next batch, or None behind the last one."""
        item = self._ready.get()
        self._places.release()
        if isinstance(item, BaseException):
            raise item
        return item

    def stop(self) -> None:
        """Let the thread end behind the batch that it reads."""
        self._stopped = True
        self._places.release()
        self._thread.join()

    def _read(self) -> None:
        try:
            item: Batch | None
            while self._places.acquire() and not self._stopped:
                self._ready.put(item := next(self._batches, None))
                if item is None:
                    return
        except BaseException as error:  # raised again by `take`
            self._ready.put(error)
