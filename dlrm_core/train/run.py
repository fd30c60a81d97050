"""The commands `train` and `evaluate`: a configuration and a data set in, a RUN folder with its record out."""

import math
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from dlrm_core.data import Part, TrainingParts, keep_off_dataset, open_part, open_training_parts
from dlrm_core.model.dlrm import Dlrm
from dlrm_core.schema.config import SyntheticConfig, TrainConfig
from dlrm_core.schema.dataset import SPLITS, DatasetSpec
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_file
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import (
    Metric,
    Recorder,
    RunRecord,
    Series,
    read_record,
    recording,
    without_folders,
    write_record,
)
from dlrm_core.synthetic import synthetic_parts
from dlrm_core.train.checkpoint import MLPS, TABLES, build_model, check_weights, load_model, save_model
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
from dlrm_core.train.loop import Fit, History, Listener, TrainEvent
from dlrm_core.train.profiling import WARMUP, StepProfiler
from dlrm_core.train.shards import Shards

DESCRIPTION = "dataset.json"
FAILED_EVALUATION = "evaluate on "  # how the reason of a record begins whose training did finish


def unheard(event: TrainEvent) -> None:
    """Listen to nothing."""


def train(
    *,
    data: Path | SyntheticConfig,
    out: Path,
    config: TrainConfig,
    preset: str,
    overrides: Sequence[str] = (),
    listener: Listener = unheard,
    profile_steps: int = 0,
) -> RunRecord:
    """Train a model on DATA and leave it in RUN: weights, `dataset.json`, `run.json`.

    Parameters
    ----------
    data : Path or SyntheticConfig
        DATA, or rows that are made in memory as they are needed.
    out : Path
        RUN.
    config : TrainConfig
        Complete configuration; `preset` and `overrides` say, for the record, where it came from.
    listener : callable (TrainEvent)
        Called every `print_freq` steps and after each evaluation.
    profile_steps : int
        Steps to profile, after a warm-up; leaves RUN/profile with a trace and a table.

    Raises
    ------
    KitError
        If DATA is damaged, or has no training rows or none that the stopping rule could look at; if RUN cannot be written
        or is a prepared data set; if training diverges.
    """
    source = _Source(data)
    parts = source.parts(config.max_rows)
    _check_rows(source.name, parts, config)
    keep_off_dataset(out)
    preset = Path(preset).name  # a preset may be a file; whose folder it lies in is nobody's business
    words = ["--preset", preset, *(word for override in overrides for word in ("--set", override))]
    with recording(
        out,
        "train",
        name=_name(preset, config.seed, overrides),
        repeat=f"dlrm train {source.words} --out RUN {shlex.join(words)}",
        config={"preset": preset, "train": config.model_dump(mode="json")} | source.config,
        choices={"stopping rows": parts.stop_rule} | choose(config).choices,
        dataset_digest=parts.fit.spec.digest,
        seeds={"model": config.seed},
    ) as recorder:
        _clear(out)
        with Shards(deterministic=config.deterministic) as shards:
            profiler = StepProfiler(profile_steps) if profile_steps else None
            model, metrics, series = _fit_and_choose(config, parts, shards, listener, recorder, profiler)
        outputs = save_model(model, parts.fit.spec, out)
        (out / DESCRIPTION).write_text(parts.fit.spec.to_json(), encoding="utf-8")
        recorder.update(outputs=outputs, metrics=metrics, series=series)
    return recorder.record


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


def _check_rows(data: str, parts: TrainingParts, config: TrainConfig) -> None:
    if not len(parts.fit):
        raise KitError(f"{data}: its training part has no rows; prepare the data set with files for it")
    if config.auc_threshold is not None and not len(parts.stop):
        raise KitError(
            f"{data}: has no validation part and too few training rows to hold any back, auc_threshold "
            f"{config.auc_threshold} needs rows to look at; prepare the data set with --validation or leave it out"
        )
    if config.stopping.rule != "last" and not len(parts.stop):
        raise KitError(
            f"{data}: has no validation part and too few training rows to hold any back, stopping.rule "
            f"{config.stopping.rule} needs rows to look at; prepare the data set with --validation or with at least 10 "
            "training rows, or choose stopping.rule=last"
        )


def _clear(out: Path) -> None:
    """Remove what an earlier training and its evaluations left, so that the record never stands beside another model."""
    for name in (MLPS, TABLES, DESCRIPTION, *(predictions_file(split) for split in SPLITS)):
        (out / name).unlink(missing_ok=True)


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


def _fit_and_choose(
    config: TrainConfig,
    parts: TrainingParts,
    shards: Shards,
    listener: Listener,
    recorder: Recorder,
    profiler: StepProfiler | None,
) -> tuple[Dlrm, tuple[Metric, ...], tuple[Series, ...]]:
    spec = parts.fit.spec
    implementation = choose(config)
    model = build_model(config.model, spec, config.seed, implementation)
    fit = Fit(model, config, shards, listener, "train", profiler)
    steps = config.epochs * math.ceil(len(parts.fit) / config.batch_size)
    steps = min(steps, config.max_steps or steps)
    if profiler is not None and steps < WARMUP + profiler.steps:
        raise KitError(
            f"{profiler.steps} steps are to be profiled after {WARMUP} and the run has {steps}; profile fewer or train longer"
        )
    with recorder.timed("train"):
        fit.run(parts.fit, parts.stop, steps)
    trained = fit.history.loss[-1][0]
    chosen = fit.best.step if fit.best is not None else trained
    rule = "last step" if fit.best is None else f"{config.stopping.rule} on {parts.stop_rule}, step {chosen} of {steps}"
    if fit.reached is not None and fit.best is None:
        rule = (
            f"first evaluation with auc_threshold {config.auc_threshold} on {parts.stop_rule}, step {chosen} of {steps}"
        )
    metrics = _speed(fit, config, recorder)
    if profiler is not None:
        profiler.write(recorder.folder)
        metrics += profiler.metrics
    if len(parts.stop):
        with recorder.timed("evaluate on validation"):
            logit_B = predict(model, parts.stop, config.test_batch_size, shards)
        metrics += measure(parts.stop.labels(), logit_B, "validation", rule)
    if config.stopping.refit:
        model = build_model(config.model, spec, config.seed, implementation)
        steps = max(1, round(chosen * len(parts.everything) / len(parts.fit)))
        rule = f"refit on all training rows for {steps} steps, chosen by {rule}"
        with recorder.timed("refit"):
            again = config.model_copy(update={"benchmark_warmup_steps": 0})  # nothing is measured in it
            Fit(model, again, shards, listener, "refit").run(parts.everything, None, steps)
    recorder.update(choices=recorder.record.choices | {"selection": rule} | _threshold(config, fit))
    return model, metrics, _series(fit.history)


def _threshold(config: TrainConfig, fit: Fit) -> dict[str, str]:
    if config.auc_threshold is None:
        return {}
    if fit.reached is None:
        return {"auc_threshold": f"{config.auc_threshold} was not reached in {fit.history.loss[-1][0]} steps"}
    return {
        "auc_threshold": f"{config.auc_threshold} reached at step {fit.reached.step}, {fit.reached.seconds:.1f} s after the first"
    }


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


class _Source:
    """Where the rows come from, and how a record says it; a folder's name is nobody's business."""

    def __init__(self, data: Path | SyntheticConfig) -> None:
        self._data = data
        self.name = "synthetic data" if isinstance(data, SyntheticConfig) else str(data)
        self.words = f"--synthetic {data.words()}" if isinstance(data, SyntheticConfig) else "--data DATA"
        self.config = {"synthetic": data.model_dump(mode="json")} if isinstance(data, SyntheticConfig) else {}

    def parts(self, max_rows: int | None) -> TrainingParts:
        if isinstance(self._data, SyntheticConfig):
            return synthetic_parts(self._data, max_rows)
        return open_training_parts(self._data, max_rows)


def _name(preset: str, seed: int, overrides: Sequence[str]) -> str:
    others = "".join(f", {override}" for override in overrides if not override.startswith("seed="))
    return f"DLRM, preset {preset}{others}, seed {seed}"


def _speed(fit: Fit, config: TrainConfig, recorder: Recorder) -> tuple[Metric, ...]:
    """Rows a second with and without evaluations, and how long the steps waited for their batches."""
    seconds, speed = recorder.record.timings_s["train"], fit.speed
    warmup = f"; the first {config.benchmark_warmup_steps} steps left out" if config.benchmark_warmup_steps else ""
    every = f"{speed.all_rows} rows over the wall time of training, evaluations included"
    steps = f"{speed.rows} rows over the time of their steps, evaluations left out{warmup}"
    waited = "all steps of the training"
    found = [Metric(name="throughput", value=speed.all_rows / seconds, unit="rows/s", split="train", selection=every)]
    if speed.rows:  # a run may stop before its warm-up is over
        rate = speed.rows / speed.seconds
        found.append(Metric(name="step_throughput", value=rate, unit="rows/s", split="train", selection=steps))
    return (*found, Metric(name="loader_wait", value=speed.waited_s, unit="s", split="train", selection=waited))


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
