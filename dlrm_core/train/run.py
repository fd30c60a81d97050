"""The commands `train` and `evaluate`: a configuration and a data set in, a RUN folder with its record out."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from dlrm_core.data import Part, TrainingParts, open_part, open_training_parts
from dlrm_core.model.dlrm import Dlrm
from dlrm_core.schema.config import TrainConfig
from dlrm_core.schema.dataset import DatasetSpec, read_dataset
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_file
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import Metric, Recorder, RunRecord, Series, read_record, recording, write_record
from dlrm_core.train.checkpoint import build_model, load_model, save_model
from dlrm_core.train.evaluate import check_same_vocabulary, curves, measure, predict, save_predictions
from dlrm_core.train.loop import Fit, History, Listener, TrainEvent
from dlrm_core.train.shards import Shards


def unheard(event: TrainEvent) -> None:
    """Listen to nothing."""


def train(
    *,
    data: Path,
    out: Path,
    config: TrainConfig,
    preset: str,
    overrides: Sequence[str] = (),
    listener: Listener = unheard,
) -> RunRecord:
    """Train a model on DATA and leave it in RUN: weights, `dataset.json`, `run.json`.

    Parameters
    ----------
    data, out : Path
        DATA and RUN folders.
    config : TrainConfig
        Complete configuration; `preset` and `overrides` say, for the record, where it came from.
    listener : callable (TrainEvent)
        Called every `log_every` steps and after each evaluation.

    Raises
    ------
    KitError
        If DATA is damaged or has no training rows, RUN cannot be written, or training diverges.
    """
    spec = read_dataset(data)
    parts = open_training_parts(data)
    if not len(parts.fit):
        raise KitError(f"{data}: its training part has no rows; prepare the data set with files for it")
    sets = "".join(f" --set {override}" for override in overrides)
    with recording(
        out,
        "train",
        name=_name(preset, config.seed, overrides),
        repeat=f"dlrm train --data DATA --out RUN --preset {preset}{sets}",
        config={"preset": preset, "train": config.model_dump(mode="json")},
        choices=_choices(parts),
        dataset_digest=spec.digest,
        seeds={"model": config.seed},
    ) as recorder:
        with Shards(deterministic=config.deterministic) as shards:
            model, metrics, series = _fit_and_choose(config, spec, parts, shards, listener, recorder)
        outputs = save_model(model, spec, out)
        shutil.copyfile(data / "dataset.json", out / "dataset.json")
        recorder.update(outputs=outputs, metrics=metrics, series=series)
    return recorder.record


def evaluate(*, run: Path, data: Path, split: str = "test", progress: Progress = silent) -> RunRecord:
    """Score a split of DATA with the model of RUN; replace that split's metrics and curves in RUN/run.json.

    Raises
    ------
    KitError
        If RUN did not finish, DATA has another vocabulary, the split is empty or has one class only, or a prediction is
        not finite. The reason is added to RUN/run.json as `failed`.
    """
    record = read_record(run)
    if record.command != "train" or record.status != "finished":
        raise KitError(f"{run}: its record says {record.command} {record.status}; a finished training run is needed")
    config = TrainConfig.from_dict(record.config["train"], source=str(run / "run.json"))
    trained_on = DatasetSpec.from_json((run / "dataset.json").read_bytes(), source=str(run / "dataset.json"))
    check_same_vocabulary(trained_on.vocabulary_digest, read_dataset(data).vocabulary_digest, data)
    part = open_part(data, split)
    model = load_model(run, config.model, trained_on)
    try:
        return _score(model, config, part, run, record, progress)
    except KitError as error:
        write_record(run, record.model_copy(update={"status": "failed", "reason": f"evaluate on {split}: {error}"}))
        raise


def _fit_and_choose(
    config: TrainConfig, spec: DatasetSpec, parts: TrainingParts, shards: Shards, listener: Listener, recorder: Recorder
) -> tuple[Dlrm, tuple[Metric, ...], tuple[Series, ...]]:
    model = build_model(config.model, spec, config.seed)
    fit = Fit(model, config, shards, listener, "train")
    steps = config.epochs * math.ceil(len(parts.fit) / config.batch_size)
    with recorder.timed("train"):
        fit.run(parts.fit, parts.stop, steps)
    chosen = fit.best.step if fit.best is not None else steps
    rule = "last step" if fit.best is None else f"{config.stopping.rule} on {parts.stop_rule}, step {chosen} of {steps}"
    metrics = _throughput(fit.history, len(parts.fit), config, recorder)
    if len(parts.stop):
        with recorder.timed("evaluate on validation"):
            logit_B = predict(model, parts.stop, config.test_batch_size, shards)
        metrics += measure(parts.stop.labels(), logit_B, "validation", rule)
    if config.stopping.refit:
        model = build_model(config.model, spec, config.seed)
        steps = max(1, round(chosen * len(parts.everything) / len(parts.fit)))
        rule = f"refit on all training rows for {steps} steps, chosen by {rule}"
        with recorder.timed("refit"):
            Fit(model, config, shards, listener, "refit").run(parts.everything, None, steps)
    recorder.update(choices=recorder.record.choices | {"selection": rule})
    return model, metrics, _series(fit.history)


def _score(model: Dlrm, config: TrainConfig, part: Part, run: Path, record: RunRecord, progress: Progress) -> RunRecord:
    with Shards(deterministic=config.deterministic) as shards:
        logit_B = predict(model, part, config.test_batch_size, shards, progress)
    label_B = part.labels()
    metrics = measure(label_B, logit_B, part.split, record.choices["selection"])
    path = save_predictions(run, part.split, label_B, logit_B)
    updated = record.replacing_split(part.split, metrics, curves(label_B, logit_B, part.split))
    updated = updated.model_copy(update={"outputs": record.outputs | {path.name: sha256_file(path)}})
    write_record(run, updated)
    return updated


def _name(preset: str, seed: int, overrides: Sequence[str]) -> str:
    others = "".join(f", {override}" for override in overrides if not override.startswith("seed="))
    return f"DLRM, preset {preset}{others}, seed {seed}"


def _choices(parts: TrainingParts) -> dict[str, str]:
    return {
        "stopping rows": parts.stop_rule,
        "interaction": "torch reference (bmm and gather); no other implementation is built yet",
        "table update": "torch index_add_ by row, in the order of occurrence",
    }


def _throughput(history: History, rows: int, config: TrainConfig, recorder: Recorder) -> tuple[Metric, ...]:
    seen = history.loss[-1][0] * config.batch_size
    seconds = recorder.record.timings_s["train"]
    selection = f"{min(seen, rows * config.epochs)} rows over the wall time of training, evaluations included"
    return (
        Metric(
            name="throughput",
            value=min(seen, rows * config.epochs) / seconds,
            unit="rows/s",
            split="train",
            selection=selection,
        ),
    )


def _series(history: History) -> tuple[Series, ...]:
    named = (
        ("training_loss", "train", "log loss [nat]", history.loss),
        ("learning_rate", "train", "learning rate of the MLPs", history.learning_rate),
        ("auc_by_step", "validation", "ROC AUC", history.auc),
        ("log_loss_by_step", "validation", "log loss [nat]", history.log_loss),
    )
    return tuple(
        Series(
            name=name,
            split=split,
            x_label="step",
            y_label=label,
            x=tuple(float(x) for x, _ in points),
            y=tuple(y for _, y in points),
        )
        for name, split, label, points in named
        if points
    )
