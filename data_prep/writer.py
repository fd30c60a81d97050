"""Split-binary files: one folder a split, one file a column; rounding, order on disk and digests live here and nowhere else.

Layout of NVIDIA's split format (``preproc/split_dataset.py``), with HEAD's recorded widths: ``label.bin`` bool,
``numerical.bin`` float16 row-major, ``cat_i.bin`` the narrowest of int8, int16 and int32.

Rows come in input order and go to any position, in bounded memory: :class:`Scatter` appends each row to the bucket that
its position falls into, :func:`gather` puts one bucket after the other in order and appends it to the final files.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.threads import in_order
from dlrm_core.schema.dataset import CategoricalFeature
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_file

BUCKET_BYTES = 32 << 20
LABEL, NUMERICAL = "label.bin", "numerical.bin"
THREADS = 2
FLUSHES = 8  # files that wait for the disk at once; digests are taken meanwhile


@dataclass(frozen=True)
class RowLayout:
    """What a row of a split holds.

    Attributes
    ----------
    rows : int
        Of the whole split.
    numerical : tuple of str
        Names of the numerical columns.
    features : tuple of CategoricalFeature
    bucket_bytes : int
        Memory that one bucket of rows may take; any value gives the same files.
    """

    rows: int
    numerical: tuple[str, ...]
    features: tuple[CategoricalFeature, ...]
    bucket_bytes: int = BUCKET_BYTES

    @property
    def bucket_rows(self) -> int:
        """Positions that one bucket covers."""
        row_bytes = sum(dtype.itemsize * math.prod(shape) for dtype, shape in self.files.values())
        return min(max(1, self.bucket_bytes // row_bytes), 1 << 32)

    @property
    def num_buckets(self) -> int:
        """Buckets of the split; 0 without rows."""
        return -(-self.rows // self.bucket_rows)

    @property
    def files(self) -> dict[str, tuple[np.dtype[np.generic], tuple[int, ...]]]:
        """Dtype, and shape of one row, of each final file."""
        named: dict[str, tuple[np.dtype[np.generic], tuple[int, ...]]] = {
            LABEL: (np.dtype(np.bool_), ()),
            NUMERICAL: (np.dtype(np.float16), (len(self.numerical),)),
        }
        return named | {feature.file: (np.dtype(feature.dtype), ()) for feature in self.features}


class Scatter:
    """Appends rows to the bucket files of one folder, which it makes."""

    def __init__(self, folder: Path, layout: RowLayout) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._layout = layout

    def put(
        self,
        positions: NDArray[np.int64],
        label_B: NDArray[np.generic],
        numerical_BN: NDArray[np.floating],
        ids: Mapping[str, NDArray[np.int32]],
    ) -> None:
        """Store a block of rows for `positions`, shape (B,); `ids` holds one int32 array (B,) a feature name.

        Raises
        ------
        KitError
            If a number is too large for float16.
        """
        columns = {LABEL: label_B.astype(np.bool_), NUMERICAL: self._rounded(numerical_BN)}
        columns |= {f.file: ids[f.name].astype(f.dtype) for f in self._layout.features}
        bucket_B = positions // self._layout.bucket_rows
        order = np.argsort(bucket_B, kind="stable")
        bucket_B = bucket_B[order]
        starts = np.flatnonzero(np.diff(bucket_B, prepend=-1))
        place_B = (positions[order] - bucket_B * self._layout.bucket_rows).astype(np.uint32)
        arrays = [place_B, *(columns[name][order] for name in self._layout.files)]
        for start, stop in pairwise([*starts, len(order)]):
            with bucket_path(self._folder, int(bucket_B[start])).open("ab") as handle:
                handle.write(np.int64(stop - start).tobytes())
                for array in arrays:
                    handle.write(array[start:stop].data)

    def _rounded(self, numerical_BN: NDArray[np.floating]) -> NDArray[np.float16]:
        with np.errstate(over="ignore"):
            rounded = numerical_BN.astype(np.float16)
        largest_exponent = rounded.view(np.uint16) & 0x7C00 == 0x7C00  # infinity or NaN, told faster than by isfinite
        if largest_exponent.any():
            row, column = np.argwhere(largest_exponent)[0]
            raise KitError(
                f"column {self._layout.numerical[column]} holds {numerical_BN[row, column]:g} after its transform, float16 "
                f"ends at {np.finfo(np.float16).max:g}; choose a logarithmic numerical_transform"
            )
        return rounded


def bucket_path(folder: Path, bucket: int) -> Path:
    """Where the rows of a bucket wait."""
    return folder / f"bucket-{bucket:06d}"


def digests_of(folder: Path) -> dict[Path, str]:
    """SHA-256 of each bucket file of a folder."""
    paths = sorted(folder.iterdir())
    with closing(in_order(sha256_file, paths, threads=THREADS)) as digests:
        return dict(zip(paths, digests, strict=True))


def gather(scattered: Sequence[Path], layout: RowLayout, folder: Path) -> dict[str, str]:
    """Make the final files in `folder` from the bucket files of `scattered`; return each one's SHA-256.

    Raises
    ------
    KitError
        If the buckets do not hold every position once.
    """
    folder.mkdir(parents=True)
    parts = {name: (folder / f"{name}.part").open("wb") for name in layout.files}
    try:
        buckets = in_order(
            lambda bucket: _ordered(scattered, layout, bucket), range(layout.num_buckets), threads=THREADS
        )
        with closing(buckets):
            for bucket in buckets:
                for name, column in bucket.items():
                    column.tofile(parts[name])
    finally:
        for handle in parts.values():
            handle.close()
    with closing(in_order(lambda name: _finished(folder / name), layout.files, threads=FLUSHES)) as digests:
        return dict(zip(layout.files, digests, strict=True))


def _finished(path: Path) -> str:
    """Bring a file onto the disk and give it its final name; its SHA-256."""
    part = path.with_name(f"{path.name}.part")
    with part.open("rb+") as handle:
        os.fsync(handle.fileno())
    part.replace(path)
    return sha256_file(path)


def _ordered(scattered: Sequence[Path], layout: RowLayout, bucket: int) -> dict[str, NDArray[np.generic]]:
    """One bucket's columns in the order of the positions."""
    count = min(layout.bucket_rows, layout.rows - bucket * layout.bucket_rows)
    columns = {name: np.empty((count, *shape), dtype) for name, (dtype, shape) in layout.files.items()}
    seen, rows = np.zeros(count, np.bool_), 0
    for place, chunk in _chunks(scattered, layout, bucket):
        rows += len(place)
        if place.max(initial=0) >= count:
            break
        seen[place] = True
        for name, column in columns.items():
            column[place] = chunk[name]
    if rows != count or not seen.all():
        raise _damaged(bucket, f"{rows} rows, {count} are needed, each position once")
    return columns


Chunk = tuple[NDArray[np.uint32], dict[str, NDArray[np.generic]]]


def _chunks(scattered: Sequence[Path], layout: RowLayout, bucket: int) -> Iterator[Chunk]:
    """What each `put` left in a bucket: places within it, and the columns."""
    for path in (bucket_path(folder, bucket) for folder in scattered):
        data = path.read_bytes() if path.is_file() else b""
        at = 0

        def take(dtype: np.dtype[np.generic], *shape: int, data: bytes = data) -> NDArray[np.generic]:
            nonlocal at
            if at + dtype.itemsize * math.prod(shape) > len(data):
                raise _damaged(bucket, "a piece that breaks off")
            array = np.frombuffer(data, dtype, math.prod(shape), at).reshape(shape)
            at += array.nbytes
            return array

        while at < len(data):
            count = int(take(np.dtype(np.int64), 1)[0])
            place = take(np.dtype(np.uint32), count)
            yield place, {name: take(dtype, count, *shape) for name, (dtype, shape) in layout.files.items()}  # type: ignore[misc]


def _damaged(bucket: int, what: str) -> KitError:
    return KitError(
        f"bucket {bucket} holds {what}; the work folder is damaged: remove it and give the same command again"
    )


class SplitWriter:
    """Writes one split's final files from rows that come in one stream.

    Parameters
    ----------
    folder : Path
        Made here; its parent also holds the buckets until :meth:`finish`.
    rows : int
    numerical : tuple of str
    features : tuple of CategoricalFeature
    bucket_bytes : int
        See :class:`RowLayout`.
    """

    def __init__(
        self,
        folder: Path,
        rows: int,
        numerical: tuple[str, ...],
        features: tuple[CategoricalFeature, ...],
        bucket_bytes: int = BUCKET_BYTES,
    ) -> None:
        self._folder = folder
        self._layout = RowLayout(rows, numerical, features, bucket_bytes)
        self._buckets = folder.with_name(f".{folder.name}.buckets")
        self._scatter = Scatter(self._buckets, self._layout)
        self.put = self._scatter.put

    def finish(self) -> dict[str, str]:
        """Give every file its final name, take the buckets away, and return each file's SHA-256."""
        digests = gather([self._buckets], self._layout, self._folder)
        for path in self._buckets.iterdir():
            path.unlink()
        self._buckets.rmdir()
        return digests
