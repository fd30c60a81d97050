"""What `prepare` and `import` do alike with the DATA folder and its record."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.writer import LABEL
from dlrm_core.schema.dataset import SPLITS, DatasetSpec
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_bytes
from dlrm_core.schema.record import Metric

BLOCK_ROWS = 1 << 20
_OURS = re.compile(r"(label|numerical|cat_\d+)\.bin(\.part)?")


def refuse_strangers(out: Path) -> None:
    """The folders of the splits are replaced whole: nothing but our own files may lie there.

    Raises
    ------
    KitError
        If something else does.
    """
    for folder in (out / name for name in SPLITS):
        if folder.exists() and not folder.is_dir():
            raise KitError(f"{folder}: is a file, where the {folder.name} part goes; name another --out")
        for path in folder.iterdir() if folder.is_dir() else ():
            if not _OURS.fullmatch(path.name):
                raise KitError(f"{path}: is not of a prepared data set, whose folder is replaced; name another --out")


def warn_of_one_class(folder: Path, split: str) -> dict[str, str]:
    """Warn if every row of a split's `label.bin` has one label; give the warning by a name for the record, else nothing."""
    labels = np.fromfile(folder / LABEL, np.bool_, 1)
    with (folder / LABEL).open("rb") as handle:
        while (block := np.fromfile(handle, np.bool_, BLOCK_ROWS)).size:
            if (block != labels[0]).any():
                return {}
    if not labels.size:
        return {}
    said = f"every row has the label {int(labels[0])}: AUC is undefined on them; name other files"
    warnings.warn(f"the {split} part: {said}", stacklevel=2)
    return {f"warning of the {split} part": said}


def outcome(spec: DatasetSpec) -> dict[str, Any]:
    """Fields of the record of a data set that was made: rows a split, digests."""
    return {
        "metrics": tuple(
            Metric(name="rows", value=split.rows, unit="rows", split=name, selection="all rows given")
            for name, split in spec.splits.items()
        ),
        "dataset_digest": spec.digest,
        "outputs": {"dataset.json": sha256_bytes(spec.to_json().encode())},
    }
