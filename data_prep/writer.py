"""Split-binary files: one folder a split, one file a column; rounding, shuffle and digests live here and nowhere else.

Layout of NVIDIA's split format (``preproc/split_dataset.py``), with HEAD's recorded widths: ``label.bin`` bool,
``numerical.bin`` float16 row-major, ``cat_i.bin`` the narrowest of int8, int16 and int32.
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlrm_core.schema.dataset import CategoricalFeature
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_file


class SplitWriter:
    """Writes rows of one split to their final positions, under temporary names until :meth:`finish`."""

    def __init__(
        self, folder: Path, rows: int, numerical: tuple[str, ...], features: tuple[CategoricalFeature, ...]
    ) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._numerical = numerical
        self._features = features
        self._arrays: dict[str, NDArray[np.generic]] = {
            "label.bin": self._map("label.bin", np.bool_, (rows,)),
            "numerical.bin": self._map("numerical.bin", np.float16, (rows, len(numerical))),
        }
        for feature in features:
            self._arrays[feature.file] = self._map(feature.file, np.dtype(feature.dtype), (rows,))

    def _map(self, name: str, dtype: type | np.dtype[np.generic], shape: tuple[int, ...]) -> NDArray[np.generic]:
        part = self._folder / f"{name}.part"
        if 0 in shape:
            part.touch()
            return np.empty(shape, dtype)
        return np.memmap(part, dtype=dtype, mode="w+", shape=shape)

    def put(
        self,
        positions: NDArray[np.int64],
        label_B: NDArray[np.int8],
        numerical_BN: NDArray[np.float64],
        ids: dict[str, NDArray[np.int32]],
    ) -> None:
        """Store a block of rows at `positions` (shape (B,)); `ids` holds one int32 array a feature name.

        Raises
        ------
        KitError
            If a number is too large for float16.
        """
        self._arrays["label.bin"][positions] = label_B.astype(np.bool_)
        self._arrays["numerical.bin"][positions] = self._rounded(numerical_BN)
        for feature in self._features:
            self._arrays[feature.file][positions] = ids[feature.name].astype(feature.dtype)

    def _rounded(self, numerical_BN: NDArray[np.float64]) -> NDArray[np.float16]:
        with np.errstate(over="ignore"):
            rounded = numerical_BN.astype(np.float16)
        wrong = np.argwhere(~np.isfinite(rounded))
        if len(wrong):
            row, column = wrong[0]
            raise KitError(
                f"{self._folder.name}: column {self._numerical[column]} holds {numerical_BN[row, column]:g} after its "
                f"transform, float16 ends at {np.finfo(np.float16).max:g}; choose a logarithmic numerical_transform"
            )
        return rounded

    def finish(self) -> dict[str, str]:
        """Flush, give every file its final name, and return each one's SHA-256."""
        digests = {}
        for name, array in self._arrays.items():
            if isinstance(array, np.memmap):
                array.flush()
            final = self._folder / name
            os.replace(self._folder / f"{name}.part", final)
            digests[name] = sha256_file(final)
        self._arrays = {}
        return digests


def shuffled_positions(rows: int, holdback_rows: int, seed: int) -> NDArray[np.int64]:
    """Final position of each input row: a seeded permutation of the first rows, another of the held-back tail.

    The tail stays behind the rest, so that a stopping rule can look at the last rows of the input without any record of
    single rows.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    head = rows - holdback_rows
    return np.concatenate([generator.permutation(head), head + generator.permutation(holdback_rows)]).astype(np.int64)
