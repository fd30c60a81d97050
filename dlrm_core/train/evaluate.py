"""Predictions of a model for a part of the data, and the metrics and curves of a record."""

from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from dlrm_core.data import Batch, Part, ahead
from dlrm_core.metrics import calibration_curve, click_probability, log_loss, roc_auc, roc_curve
from dlrm_core.model.dlrm import Dlrm
from dlrm_core.schema.dataset import DatasetSpec
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import Metric, RunRecord, Series
from dlrm_core.train.shards import Shards

# What an evaluation adds to a record.
MEASURED = ("auc", "log_loss", "mean_prediction", "click_rate", "rows")
CURVES = ("roc", "calibration")
AHEAD = 2  # batches


@torch.inference_mode()
def predict(
    model: Dlrm, part: Part, batch_size: int, shards: Shards, progress: Progress = silent
) -> NDArray[np.float32]:
    """Logits of every row of `part`, float32 of shape (rows,), in the order on disk."""
    pieces = []
    done = 0
    if model.fused is not None:
        model.fused.refresh()
    with closing(ahead(part.batches(batch_size), AHEAD)) as batches:
        for batch in batches:
            pieces.append(predict_batch(model, batch, shards))
            done += len(batch)
            progress(f"evaluate on {part.split}", done, len(part))
    return torch.cat(pieces).numpy()


def predict_batch(model: Dlrm, batch: Batch, shards: Shards) -> torch.Tensor:
    """Logits of one batch, float32 of shape (B,); a fused model must have taken over its weights."""

    def shard(start: int, stop: int) -> torch.Tensor:
        with torch.inference_mode():
            return model.logits(batch.numerical_BN[start:stop], batch.ids_BT[start:stop])

    return torch.cat(shards.map(shard, len(batch)))


def measure(
    label_B: NDArray[np.bool_], logit_B: NDArray[np.floating], split: str, selection: str
) -> tuple[Metric, ...]:
    """AUC, log loss and the plain counts of one split.

    Raises
    ------
    KitError
        If a prediction is not finite or the split has rows of one class only.
    """
    values = {
        "auc": (roc_auc(label_B, logit_B), "1"),
        "log_loss": (log_loss(label_B, logit_B), "nat"),
        "mean_prediction": (float(click_probability(logit_B).mean()), "clicks per row"),
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


def without_scores(record: RunRecord, split: str) -> RunRecord:
    """A copy of `record` without what an evaluation of `split` adds; what training measured on the same rows stays."""
    return record.model_copy(
        update={
            "metrics": tuple(m for m in record.metrics if m.split != split or m.name not in MEASURED),
            "series": tuple(s for s in record.series if s.split != split or s.name not in CURVES),
            "outputs": {name: digest for name, digest in record.outputs.items() if name != predictions_file(split)},
            "choices": {name: choice for name, choice in record.choices.items() if name != scored_choice(split)},
        }
    )


def scored_choice(split: str) -> str:
    """Name of the record's choice that tells which data set the scores of `split` belong to."""
    return f"scored on {split}"


def predictions_file(split: str) -> str:
    """Name of the file of a split's predictions."""
    return f"predictions_{split}.safetensors"


def save_predictions(folder: Path, split: str, label_B: NDArray[np.bool_], logit_B: NDArray[np.floating]) -> Path:
    """Write predictions_SPLIT.safetensors with `logit` float32 and `label` uint8, both (rows,), in the order on disk."""
    path = folder / predictions_file(split)
    part = path.with_suffix(".part")
    save_file({"logit": logit_B.astype(np.float32), "label": label_B.astype(np.uint8)}, part)
    part.replace(path)
    return path


def check_same_encoding(trained_on: DatasetSpec, spec: DatasetSpec, data: Path) -> None:
    """Refuse to score rows whose ids or numbers mean something else than those that the run was trained on.

    Raises
    ------
    KitError
        If the vocabulary, the features or the transform of the numericals differ.
    """
    pairs = {
        "vocabulary": (trained_on.vocabulary_digest, spec.vocabulary_digest),
        "categorical features": (tuple(trained_on.cardinalities.items()), tuple(spec.cardinalities.items())),
        "numerical features": (trained_on.numerical, spec.numerical),
        "numerical transform": (
            trained_on.preparation.numerical_transform,
            spec.preparation.numerical_transform,
        ),
    }
    for what, (needed, found) in pairs.items():
        if needed != found:
            raise KitError(
                f"{data}: its {what} differs from what the run was trained with; prepare it as the run's data set was, "
                "or name that one"
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
