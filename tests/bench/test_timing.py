"""Quiet rounds, medians and ratios on numbers."""

import pytest

from dlrm_core.bench.rounds import run_rounds
from dlrm_core.bench.timing import (
    Figure,
    figure,
    largest_relative_difference,
    paired_ratio,
    percentile,
    quiet_rounds,
    rate,
)
from dlrm_core.schema.progress import silent


@pytest.mark.parametrize(
    ("values", "share", "expected"), [([3.0], 0.1, 3.0), ([2.0, 1.0], 0.5, 1.5), ([1.0, 2.0, 3.0], 1.0, 3.0)]
)
def test_percentile(values, share, expected):
    assert percentile(values, share) == pytest.approx(expected)


def test_a_round_on_the_edge_is_quiet_and_one_beyond_is_not():
    gauges = [1.0] * 8 + [1.2, 1.2001]
    assert quiet_rounds(gauges) == list(range(9))


def test_one_fast_round_does_not_make_the_others_loud():
    assert len(quiet_rounds([0.5] + [1.0] * 20)) == 21


def test_the_figure_counts_every_value_and_ranges_over_rounds():
    assert figure([[4.0, 1.0, 2.0], [10.0, 10.0]]) == Figure(4.0, 5, 2.0, 10.0)


def test_a_rate_turns_the_range_round():
    assert rate(Figure(2.0, 7, 1.0, 4.0), 8) == Figure(4.0, 7, 2.0, 8.0)


def test_a_drift_between_rounds_leaves_the_paired_ratio():
    assert paired_ratio([[2.0], [20.0], [6.0]], [[1.0], [10.0], [3.0]]) == Figure(2.0, 3, 2.0, 2.0)


def test_losses_that_part_at_one_step():
    assert largest_relative_difference([[1.0, 0.5], [1.0, 0.49], [1.0, 0.5]]) == pytest.approx(0.02)


def test_the_order_turns_round_every_other_round():
    asked: list[str] = []

    def measure(name):
        asked.append(name)
        return {name: [float(len(asked))]}

    def gauge():
        asked.append("-")
        return 1.0

    rounds = run_rounds("ab", 3, gauge=gauge, measure=measure, progress=silent, label="")
    assert "".join(asked) == "-a-b-" + "-b-a-" + "-a-b-"
    assert rounds.quiet_s("a") == [[2.0], [9.0], [12.0]]
    assert rounds.gauge_s == [1.0] * 3


def test_a_loud_round_is_left_out():
    gauges = iter([1.0, 1.0, 9.0, 9.0, 1.0, 1.0])
    rounds = run_rounds(
        ["a"], 3, gauge=lambda: next(gauges), measure=lambda name: {name: [0.0]}, progress=silent, label=""
    )
    assert rounds.quiet() == [0, 2]
