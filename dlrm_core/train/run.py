"""The command `train`: a configuration and a data set in, a RUN folder with its record out."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrm_core.data import TrainingParts, keep_off_dataset, open_training_parts
from dlrm_core.metrics import count_classes
from dlrm_core.model.dlrm import Dlrm
from dlrm_core.schema.config import SyntheticConfig, TrainConfig
from dlrm_core.schema.dataset import SPLITS
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import Metric, Recorder, RunRecord, Series, recording
from dlrm_core.synthetic import synthetic_parts
from dlrm_core.train.checkpoint import DESCRIPTION, MLPS, TABLES, build_model, save_model
from dlrm_core.train.evaluate import measure, predict, predictions_file
from dlrm_core.train.implementation import Implementation, check_model, choose
from dlrm_core.train.loop import Fit, History, Listener, TrainEvent
from dlrm_core.train.profiling import TABLE as PROFILE_TABLE
from dlrm_core.train.profiling import TRACE, WARMUP, StepProfiler
from dlrm_core.train.shards import Shards

PROFILE = (TRACE, PROFILE_TABLE)


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
    check_model(config.model, parts.fit.spec)
    implementation = choose(config)
    preset = Path(preset).name  # a preset may be a file; whose folder it lies in is nobody's business
    words = ["--preset", preset, *(word for override in overrides for word in ("--set", override))]
    words += ["--profile", str(profile_steps)] if profile_steps else []
    with recording(
        out,
        "train",
        name=_name(preset, config.seed, overrides),
        repeat=f"dlrm train {source.words} --out RUN {shlex.join(words)}",
        config={"preset": preset, "train": config.model_dump(mode="json")} | source.config,
        choices={"stopping rows": parts.stop_rule} | implementation.choices,
        dataset_digest=parts.fit.spec.digest,
        seeds={"model": config.seed},
    ) as recorder:
        _clear(out)
        with Shards(deterministic=config.deterministic) as shards:
            training = _Training(config, parts, implementation, shards, listener, recorder)
            model, metrics, series = training.run(StepProfiler(profile_steps) if profile_steps else None)
        outputs = save_model(model, parts.fit.spec, out)
        (out / DESCRIPTION).write_text(parts.fit.spec.to_json(), encoding="utf-8")
        recorder.update(outputs=outputs, metrics=metrics, series=series)
    return recorder.record


def _check_rows(data: str, parts: TrainingParts, config: TrainConfig) -> None:
    if not len(parts.fit):
        raise KitError(f"{data}: its training part has no rows; prepare the data set with files for it")
    if config.auc_threshold is not None and not len(parts.stop):
        raise KitError(
            f"{data}: has no validation part and holds no training rows back, auc_threshold {config.auc_threshold} needs rows "
            "to look at; prepare the data set with --validation or leave it out"
        )
    if config.stopping.rule != "last" and not len(parts.stop):
        raise KitError(
            f"{data}: has no validation part and holds no training rows back, stopping.rule {config.stopping.rule} needs rows "
            "to look at; prepare the data set with --validation or with at least 10 training rows, or choose "
            "stopping.rule=last"
        )


def _clear(out: Path) -> None:
    """Remove what an earlier training and its evaluations left, so that the record never stands beside another model."""
    for name in (MLPS, TABLES, DESCRIPTION, *PROFILE, *(predictions_file(split) for split in SPLITS)):
        (out / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Training:
    """What a training needs, in one hand."""

    config: TrainConfig
    parts: TrainingParts
    implementation: Implementation
    shards: Shards
    listener: Listener
    recorder: Recorder

    def run(self, profiler: StepProfiler | None) -> tuple[Dlrm, tuple[Metric, ...], tuple[Series, ...]]:
        """The chosen model, the metrics and the curves of its training."""
        config, parts = self.config, self.parts
        steps = self._capped(config.epochs * math.ceil(len(parts.fit) / config.batch_size))
        if profiler is not None and steps < WARMUP + profiler.steps:
            raise KitError(
                f"{profiler.steps} steps are to be profiled after {WARMUP} and the run has {steps}; profile fewer or train longer"
            )
        if len(parts.stop):
            count_classes(parts.stop.labels())  # else the first evaluation would fail, after some of the training
        model = self._model()
        fit = Fit(model, config, self.shards, self.listener, "train", profiler)
        with self.recorder.timed("train"):
            fit.run(parts.fit, parts.stop, steps)
        chosen = fit.best.step if fit.best is not None else fit.history.loss[-1][0]
        rule = self._rule(fit, f"step {chosen} of {steps}")
        metrics = _speed(fit, config, self.recorder)
        if profiler is not None:
            profiler.write(self.recorder.folder)
            metrics += profiler.metrics
        if len(parts.stop):
            with self.recorder.timed("evaluate on validation"):
                logit_B = predict(model, parts.stop, config.test_batch_size, self.shards)
            metrics += measure(parts.stop.labels(), logit_B, "validation", rule)
        if config.stopping.refit:
            model, rule = self._refit(chosen, rule)
        self.recorder.update(choices=self.recorder.record.choices | {"selection": rule} | _threshold(config, fit))
        return model, metrics, _series(fit.history)

    def _model(self) -> Dlrm:
        return build_model(self.config.model, self.parts.fit.spec, self.config.seed, self.implementation)

    def _capped(self, steps: int) -> int:
        return min(steps, self.config.max_steps or steps)

    def _rule(self, fit: Fit, step: str) -> str:
        """By what rule the state of the model was chosen."""
        where = f"on {self.parts.stop_rule}, {step}"
        if fit.best is not None:
            return f"{self.config.stopping.rule} {where}"
        if fit.reached is not None:
            return f"first evaluation with auc_threshold {self.config.auc_threshold} {where}"
        return "last step"

    def _refit(self, chosen: int, rule: str) -> tuple[Dlrm, str]:
        """A model trained anew on all training rows for the epochs found best, as far as `max_steps` goes."""
        model = self._model()
        steps = self._capped(max(1, round(chosen * len(self.parts.everything) / len(self.parts.fit))))
        again = self.config.model_copy(update={"benchmark_warmup_steps": 0})  # nothing is measured in it
        with self.recorder.timed("refit"):
            Fit(model, again, self.shards, self.listener, "refit").run(self.parts.everything, None, steps)
        return model, f"refit on all training rows for {steps} steps, chosen by {rule}"


def _threshold(config: TrainConfig, fit: Fit) -> dict[str, str]:
    if config.auc_threshold is None:
        return {}
    if fit.reached is None:
        return {"auc_threshold": f"{config.auc_threshold} was not reached in {fit.history.loss[-1][0]} steps"}
    return {
        "auc_threshold": f"{config.auc_threshold} reached at step {fit.reached.step}, {fit.reached.seconds:.1f} s after the first"
    }


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
    found.append(Metric(name="loader_wait", value=speed.waited_s, unit="s", split="train", selection=waited))
    share = "of the wall time of training"
    found.append(
        Metric(name="loader_wait_share", value=speed.waited_s / seconds, unit="s/s", split="train", selection=share)
    )
    if fit.skipped_steps is not None:
        words = f"gradients overflowed at loss_scale.kind {config.loss_scale.kind}"
        found.append(
            Metric(name="skipped_steps", value=fit.skipped_steps, unit="steps", split="train", selection=words)
        )
    return tuple(found)


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
