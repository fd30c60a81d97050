"""The scores of a sweep as they come in, and what its record says of them."""

import statistics
from collections.abc import Sequence
from typing import Any

from dlrm_core.schema.record import Metric, RunRecord, Series

BAND = 2.0  # standard deviations of the reference's seeds within which another mode's mean must lie
SCORES = {"auc": ("1", "ROC AUC"), "log_loss": ("nat", "log loss [nat]")}  # unit and label
FAILED = "failed: "  # how the choice begins that says why a run has no scores


class Tally:
    """Collects test scores by mode and seed; the first of `modes` is the reference."""

    def __init__(self, modes: Sequence[str]) -> None:
        self._reference = modes[0]
        self._scores: dict[str, dict[str, dict[int, float]]] = {name: {mode: {} for mode in modes} for name in SCORES}
        self._seconds: dict[str, list[float]] = {mode: [] for mode in modes}
        self._choices: dict[str, str] = {}
        self._failures: dict[str, str] = {}

    def add(self, mode: str, seed: int, record: RunRecord) -> None:
        """Take the scores of a run that was evaluated on the test part."""
        for name in SCORES:
            metric = record.metric(name, "test")
            assert metric is not None, "the run has been evaluated"
            self._scores[name][mode][seed] = metric.value
        self._seconds[mode].append(record.timings_s["total"])
        self._choices |= {f"{mode}: {key}": word for key, word in record.choices.items()}

    def add_failure(self, mode: str, seed: int, reason: str) -> None:
        """Take down why a run has no scores."""
        self._failures[f"{FAILED}{mode}, seed {seed}"] = reason

    def fields(self, to_do: Sequence[str]) -> dict[str, Any]:
        """Metrics, series and choices of the record, `to_do` being the names of the runs that are still to come."""
        missing = {"still to do": ", ".join(to_do)} if to_do else {}
        return {
            "metrics": (
                *self._counts(to_do),
                *(metric for name in SCORES for metric in self._metrics(name)),
                *self._times(),
            ),
            "series": self._series(),
            "choices": self._choices | self._failures | missing,
        }

    def _counts(self, to_do: Sequence[str]) -> tuple[Metric, ...]:
        done, failed = sum(map(len, self._scores["auc"].values())), len(self._failures)
        words = f"of {done + failed + len(to_do)} runs"
        counts = {"finished runs": done, "failed runs": failed}
        return tuple(Metric(name=n, value=v, unit="runs", split="test", selection=words) for n, v in counts.items())

    def _times(self) -> list[Metric]:
        """Seconds that a training took, its looks at held-back rows included."""
        found = []
        for mode, seconds in self._seconds.items():
            if seconds:
                words = f"median of {_seeds(seconds)}, {min(seconds):.1f} to {max(seconds):.1f}"
                value = statistics.median(seconds)
                found.append(
                    Metric(name=f"time_to_train, {mode}", value=value, unit="s", split="train", selection=words)
                )
        return found

    def _metrics(self, name: str) -> list[Metric]:
        found, unit = [], SCORES[name][0]
        for mode, scores in self._scores[name].items():
            if not scores:
                continue
            mean, words = _mean_in_words(list(scores.values()))
            found.append(Metric(name=f"{name}, {mode}", value=mean, unit=unit, split="test", selection=words))
            away = self._away(name, mode)
            if away is not None:
                found.append(away)
        return found

    def _away(self, name: str, mode: str) -> Metric | None:
        """How far a mode lies from the reference; None for the reference itself and where its seeds have no spread."""
        reference, scores = self._scores[name][self._reference], self._scores[name][mode]
        common = [seed for seed in reference if seed in scores]
        spread = statistics.stdev(reference.values()) if len(reference) > 1 else 0.0
        if mode == self._reference or not common or not spread:
            return None
        away = statistics.mean(scores[seed] - reference[seed] for seed in common) / spread
        verdict = "within" if abs(away) <= BAND else "OUTSIDE"
        words = f"{verdict} the band of {BAND:g} standard deviations of {self._reference}, {spread:.6f} each; {_seeds(common)}"
        return Metric(name=f"{name}, {mode} away", value=away, unit="1", split="test", selection=words)

    def _series(self) -> tuple[Series, ...]:
        return tuple(
            Series(
                name=f"{name}, {mode}",
                split="test",
                x_label="seed",
                y_label=SCORES[name][1],
                x=tuple(float(seed) for seed in sorted(scores)),
                y=tuple(scores[seed] for seed in sorted(scores)),
            )
            for name, by_mode in self._scores.items()
            for mode, scores in by_mode.items()
            if scores
        )


def _mean_in_words(values: Sequence[float]) -> tuple[float, str]:
    words = f"mean of {_seeds(values)}, {min(values):.6f} to {max(values):.6f}"
    if len(values) > 1:
        words += f", standard deviation {statistics.stdev(values):.6f}"
    return statistics.mean(values), words


def _seeds(of: Sequence[object]) -> str:
    return f"{len(of)} seed{'' if len(of) == 1 else 's'}"
