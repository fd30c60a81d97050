"""A published number beside ours: what may be compared, within which tolerance, and what came of it.

REPRODUCED, WITHIN NOISE and NOT REPRODUCED need a run record of ours that agrees with the number in all that it depends on:
of a score the data, the preparation, the batch and the precision; of a speed the hardware, the model's size, the batch and the
precision. Everything else is NOT COMPARABLE, and the reasons are listed.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from scipy.stats import t

from dlrm_core.schema.published import PublishedFigure
from reports.html.markup import Html, slug, tag
from reports.published import figures
from reports.read.collect import Entry
from reports.read.grouping import Group
from reports.stats.comparable import SCORES, SPEEDS, Ours, candidates

Verdict = Literal["REPRODUCED", "WITHIN NOISE", "NOT REPRODUCED", "NOT COMPARABLE"]
VERDICTS: tuple[Verdict, ...] = ("REPRODUCED", "WITHIN NOISE", "NOT REPRODUCED", "NOT COMPARABLE")

RELATIVE = 0.06
RELATIVE_ORIGIN = (
    "6 %, rounded up from 5.8 %, the largest gap between the time to train that the README of June 2020 prints and what "
    "its own throughput gives for one epoch"
)
CONFIDENCE = 0.95
MIN_RUNS = 3


def mark(word: Verdict) -> Html:
    """A verdict: always words, the colour only helps."""
    return tag("strong", word, class_=f"verdict {slug(word)}")


@dataclass(frozen=True)
class Tolerance:
    """How far a value may lie from the published one, in its own unit, and where that figure comes from."""

    value: float
    origin: str


@dataclass(frozen=True)
class Judgement:
    """The verdict on a published number. `interval` is the 95 % one of our mean, in the number's base unit."""

    figure: PublishedFigure
    verdict: Verdict
    because: str
    ours: Ours | None = None
    interval: tuple[float, float] | None = None
    tolerance: Tolerance | None = None


def judge(figure: PublishedFigure, groups: Sequence[Group], benches: Sequence[Entry] = ()) -> Judgement:
    """The verdict on one published number, from the models that were trained and the finished records of benchmarks."""
    if figure.quantity == "speedup":
        return Judgement(
            figure, "NOT COMPARABLE", "the ratio of two numbers of its row, each of which has its own verdict"
        )
    found = sorted(candidates(figure, groups, benches), key=lambda each: (len(each.differences), -len(each.values)))
    if not found:
        return Judgement(figure, "NOT COMPARABLE", "no run record of ours measures this")
    ours = found[0]
    if figure.quantity not in (*SCORES, *SPEEDS):
        return Judgement(
            figure, "NOT COMPARABLE", "how far it spreads is not published, so that no tolerance is known", ours
        )
    if ours.differences:
        return Judgement(figure, "NOT COMPARABLE", "; ".join(ours.differences), ours)
    tolerance = find_tolerance(figure)
    interval = _interval(figure, ours.values)
    verdict, because = _verdict(figure, ours, interval, tolerance)
    return Judgement(figure, verdict, because, ours, interval, tolerance)


def _verdict(
    figure: PublishedFigure, ours: Ours, interval: tuple[float, float], tolerance: Tolerance
) -> tuple[Verdict, str]:
    published, _ = figure.in_base_unit()
    better = SPEEDS.get(figure.quantity, 0)
    low, high = interval
    n = f"n = {len(ours.values)}"
    if len(ours.values) < MIN_RUNS:
        n += f", too few for an interval of their own, {MIN_RUNS} are needed"
    bottom = -math.inf if better < 0 else published - tolerance.value
    top = math.inf if better > 0 else published + tolerance.value
    if bottom <= low and high <= top:
        return "REPRODUCED", f"our interval lies within the tolerance, {n}"
    if high < bottom or low > top:
        return "NOT REPRODUCED", f"our interval lies outside the tolerance, {n}"
    return "WITHIN NOISE", f"our interval reaches over the edge of the tolerance, {n}; more runs would tell"


def find_tolerance(figure: PublishedFigure) -> Tolerance:
    """By what the number is: a score or a speed."""
    if figure.quantity in SCORES:
        deviation, n = _seed_deviation()
        half_digit = 0.5 * 10.0 ** -len(figure.text.partition(".")[2])
        value = float(t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * deviation + half_digit
        origin = (
            f"95 % range of one published run, from the standard deviation {deviation:.6f} of the {n} published seeds, and half a "
            "unit of the last printed digit"
        )
        return Tolerance(value, origin)
    return Tolerance(RELATIVE * figure.in_base_unit()[0], RELATIVE_ORIGIN)


@cache
def _seed_deviation() -> tuple[float, int]:
    """Standard deviation of the published single-precision seeds, and how many there are."""
    values = [
        each.value
        for each in figures()
        if each.quantity == "auc" and each.seed is not None and each.precision == "fp32"
    ]
    return statistics.stdev(values), len(values)


def _interval(figure: PublishedFigure, values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean by our own spread from three runs on.

    Of fewer runs a score has the published seeds' spread, and a speed the relative tolerance, as if it were as uncertain as the
    published ones are.
    """
    mean, n = statistics.mean(values), len(values)
    if n >= MIN_RUNS:
        reach = float(t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * statistics.stdev(values) / math.sqrt(n)
    elif figure.quantity in SCORES:
        deviation, seeds = _seed_deviation()
        reach = float(t.ppf(0.5 + CONFIDENCE / 2, seeds - 1)) * deviation / math.sqrt(n)
    else:
        reach = RELATIVE * mean
    return mean - reach, mean + reach
