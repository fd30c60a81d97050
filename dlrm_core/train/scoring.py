"""The command `evaluate`: the model of a RUN folder and a split of a data set in, scores and curves into its record."""

import time
from pathlib import Path

from dlrm_core.data import Part, open_part
from dlrm_core.model.dlrm import Dlrm
from dlrm_core.schema.config import TrainConfig
from dlrm_core.schema.dataset import DatasetSpec
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_file
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import RunRecord, read_record, without_folders, write_record
from dlrm_core.train.checkpoint import DESCRIPTION, MLPS, TABLES, check_weights, load_model
from dlrm_core.train.evaluate import (
    check_same_encoding,
    curves,
    measure,
    predict,
    predictions_file,
    save_predictions,
    scored_choice,
    without_scores,
)
from dlrm_core.train.implementation import choose
from dlrm_core.train.shards import Shards

FAILED_EVALUATION = "evaluate on "  # how the reason of a record begins whose training did finish


def evaluate(*, run: Path, data: Path, split: str = "test", progress: Progress = silent) -> RunRecord:
    """Score a split of DATA with the model of RUN; replace that split's scores and curves in RUN/run.json.

    Raises
    ------
    KitError
        If RUN holds no whole trained model, or DATA is encoded otherwise or has no rows in the split: RUN stays as it is.
        If a row is damaged, the split has one class only or a prediction is not finite: RUN/run.json then says `failed`
        with the reason and holds no scores of that split, until another evaluation succeeds.
    """
    start = time.perf_counter()
    record = read_record(run)
    _check_trained(run, record)
    config = TrainConfig.from_dict(record.config["train"], source=str(run / "run.json"))
    trained_on = _description_of(run)
    part = open_part(data, split)
    check_same_encoding(trained_on, part.spec, data)
    check_weights(run, record.outputs)
    model = load_model(run, config.model, trained_on, choose(config))
    unscored = without_scores(record, split)
    try:
        scored = _score(model, config, part, run, unscored, progress)
    except KitError as error:
        (run / predictions_file(split)).unlink(missing_ok=True)
        reason = f"{FAILED_EVALUATION}{split}: {without_folders(str(error))}"
        write_record(run, unscored.model_copy(update={"status": "failed", "reason": reason}))
        raise
    spent = round(time.perf_counter() - start, 3)
    scored = scored.model_copy(update={"timings_s": record.timings_s | {f"evaluate on {split}": spent}})
    write_record(run, scored)
    return scored


def _check_trained(run: Path, record: RunRecord) -> None:
    evaluation_failed = record.status == "failed" and (record.reason or "").startswith(FAILED_EVALUATION)
    trained = {MLPS, TABLES} <= set(record.outputs) and (record.status == "finished" or evaluation_failed)
    if record.command != "train" or not trained:
        raise KitError(f"{run}: its record says {record.command} {record.status}; a finished training run is needed")


def _description_of(run: Path) -> DatasetSpec:
    path = run / DESCRIPTION
    if not path.is_file():
        raise KitError(f"{path}: is missing; copy it from the data set that the run was trained on, or train it again")
    return DatasetSpec.from_json(path.read_bytes(), source=str(path))


def _score(model: Dlrm, config: TrainConfig, part: Part, run: Path, record: RunRecord, progress: Progress) -> RunRecord:
    with Shards(deterministic=config.deterministic) as shards:
        logit_B = predict(model, part, config.test_batch_size, shards, progress)
    label_B = part.labels()
    metrics = measure(label_B, logit_B, part.split, record.choices["selection"])
    path = save_predictions(run, part.split, label_B, logit_B)
    return record.model_copy(
        update={
            "status": "finished",
            "reason": None,
            "metrics": record.metrics + metrics,
            "series": record.series + curves(label_B, logit_B, part.split),
            "outputs": record.outputs | {path.name: sha256_file(path)},
            "choices": record.choices | {scored_choice(part.split): f"data set {part.spec.digest}"},
        }
    )
