"""Predictions of a model for a part of the data, and the metrics and curves of a record."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from dlrm_core.data import Part
from dlrm_core.metrics import calibration_curve, log_loss, roc_auc, roc_curve
from dlrm_core.model.dlrm import Dlrm
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import Metric, Series
from dlrm_core.train.shards import Shards


@torch.inference_mode()
def predict(
    model: Dlrm, part: Part, batch_size: int, shards: Shards, progress: Progress = silent
) -> NDArray[np.float32]:
    """Logits of every row of `part`, float32 of shape (rows,), in the order on disk."""
    pieces = []
    done = 0
    for batch in part.batches(batch_size):
        rows_BT = model.rows(batch.ids_BT)

        def shard(start: int, stop: int, batch=batch, rows_BT=rows_BT) -> torch.Tensor:  # type: ignore[no-untyped-def]
            with torch.inference_mode():
                return model(batch.numerical_BN[start:stop], model.gather(rows_BT[start:stop]))

        pieces += shards.map(shard, len(batch))
        done += len(batch)
        progress(f"evaluate on {part.split}", done, len(part))
    return torch.cat(pieces).numpy()


def measure(
    label_B: NDArray[np.bool_], logit_B: NDArray[np.floating], split: str, selection: str
) -> tuple[Metric, ...]:
    """AUC, log loss and the plain counts of one split.

    Raises
    ------
    KitError
        If a prediction is not finite or the split has rows of one class only.
    """
    probability = 1.0 / (1.0 + np.exp(-logit_B.astype(np.float64)))
    values = {
        "auc": (roc_auc(label_B, logit_B), "1"),
        "log_loss": (log_loss(label_B, logit_B), "nat"),
        "mean_prediction": (float(probability.mean()), "clicks per row"),
        "click_rate": (float(label_B.mean()), "clicks per row"),
        "rows": (float(len(label_B)), "rows"),
    }
    return tuple(Metric(name=n, value=v, unit=u, split=split, selection=selection) for n, (v, u) in values.items())


def curves(label_B: NDArray[np.bool_], logit_B: NDArray[np.floating], split: str) -> tuple[Series, ...]:
    """ROC and calibration curves of one split, as aggregates."""
    fpr, tpr = roc_curve(label_B, logit_B)
    predicted, observed, _ = calibration_curve(label_B, logit_B)
    return (
        _series("roc", split, "false positive rate", "true positive rate", fpr, tpr),
        _series("calibration", split, "mean predicted probability", "observed click rate", predicted, observed),
    )


def save_predictions(folder: Path, split: str, label_B: NDArray[np.bool_], logit_B: NDArray[np.floating]) -> Path:
    """Write predictions_SPLIT.safetensors with `logit` float32 and `label` uint8, both (rows,), in the order on disk."""
    path = folder / f"predictions_{split}.safetensors"
    part = path.with_suffix(".part")
    save_file({"logit": logit_B.astype(np.float32), "label": label_B.astype(np.uint8)}, part)
    part.replace(path)
    return path


def check_same_vocabulary(run_digest: str, data_digest: str, data: Path) -> None:
    """Refuse to score rows whose ids were made with another vocabulary.

    Raises
    ------
    KitError
        If the digests differ.
    """
    if run_digest != data_digest:
        raise KitError(
            f"{data}: its vocabulary is not the one that the run was trained with; name the data set of the run"
        )


def _series(
    name: str, split: str, x_label: str, y_label: str, x: NDArray[np.float64], y: NDArray[np.float64]
) -> Series:
    return Series(
        name=name,
        split=split,
        x_label=x_label,
        y_label=y_label,
        x=tuple(float(v) for v in x),
        y=tuple(float(v) for v in y),
    )
