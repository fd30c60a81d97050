"""Batches from a prepared data set: bytes on disk to tensors.

Legend: B rows of a batch, N numerical features, T categorical features.
"""

import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlrm_core.schema.dataset import DatasetSpec, read_dataset
from dlrm_core.schema.errors import KitError


@dataclass(frozen=True)
class Batch:
    """Rows of a data set: numerical_BN float32, ids_BT int64, label_B float32 (0 or 1)."""

    numerical_BN: Tensor
    ids_BT: Tensor
    label_B: Tensor

    def __len__(self) -> int:
        return len(self.label_B)

    def shard(self, start: int, stop: int) -> "Batch":
        """The rows from `start` up to `stop`."""
        return Batch(self.numerical_BN[start:stop], self.ids_BT[start:stop], self.label_B[start:stop])


class Part:
    """Some rows of one split, read from disk batch by batch.

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
        rows = spec.splits[split].rows  # type: ignore[index]
        self._slice = slice(start, rows if stop is None else stop)
        self._label = self._map(folder, spec.label_file, np.uint8, (rows,))
        self._numerical = self._map(folder, spec.numerical_file, np.float16, (rows, len(spec.numerical)))
        # Plain arrays over the same bytes: slicing a memmap costs several times as much.
        self._ids = [np.asarray(self._map(folder, f.file, np.dtype(f.dtype), (rows,))) for f in spec.categorical]
        self._cardinality_T = np.array(list(spec.cardinalities.values()), dtype=np.int64)

    def _map(
        self, folder: Path, file: str, dtype: type | np.dtype[np.generic], shape: tuple[int, ...]
    ) -> NDArray[np.generic]:
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(folder / self.split / file, dtype=dtype, mode="r", shape=shape)[self._slice]

    def __len__(self) -> int:
        return len(self._label)

    def labels(self) -> NDArray[np.bool_]:
        """All labels, bool of shape (rows,); a byte that is not 0 is a click."""
        return np.asarray(self._label) != 0

    def read(self, start: int, stop: int, order: NDArray[np.int64] | None = None) -> Batch:
        """Rows `start` up to `stop` of the part, or of its rows in `order`, as tensors.

        Raises
        ------
        KitError
            If an id on disk does not fit its table or a numerical is not finite.
        """
        stop = min(stop, len(self))
        # torch's memory is aligned to 64 bytes, numpy's is not: no sum may depend on where a batch happens to lie.
        numerical_BN = torch.empty(stop - start, len(self.spec.numerical))
        ids_BT = torch.empty(stop - start, len(self._ids), dtype=torch.int64)
        numerical, ids = numerical_BN.numpy(), ids_BT.numpy()
        rows = slice(start, stop) if order is None else order[start:stop]
        numerical[:] = self._numerical[rows]
        for t, column in enumerate(self._ids):
            ids[:, t] = column[rows]
        self._check(numerical, ids, np.arange(start, stop) if order is None else order[start:stop])
        label_B = torch.from_numpy((np.asarray(self._label[rows]) != 0).astype(np.float32))
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
        numerical = np.asarray(self._numerical, dtype=np.float32)
        ids = np.stack([np.asarray(column, dtype=np.int32) for column in self._ids], axis=1)
        self._check(numerical, ids, np.arange(len(self)))
        return numerical, ids, self.labels()

    def _check(self, numerical: NDArray[np.float32], ids: NDArray[np.integer], rows: NDArray[np.int64]) -> None:
        if not np.isfinite(numerical).all():
            row, column = np.argwhere(~np.isfinite(numerical))[0]
            raise KitError(
                f"{self.split}/{self.spec.numerical_file}: row {self._slice.start + rows[row]} holds "
                f"{numerical[row, column]} in {self.spec.numerical[column]}, a finite number is needed: the file is damaged, "
                f"or a number is too large for float16 with transform {self.spec.preparation.numerical_transform}; "
                "make the data set again"
            )
        wrong = (ids < 0) | (ids >= self._cardinality_T)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            feature = self.spec.categorical[column]
            raise KitError(
                f"{self.split}/{feature.file}: row {self._slice.start + rows[row]} holds id {ids[row, column]}, "
                f"{feature.name} has ids 0 to {feature.cardinality - 1}; the file is damaged, make the data set again"
            )


@dataclass(frozen=True)
class TrainingParts:
    """What training reads: rows to fit, rows that stopping rules look at, and all of the training split."""

    fit: Part
    stop: Part
    everything: Part
    stop_rule: str


def keep_off_dataset(out: Path) -> None:
    """Make sure that output does not go into a prepared data set, whose `dataset.json` and `run.json` it would replace.

    Raises
    ------
    KitError
        If `out` holds one.
    """
    if (out / "train" / "label.bin").is_file():
        raise KitError(
            f"{out}: is a prepared data set, a folder of its own is needed for the output; name another --out"
        )


def open_part(folder: Path, split: str) -> Part:
    """One split of DATA.

    Raises
    ------
    KitError
        If DATA is damaged or the split is empty.
    """
    part = Part(folder, read_dataset(folder), split)
    if not len(part):
        raise KitError(f"{folder}: its {split} part has no rows; prepare the data set with files for it")
    return part


def open_training_parts(folder: Path, max_rows: int | None = None) -> TrainingParts:
    """The training split of DATA, cut into rows to fit and rows for stopping rules.

    These are the validation split where there is one, else the last tenth of the training rows in input order. With
    `max_rows`, only that many of the first rows are there to be fitted.
    """
    spec = read_dataset(folder)
    train = spec.splits["train"]
    most = train.rows if max_rows is None else min(max_rows, train.rows)
    everything = Part(folder, spec, "train", stop=most)
    if spec.splits["validation"].rows:
        return TrainingParts(everything, Part(folder, spec, "validation"), everything, "the validation part")
    cut = train.rows - train.holdback_rows
    rule = f"the last {train.holdback_rows} training rows in input order, held back"
    return TrainingParts(
        Part(folder, spec, "train", stop=min(cut, most)), Part(folder, spec, "train", start=cut), everything, rule
    )


def ahead(batches: Iterator[Batch], depth: int) -> Generator[Batch, None, None]:
    """The same batches in the same order, up to `depth` of them read by another thread before they are asked for.

    What reading raises is raised where the batch would have come. Close it (`contextlib.closing`) where the reader may
    stop early: the thread then ends. With `depth` 0 nothing is read ahead.
    """
    if not depth:
        yield from batches
        return
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue()
    places = threading.Semaphore(depth)
    stopped = threading.Event()

    def read() -> None:
        try:
            item: Batch | None
            while places.acquire() and not stopped.is_set():
                ready.put(item := next(batches, None))
                if item is None:
                    return
        except BaseException as error:  # raised again by the reader below
            ready.put(error)

    thread = threading.Thread(target=read, name="batches ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
            places.release()
    finally:
        stopped.set()
        places.release()
        thread.join()
