"""The command `bench precision`: AUC and log loss of every precision and mode over several seeds, beside float32's spread."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlrm_core.schema.config import TrainConfig
from dlrm_core.schema.files import make_output_folder
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import Metric, RunRecord, Series, recording
from dlrm_core.train.run import train
from dlrm_core.train.scoring import evaluate

REFERENCE = "fp32 deterministic"
MODES: dict[str, dict[str, Any]] = {
    REFERENCE: {"precision": "fp32", "deterministic": True},
    "fp32": {"precision": "fp32", "deterministic": False},
    "auto": {"precision": "auto", "deterministic": False},
    "bf16 deterministic": {"precision": "bf16", "deterministic": True},
    "bf16": {"precision": "bf16", "deterministic": False},
    "fp16 static": {"precision": "fp16", "deterministic": True},
    "fp16 dynamic": {
        "precision": "fp16",
        "deterministic": True,
        "loss_scale": {"kind": "dynamic", "value": 65536.0, "growth_interval": 2000},
    },
}
BAND = 2.0  # standard deviations of the reference's seeds within which another mode's mean must lie
SCORES = ("auc", "log_loss")


def bench_precision(
    *,
    data: Path,
    out: Path,
    config: TrainConfig,
    preset: str,
    seeds: Sequence[int],
    modes: Sequence[str] = tuple(MODES),
    progress: Progress = silent,
) -> RunRecord:
    """Train and score `config` on DATA in each mode with each seed; write OUT/run.json and a run folder each.

    The band is the mean of the reference, float32 in the deterministic mode, plus and minus two standard deviations of its
    seeds; of every other mode the record says how many of these its mean over the same seeds lies away.

    Raises
    ------
    ValueError
        If there are fewer than two seeds.
    KitError
        If a training fails.
    """
    if len(seeds) < 2:
        raise ValueError(f"{len(seeds)} seeds came; at least 2 are needed for a spread")
    modes = [REFERENCE, *(mode for mode in modes if mode != REFERENCE)]
    make_output_folder(out)
    repeat = (
        f"dlrm bench precision --data DATA --out DIR --preset {Path(preset).name} --seeds {' '.join(map(str, seeds))}"
    )
    settings = {"preset": Path(preset).name, "seeds": list(seeds), "modes": {mode: MODES[mode] for mode in modes}}
    with recording(out, "bench", name="bench precision", repeat=repeat, config=settings) as recorder:
        scores: dict[str, dict[str, list[float]]] = {}
        for number, mode in enumerate(modes):
            scores[mode] = {name: [] for name in SCORES}
            for place, seed in enumerate(seeds):
                run = out / mode.replace(" ", "-") / str(seed)
                record = _score(data, run, config, preset, MODES[mode] | {"seed": seed})
                for name in SCORES:
                    metric = record.metric(name, "test")
                    assert metric is not None, "an evaluation has just written it"
                    scores[mode][name].append(metric.value)
                recorder.update(
                    choices=recorder.record.choices | {f"{mode}: {key}": word for key, word in record.choices.items()},
                    dataset_digest=record.dataset_digest,
                )
                progress("bench precision", number * len(seeds) + place + 1, len(modes) * len(seeds))
        recorder.update(metrics=_metrics(scores), series=_series(scores, seeds))
    return recorder.record


def _score(data: Path, run: Path, config: TrainConfig, preset: str, changes: dict[str, Any]) -> RunRecord:
    changed = TrainConfig.from_dict(config.model_dump(mode="json") | changes, source="bench precision")
    train(data=data, out=run, config=changed, preset=preset)
    return evaluate(run=run, data=data)


def _metrics(scores: dict[str, dict[str, list[float]]]) -> tuple[Metric, ...]:
    found = []
    for name in SCORES:
        unit = "1" if name == "auc" else "nat"
        reference = scores[REFERENCE][name]
        middle, spread = statistics.mean(reference), statistics.stdev(reference)
        for mode, of_mode in scores.items():
            values = of_mode[name]
            low, high, mean = min(values), max(values), statistics.mean(values)
            words = f"mean of {len(values)} seeds, {low:.6f} to {high:.6f}, standard deviation {statistics.stdev(values):.6f}"
            found.append(Metric(name=f"{name}, {mode}", value=mean, unit=unit, split="test", selection=words))
            if mode == REFERENCE:
                continue
            away = (mean - middle) / spread
            verdict = "within" if abs(away) <= BAND else "OUTSIDE"
            words = f"{verdict} the band of {BAND:g} standard deviations of {REFERENCE}, {spread:.6f} each"
            found.append(Metric(name=f"{name}, {mode} away", value=away, unit="1", split="test", selection=words))
    return tuple(found)


def _series(scores: dict[str, dict[str, list[float]]], seeds: Sequence[int]) -> tuple[Series, ...]:
    return tuple(
        Series(
            name=f"{name}, {mode}",
            split="test",
            x_label="seed",
            y_label="ROC AUC" if name == "auc" else "log loss [nat]",
            x=tuple(float(seed) for seed in seeds),
            y=tuple(values[name]),
        )
        for mode, values in scores.items()
        for name in SCORES
    )
