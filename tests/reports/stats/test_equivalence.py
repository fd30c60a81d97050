import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from reports.stats.equivalence import MARGINS, equivalence, ks_two_sample

RNG = np.random.default_rng(5)
BASE = RNG.normal(0.8, 0.0001, 12)


def by_interval(reference, other, margin, test=equivalence):
    """TOST says yes exactly where the 90 % t-interval of the mean difference lies within the margin."""
    low, high = ttest_1samp(np.subtract(other, reference), 0.0).confidence_interval(0.90)
    return test(reference, other, margin).equivalent == (-margin < low and high < margin)


CASES = [
    (shift, spread, margin) for shift in (0.0, 4e-4, -9e-4, 2e-3) for spread in (1e-5, 1e-3) for margin in (1e-4, 1e-3)
]


@pytest.mark.parametrize(("shift", "spread", "margin"), CASES)
def test_equivalent_is_the_90_percent_interval_within_the_margin(shift, spread, margin):
    other = BASE + shift + RNG.normal(0, spread, len(BASE))
    assert by_interval(BASE, other, margin)


def no_difference_found(reference, other, margin):
    """The usual mistake: no significant difference taken for equality."""
    found = equivalence(reference, other, margin)
    return type("Found", (), {"equivalent": not found.differs})


def one_side_alone(reference, other, margin):
    p = ttest_1samp(np.subtract(other, reference), -margin, alternative="greater").pvalue
    return type("Found", (), {"equivalent": p < 0.05})


@pytest.mark.parametrize("wrong", [no_difference_found, one_side_alone])
def test_wrong_tests_are_refused(wrong):
    kept = []
    for shift, spread, margin in CASES:
        other = BASE + shift + np.random.default_rng(1).normal(0, spread, len(BASE))
        kept.append(by_interval(BASE, other, margin, wrong))
    assert not all(kept)


def test_by_hand():
    """Differences 1, 2, 3: mean 2, deviation 1, t(0.975, 2) = 4.303, reach 4.303 / √3."""
    found = equivalence([0.0, 0.0, 0.0], [1.0, 2.0, 3.0], margin=10.0)
    assert (found.n, found.mean_difference, found.deviation) == (3, 2.0, 1.0)
    assert found.interval == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)), abs=1e-5)
    assert not found.differs


def test_a_difference_may_be_shown_and_yet_be_within_the_margin():
    found = equivalence(BASE, BASE + 1e-4 + RNG.normal(0, 1e-6, len(BASE)), margin=1e-3)
    assert found.differs
    assert found.equivalent


@pytest.mark.parametrize(("difference", "equivalent"), [(0.0, True), (0.5, True), (1.0, False), (2.0, False)])
def test_equal_differences_have_no_spread(difference, equivalent):
    assert (
        equivalence([1.0, 2.0, 4.0], [1.0 + difference, 2.0 + difference, 4.0 + difference], 1.0).equivalent
        is equivalent
    )


@pytest.mark.parametrize(
    ("reference", "other", "margin", "message"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0], 1.0, "3 and 2 values came"),
        ([1.0, 2.0], [1.0, 2.0], 1.0, "at least 3 seeds"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 0.0, "a margin of 0.0 came"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], math.nan, "a margin of nan came"),
    ],
)
def test_what_cannot_be_tested_is_refused(reference, other, margin, message):
    with pytest.raises(ValueError, match=message):
        equivalence(reference, other, margin)


def test_margins_say_where_they_come_from():
    assert [margin.value for margin in MARGINS] == [0.001, 0.0001]
    assert all(len(margin.origin) > 40 for margin in MARGINS)


def test_kolmogorov_smirnov_by_counting_all_orders():
    """Three against three, wholly apart: 2 of the C(6, 3) = 20 orders have a distance of 1."""
    found = ks_two_sample([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert (found.statistic, found.n_a, found.n_b) == (1.0, 3, 3)
    assert found.p_value == pytest.approx(2 / 20)


def test_at_the_smallest_distance_every_order_is_as_far_apart():
    found = ks_two_sample([1.0, 2.0, 3.0, 4.0, 5.0], [1.5, 2.5, 3.5, 4.5, 5.5])
    assert (found.statistic, found.p_value) == (pytest.approx(0.2), 1.0)


def test_kolmogorov_smirnov_needs_values():
    with pytest.raises(ValueError, match="3 and 0 values came"):
        ks_two_sample([1.0, 2.0, 3.0], [])
