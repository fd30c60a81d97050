"""From seconds to figures: quiet rounds, medians, spreads, ratios. Pure functions."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

QUIET = 1.20  # a round is quiet if its gauge took at most this times the gauges' 10th percentile


@dataclass(frozen=True)
class Figure:
    """A median, of how many values, and what the rounds' own medians ranged over."""

    median: float
    count: int
    low: float
    high: float


def percentile(values: Sequence[float], share: float) -> float:
    """Linear interpolation between the sorted values.

    >>> percentile([1.0, 2.0, 3.0, 4.0, 5.0], 0.1)
    1.4
    """
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def quiet_rounds(gauge_s: Sequence[float]) -> list[int]:
    """Rounds, from 0, whose gauge lies within 20 % of the gauges' 10th percentile.

    >>> quiet_rounds([1.0, 1.1, 3.0, 1.15])
    [0, 1, 3]
    """
    limit = QUIET * percentile(gauge_s, 0.1)
    return [number for number, gauge in enumerate(gauge_s) if gauge <= limit]


def figure(rounds: Sequence[Sequence[float]]) -> Figure:
    """The median over all values of all rounds, and the range of the rounds' medians.

    >>> figure([[1.0, 2.0, 3.0], [5.0]])
    Figure(median=2.5, count=4, low=2.0, high=5.0)
    """
    medians = [statistics.median(one) for one in rounds]
    values = [value for one in rounds for value in one]
    return Figure(statistics.median(values), len(values), min(medians), max(medians))


def rate(seconds: Figure, rows: int) -> Figure:
    """Rows a second from seconds a step of `rows` rows.

    >>> rate(Figure(0.5, 3, 0.25, 1.0), 100)
    Figure(median=200.0, count=3, low=100.0, high=400.0)
    """
    return Figure(rows / seconds.median, seconds.count, rows / seconds.high, rows / seconds.low)


def paired_ratio(slower: Sequence[Sequence[float]], faster: Sequence[Sequence[float]]) -> Figure:
    """How many times as fast `faster` is, round by round, which no drift of the machine between rounds can change.

    >>> paired_ratio([[2.0], [4.0, 4.0]], [[1.0], [1.0]])
    Figure(median=3.0, count=2, low=2.0, high=4.0)
    """
    ratios = [statistics.median(a) / statistics.median(b) for a, b in zip(slower, faster, strict=True)]
    return Figure(statistics.median(ratios), len(ratios), min(ratios), max(ratios))


def largest_relative_difference(losses: Sequence[Sequence[float]]) -> float:
    """Over the steps, the largest (max - min) / max of several sides' losses.

    >>> largest_relative_difference([[1.0, 2.0], [1.0, 1.0]])
    0.5
    """
    return max((max(step) - min(step)) / max(step) for step in zip(*losses, strict=True))
