"""The columns of a split as numpy reads them."""

from pathlib import Path

import numpy as np

from dlrm_core.schema.dataset import read_dataset
from tests.train.builders import NUM_NUMERICAL


def on_disk(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numericals, ids and labels."""
    spec = read_dataset(folder)
    numerical = np.fromfile(folder / split / "numerical.bin", np.float16).reshape(-1, NUM_NUMERICAL)
    ids = [np.fromfile(folder / split / f.file, f.dtype) for f in spec.categorical]
    return numerical, np.stack(ids, axis=1), np.fromfile(folder / split / "label.bin", np.uint8)
