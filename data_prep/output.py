"""What `prepare` and `import` do alike with the DATA folder and its record."""

import re
from pathlib import Path
from typing import Any

from dlrm_core.schema.dataset import SPLITS, DatasetSpec
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_bytes
from dlrm_core.schema.record import Metric

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
