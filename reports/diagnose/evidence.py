"""What a run of a model left behind, as a diagnosis looks at it: configuration by key, scores, curves and predictions."""

import math
import re
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

from dlrm_core.schema.record import RunRecord
from reports.compare.runs import leaves
from reports.read.collect import Entry
from reports.read.predictions import FILE, Predictions, read_predictions
from reports.stats.statistics import CONFIDENCE, auc_interval

CONSTANT_LOGITS = 1e-6  # standard deviation; float32 tells logits near 1 apart from 1.2e-7 on


@dataclass(frozen=True)
class Evidence:
    """A run; `rows` are those of its training part, None if no dataset.json was found."""

    entry: Entry
    rows: int | None = None

    @property
    def record(self) -> RunRecord:
        """The run's record."""
        return self.entry.record

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration by dotted path."""
        return leaves(self.record.config)

    def number(self, key: str) -> float | None:
        """A number of the training configuration; None where the record has none under `key`."""
        value = self.config.get(f"train.{key}")
        return float(value) if isinstance(value, int | float) else None

    @cached_property
    def split(self) -> str:
        """The part whose scores are judged: test, or else what training looked at."""
        return "test" if self.record.metric("auc", "test") is not None else "validation"

    def value(self, name: str) -> float | None:
        """A metric of that part."""
        metric = self.record.metric(name, self.split)
        return None if metric is None else metric.value

    @cached_property
    def predictions(self) -> Predictions | None:
        """The test predictions; None where there is no file of them. KitError if it is damaged."""
        there = self.split == "test" and (self.entry.path / FILE).is_file()
        return read_predictions(self.entry) if there else None

    @cached_property
    def training_loss(self) -> tuple[float, ...]:
        """Mean training loss since the last look, by step."""
        return next((series.y for series in self.record.series if series.name == "training_loss"), ())

    @cached_property
    def steps(self) -> int | None:
        """Steps that the training took, or was to take where a stopping rule ended it early."""
        taken = next(
            (series.x[-1] for series in self.record.series if series.name == "training_loss" and series.x), None
        )
        planned = re.search(r"step \d+ of (\d+)", self.record.choices.get("selection", ""))
        return None if taken is None else max(int(taken), int(planned[1]) if planned else 0)

    @cached_property
    def auc_interval(self) -> tuple[float, float, float] | None:
        """AUC and its 95 % interval.

        DeLong's where there are predictions; else as wide as an AUC of 0.5 would have it, with the variance of Mann and
        Whitney (Annals of Mathematical Statistics 18 (1947) 50-60), (m + n + 1) / (12 m n).
        """
        auc, rate, rows = self.value("auc"), self.value("click_rate"), self.value("rows")
        if self.predictions is not None:
            found = auc_interval(self.predictions)
            return found.value, found.low, found.high
        if auc is None or rate is None or not rows or not 0 < rate < 1:
            return None
        error = math.sqrt((rows + 1) / (12 * rows * rate * rows * (1 - rate)))
        reach = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) * error
        return auc, auc - reach, auc + reach

    @cached_property
    def is_constant(self) -> bool:
        """Whether every row has the same score; without predictions, an AUC of exactly 0.5 tells, which is that of ties."""
        if self.predictions is not None:
            return float(self.predictions.logit_B.std(dtype=float)) < CONSTANT_LOGITS
        return self.value("auc") == 0.5

    @cached_property
    def beats_chance(self) -> bool:
        """Whether the whole interval of the AUC lies above 0.5; True where there is no AUC."""
        return self.auc_interval is None or self.auc_interval[1] > 0.5

    @cached_property
    def constant_log_loss(self) -> float | None:
        """Log loss, in nats, of the click rate as the score of every row: its entropy."""
        rate = self.value("click_rate")
        if rate is None or not 0 < rate < 1:
            return None
        return -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
