"""One file of a split, read by rows; none of its pages stays with the process."""

import mmap
import os
import weakref
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlrm_core.schema.errors import KitError

# Rows in any order come through a map, whose pages count as the process's own once they were touched. They are taken in
# rising order from one stretch of this size after the other, and its pages are given back behind it.
STRETCH_BYTES = 8 << 20


class ColumnFile:
    """Rows `first` up to `first` + `rows` of a file of equal rows; closed with the object. Any thread may read.

    Parameters
    ----------
    path : Path
    dtype : numpy dtype
    first, rows : int
    shape : tuple of int
        Shape of one row; () for a number.
    """

    def __init__(
        self, path: Path, dtype: np.dtype[np.generic], first: int, rows: int, shape: tuple[int, ...] = ()
    ) -> None:
        self._path = path
        self._dtype = dtype
        self._first = first
        self._rows = rows
        self._shape = shape
        self._row_bytes = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        self._handle = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._handle)
        self._map: tuple[NDArray[np.generic], mmap.mmap] | None = None

    def read(self, start: int, stop: int) -> NDArray[np.generic]:
        """Rows `start` up to `stop`, a new array: plain reads.

        Raises
        ------
        KitError
            If the file cannot be read or ends before.
        """
        values = np.empty((stop - start, *self._shape), self._dtype)
        place = (self._first + start) * self._row_bytes
        done = self._read_into(values, place) if values.nbytes else 0
        while done < values.nbytes:  # more than the kernel gives at once
            done += self._read_into(values.reshape(-1).view(np.uint8)[done:], place + done)
        return values

    def pick(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        """The rows of these numbers, which must rise, a new array."""
        picked = np.empty((len(rows), *self._shape), self._dtype)
        if not picked.size:
            return picked
        values, pages = self._mapped()
        step = STRETCH_BYTES // self._row_bytes
        bounds = np.searchsorted(rows, np.arange(rows[0], rows[-1] + step + 1, step))
        for start, stop in pairwise(bounds.tolist()):
            if start < stop:
                picked[start:stop] = values.take(rows[start:stop], axis=0)
                pages.madvise(mmap.MADV_DONTNEED)
        return picked

    def _mapped(self) -> tuple[NDArray[np.generic], mmap.mmap]:
        if self._map is None:
            pages = mmap.mmap(self._handle, 0, access=mmap.ACCESS_READ)
            count = self._rows * self._row_bytes // self._dtype.itemsize
            values = np.frombuffer(pages, self._dtype, count, self._first * self._row_bytes)
            self._map = values.reshape(-1, *self._shape), pages
        return self._map

    def _read_into(self, target: NDArray[np.generic], place: int) -> int:
        try:
            count = os.preadv(self._handle, [target.data], place)
        except OSError as error:
            raise KitError(
                f"{self._path}: cannot be read ({error.strerror}); copy or make the data set again"
            ) from None
        if not count:
            raise KitError(f"{self._path}: became shorter while it was read; make the data set again")
        return count
