"""Binary files of equal records: their sizes against each other, and reading them once, in blocks."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlrm_core.schema.dataset import Source
from dlrm_core.schema.errors import KitError


@dataclass(frozen=True)
class RecordFile:
    """A file of equal records; the fields of `dtype` are the columns ``label``, ``numerical`` and ``ids_0``, ``ids_1``, ..."""

    folder: Path
    name: str
    dtype: np.dtype[np.void]

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder / self.name


def record_dtype(*fields: tuple[str, object, tuple[int, ...]]) -> np.dtype[np.void]:
    """Dtype of a record with these fields: name, dtype and shape of each.

    >>> record_dtype(("label", "<i4", ()), ("numerical", "<f4", (13,))).itemsize
    56
    """
    return np.dtype(list(fields))


def rows_of(files: Sequence[RecordFile]) -> int:
    """Rows of a split: the records of each of its files, 0 without files.

    Raises
    ------
    KitError
        If a file is missing, or the sizes do not agree.
    """
    sizes = [size_of(file.path) for file in files]
    for file, size in zip(files, sizes, strict=True):
        rows, rest = divmod(sizes[0], files[0].dtype.itemsize)
        if rest:
            raise KitError(
                f"{files[0].path}: holds {sizes[0]} bytes, no whole number of records of {files[0].dtype.itemsize}; it was "
                "written in part, make or copy it again"
            )
        if size != rows * file.dtype.itemsize:
            raise KitError(
                f"{file.path}: holds {size} bytes; the {rows} rows of {files[0].name} need {rows * file.dtype.itemsize}, "
                f"{file.dtype.itemsize} a row; one of the two was written in part, make or copy them again"
            )
    return sizes[0] // files[0].dtype.itemsize if files else 0


def size_of(path: Path) -> int:
    """Bytes of a readable file.

    Raises
    ------
    KitError
        If it is missing or cannot be read.
    """
    if not path.is_file():
        raise KitError(f"{path}: no such file; the data set is not whole, make or copy it again")
    if not os.access(path, os.R_OK):
        raise KitError(f"{path}: cannot be read; mend its permissions")
    return path.stat().st_size


class RecordReader:
    """Reads a file of records once, block by block; its SHA-256 is known then."""

    def __init__(self, file: RecordFile) -> None:
        self.file = file
        self._digest = hashlib.sha256()
        self._size = 0

    def read(self, count: int) -> dict[str, NDArray[Any]]:
        """The next `count` records, one array a column."""
        with self.file.path.open("rb") as handle:
            handle.seek(self._size)
            data = handle.read(count * self.file.dtype.itemsize)
        if len(data) != count * self.file.dtype.itemsize:
            raise KitError(f"{self.file.path}: became shorter while it was read; import it again when it is whole")
        self._digest.update(data)
        self._size += len(data)
        records = np.frombuffer(data, self.file.dtype)
        return {name: records[name] for name in self.file.dtype.names or ()}

    def source(self) -> Source:
        """Name, size and SHA-256 of what was read."""
        return Source(name=self.file.name, size_bytes=self._size, sha256=self._digest.hexdigest())
