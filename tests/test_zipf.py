"""Zipf ids against their exact distribution."""

import numpy as np
import pytest

from dlrm_core.zipf import ZipfIds, zipf_distribution


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_the_distribution_is_the_truncated_law(rows):
    weights = [k**-1.1 for k in range(1, rows + 1)]
    assert zipf_distribution(rows, 1.1) == pytest.approx([weight / sum(weights) for weight in weights], rel=1e-12)


def chi_square_deviations(observed, probability):
    """How many standard deviations the chi-square statistic lies above its mean."""
    expected = probability * observed.sum()
    statistic = ((observed - expected) ** 2 / expected).sum()
    freedom = len(observed) - 1
    return (statistic - freedom) / np.sqrt(2 * freedom)


def ranks(exponent):
    permutation = np.random.default_rng(5).permutation(50)
    ids = ZipfIds(permutation, exponent).draw(np.random.default_rng(6), 200_000)
    return np.bincount(np.argsort(permutation)[ids], minlength=50)


def test_ids_follow_the_distribution():
    assert abs(chi_square_deviations(ranks(1.1), zipf_distribution(50, 1.1))) < 4


@pytest.mark.parametrize("wrong", [1.0, 1.2])
def test_the_same_test_refuses_another_exponent(wrong):
    assert chi_square_deviations(ranks(wrong), zipf_distribution(50, 1.1)) > 20


def test_ids_are_permuted():
    permutation = np.array([2, 0, 1])
    ids = ZipfIds(permutation, 1.1).draw(np.random.default_rng(1), 3000)
    assert np.argsort(-np.bincount(ids)).tolist() == permutation.tolist()


def test_exponent_zero_is_uniform():
    assert zipf_distribution(4, 0.0).tolist() == [0.25] * 4
