"""The test predictions that a model left beside its record."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_file
from reports.read.collect import Entry

FILE = "predictions_test.safetensors"


@dataclass(frozen=True)
class Predictions:
    """Labels, bool (B,), and logits, float32 (B,), of the test rows in the order on disk."""

    label_B: NDArray[np.bool_]
    logit_B: NDArray[np.float32]


def read_predictions(entry: Entry) -> Predictions:
    """Read a run's test predictions and check them against the record.

    Raises
    ------
    KitError
        If the file is missing, damaged, not the one that the record names by its SHA-256, or has other tensors.
    """
    path = entry.path / FILE
    if not path.is_file():
        raise KitError(f"{FILE} is missing; score the model again")
    recorded = entry.record.outputs.get(FILE)
    if recorded is not None and sha256_file(path) != recorded:
        raise KitError(f"{FILE} is not the file that the record names by its SHA-256; score the model again")
    try:
        tensors = load_file(path)
        label_B, logit_B = tensors["label"], tensors["logit"]
    except (OSError, SafetensorError, KeyError) as error:
        raise KitError(f"{FILE} is damaged ({type(error).__name__}); score the model again") from None
    if label_B.dtype != np.uint8 or logit_B.dtype != np.float32 or not set(np.unique(label_B)) <= {0, 1}:
        raise KitError(
            f"{FILE} holds {label_B.dtype} labels and {logit_B.dtype} logits; uint8 0 or 1, and float32, are needed"
        )
    return Predictions(label_B.astype(np.bool_), logit_B)
