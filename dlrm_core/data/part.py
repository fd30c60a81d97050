"""Rows of one split: bytes on disk to tensors.

Legend: B rows of a batch, N numerical features, T categorical features.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dlrm_core.data.batch import Batch
from dlrm_core.data.block import Block, is_sound
from dlrm_core.data.column_file import ColumnFile
from dlrm_core.schema.dataset import DatasetSpec
from dlrm_core.schema.errors import KitError

# What is read and checked together. Rows that lie side by side on disk stay in a core's cache meanwhile, 16,000 of Criteo's.
# In a new order each block takes its rows in one pass over the pages of every file, which a larger one does less often.
BLOCK_BYTES = 2 << 20
BLOCK_BYTES_IN_ORDER = 16 << 20

Taking = Callable[[ColumnFile], NDArray[np.generic]]


class Part:
    """Some rows of one split, read from disk batch by batch. Memory is needed for a block of rows, whatever the files' size.

    A read that goes on where the last one ended takes a block of rows, from which those that follow are cut. The files are
    read plainly. Rows in a new order come through a map whose pages are given back at once: a block takes its rows in the
    order of the file, so that none of the pages need stay.

    Parameters
    ----------
    folder : Path
        DATA.
    spec : DatasetSpec
    split : {'train', 'validation', 'test'}
    start, stop : int, optional
        Rows of the split that belong to the part; all by default.
    """

    def __init__(self, folder: Path, spec: DatasetSpec, split: str, start: int = 0, stop: int | None = None) -> None:
        self.spec = spec
        self.split = split
        self._start, end, _ = slice(start, stop).indices(spec.splits[split].rows)  # type: ignore[index]
        self._length = max(0, end - self._start)
        self._cardinality_T = np.array(list(spec.cardinalities.values()), dtype=np.int64)
        self._label = self._open(folder / split / spec.label_file, "uint8")
        self._numerical = self._open(folder / split / spec.numerical_file, spec.numerical_dtype, len(spec.numerical))
        self._ids = [self._open(folder / split / feature.file, feature.dtype) for feature in spec.categorical]
        self._last: Block | None = None

    def _open(self, path: Path, dtype: str, *shape: int) -> ColumnFile:
        return ColumnFile(path, np.dtype(dtype), self._start, self._length, shape)

    def __len__(self) -> int:
        return self._length

    def labels(self) -> NDArray[np.bool_]:
        """All labels, bool of shape (rows,); a byte that is not 0 is a click."""
        return self._label.read(0, len(self)) != 0

    def read(self, start: int, stop: int, order: NDArray[np.int64] | None = None) -> Batch:
        """Rows `start` up to `stop` of the part, or of its rows in `order`, as tensors.

        Raises
        ------
        KitError
            If an id on disk does not fit its table, a numerical is not finite, or a file cannot be read.
        """
        stop = min(stop, len(self))
        block = self._holding(start, stop, order)
        # torch's memory is aligned to 64 bytes, numpy's is not: no sum may depend on where a batch happens to lie.
        numerical_BN = torch.empty(stop - start, len(self.spec.numerical))
        ids_BT = torch.empty(stop - start, len(self._ids), dtype=torch.int64)
        label_B = torch.empty(stop - start)
        self._fill(block, start, stop, numerical_BN.numpy(), ids_BT.numpy())
        label_B.numpy()[:] = block.clicks(start, stop)
        return Batch(numerical_BN, ids_BT, label_B)

    def batches(
        self,
        batch_size: int,
        order: NDArray[np.int64] | None = None,
        batch_order: NDArray[np.int64] | None = None,
    ) -> Iterator[Batch]:
        """The rows in the order on disk, or in `order`, a permutation of them, or batch by batch in `batch_order`.

        One batch, the last one of the order on disk, may be short.
        """
        numbers = range(-(-len(self) // batch_size)) if batch_order is None else batch_order.tolist()
        for number in numbers:
            yield self.read(number * batch_size, (number + 1) * batch_size, order)

    def columns(self) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_]]:
        """All rows in memory: numerical (rows, N) float32, ids (rows, T) int32, labels (rows,) bool.

        Raises
        ------
        KitError
            As :meth:`read`.
        """
        numerical = np.empty((len(self), len(self.spec.numerical)), np.float32)
        ids = np.empty((len(self), len(self._ids)), np.int32)
        step = self._block_rows(in_order=False)
        for start in range(0, len(self), step):
            stop = min(start + step, len(self))
            self._fill(self._load(start, stop), start, stop, numerical[start:stop], ids[start:stop])
        return numerical, ids, self.labels()

    def _holding(self, start: int, stop: int, order: NDArray[np.int64] | None) -> Block:
        """The block with these rows: the last one, or one that is read now."""
        last = self._last
        if last is not None and last.holds(start, stop, None if order is None else order[start:stop]):
            return last
        goes_on = last is not None and last.start < start <= last.stop
        last = self._last = None  # before the next is there: one block is as much as memory is needed for
        size = max(1, stop - start)
        batches = max(1, self._block_rows(in_order=order is not None) // size) if goes_on else 1
        block = self._last = self._load(start, min(len(self), start + batches * size), order)
        return block

    def _block_rows(self, *, in_order: bool) -> int:
        row_bytes = 1 + 2 * len(self.spec.numerical) + 4 * len(self._ids)
        return max(1, (BLOCK_BYTES_IN_ORDER if in_order else BLOCK_BYTES) // row_bytes)

    def _load(self, start: int, stop: int, order: NDArray[np.int64] | None = None) -> Block:
        numbers = None if order is None else order[start:stop].copy()
        take = _plainly(start, stop) if numbers is None else _in_order(numbers)
        label, numerical = take(self._label), take(self._numerical)
        ids_TR = np.empty((len(self._ids), stop - start), np.int32)
        for t, file in enumerate(self._ids):
            ids_TR[t] = take(file)
        return Block(start, numbers, label, numerical, ids_TR, is_sound(numerical, ids_TR, self._cardinality_T))

    def _fill(
        self,
        block: Block,
        start: int,
        stop: int,
        numerical_BN: NDArray[np.float32],
        ids_BT: NDArray[np.signedinteger],
    ) -> None:
        """Write the rows of a block; where it is not sound, find out whether one of these rows is the cause."""
        block.write(start, stop, numerical_BN, ids_BT)
        if not block.sound:
            self._check(numerical_BN, ids_BT, block.numbers(start, stop))

    def _check(self, numerical: NDArray[np.float32], ids: NDArray[np.signedinteger], rows: NDArray[np.int64]) -> None:
        if not np.isfinite(numerical).all():
            row, column = np.argwhere(~np.isfinite(numerical))[0]
            raise KitError(
                f"{self.split}/{self.spec.numerical_file}: row {self._start + rows[row]} holds "
                f"{numerical[row, column]} in {self.spec.numerical[column]}, a finite number is needed: the file is damaged, "
                f"or a number is too large for float16 with transform {self.spec.preparation.numerical_transform}; "
                "make the data set again"
            )
        wrong = (ids < 0) | (ids >= self._cardinality_T)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            feature = self.spec.categorical[column]
            raise KitError(
                f"{self.split}/{feature.file}: row {self._start + rows[row]} holds id {ids[row, column]}, "
                f"{feature.name} has ids 0 to {feature.cardinality - 1}; the file is damaged, make the data set again"
            )


def _plainly(start: int, stop: int) -> Taking:
    return lambda file: file.read(start, stop)


def _in_order(numbers_R: NDArray[np.int64]) -> Taking:
    """Taken in rising order, then put back into this one."""
    rising = np.argsort(numbers_R)
    rows, places = numbers_R[rising], np.argsort(rising)
    return lambda file: file.pick(rows).take(places, axis=0)
