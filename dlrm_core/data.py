"""Batches from a prepared data set: bytes on disk to tensors.

Legend: B rows of a batch, N numerical features, T categorical features.
"""

from collections.abc import Iterator
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

    Raises
    ------
    KitError
        If an id on disk does not fit its table.
    """

    def __init__(self, folder: Path, spec: DatasetSpec, split: str, start: int = 0, stop: int | None = None) -> None:
        self.spec = spec
        self.split = split
        rows = spec.splits[split].rows  # type: ignore[index]
        self._slice = slice(start, rows if stop is None else stop)
        self._label = self._map(folder, spec.label_file, np.bool_, (rows,))
        self._numerical = self._map(folder, spec.numerical_file, np.float16, (rows, len(spec.numerical)))
        self._ids = [self._map(folder, f.file, np.dtype(f.dtype), (rows,)) for f in spec.categorical]

    def _map(
        self, folder: Path, file: str, dtype: type | np.dtype[np.generic], shape: tuple[int, ...]
    ) -> NDArray[np.generic]:
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(folder / self.split / file, dtype=dtype, mode="r", shape=shape)[self._slice]

    def __len__(self) -> int:
        return len(self._label)

    def labels(self) -> NDArray[np.bool_]:
        """All labels, bool of shape (rows,)."""
        return np.array(self._label, dtype=np.bool_)

    def read(self, start: int, stop: int) -> Batch:
        """Rows `start` up to `stop` of the part as tensors."""
        ids = np.stack([column[start:stop].astype(np.int64) for column in self._ids], axis=1)
        self._check(ids, start)
        numerical = np.asarray(self._numerical[start:stop], dtype=np.float32)
        label = np.asarray(self._label[start:stop], dtype=np.float32)
        return Batch(torch.from_numpy(numerical), torch.from_numpy(ids), torch.from_numpy(label))

    def _check(self, ids: NDArray[np.int64], start: int) -> None:
        bounds = np.array([f.cardinality for f in self.spec.categorical])
        wrong = np.argwhere((ids < 0) | (ids >= bounds))
        if len(wrong):
            row, column = wrong[0]
            feature = self.spec.categorical[column]
            raise KitError(
                f"{self.split}/{feature.file}: row {self._slice.start + start + row} holds id {ids[row, column]}, "
                f"{feature.name} has ids 0 to {feature.cardinality - 1}; the file is damaged, run `dlrm prepare` again"
            )

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """The rows in order; the last batch may be short."""
        for start in range(0, len(self), batch_size):
            yield self.read(start, min(start + batch_size, len(self)))

    def columns(self) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_]]:
        """All rows in memory: numerical (rows, N) float32, ids (rows, T) int32, labels (rows,) bool."""
        ids = np.stack([np.asarray(column, dtype=np.int32) for column in self._ids], axis=1)
        return np.asarray(self._numerical, dtype=np.float32), ids, self.labels()


@dataclass(frozen=True)
class TrainingParts:
    """What training reads: rows to fit, rows that stopping rules look at, and all of the training split."""

    fit: Part
    stop: Part
    everything: Part
    stop_rule: str


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


def open_training_parts(folder: Path) -> TrainingParts:
    """The training split of DATA, cut into rows to fit and rows for stopping rules.

    These are the validation split where there is one, else the last tenth of the training rows in input order.
    """
    spec = read_dataset(folder)
    train = spec.splits["train"]
    everything = Part(folder, spec, "train")
    if spec.splits["validation"].rows:
        return TrainingParts(everything, Part(folder, spec, "validation"), everything, "the validation part")
    cut = train.rows - train.holdback_rows
    rule = f"the last {train.holdback_rows} training rows in input order, held back"
    return TrainingParts(
        Part(folder, spec, "train", stop=cut), Part(folder, spec, "train", start=cut), everything, rule
    )
