"""Zipf ids against their exact distribution; weights and batches the same in every process."""

import json

import numpy as np
import pytest

from dlrm_core.bench.workload import (
    CARDINALITIES,
    CONFIGS,
    NUM_NUMERICAL,
    Workload,
    batches,
    initial_weights,
    multiply_adds,
    upper_pair_columns,
    zipf_distribution,
    zipf_ids,
)


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_the_distribution_is_the_truncated_law(rows):
    weights = [k**-1.1 for k in range(1, rows + 1)]
    assert zipf_distribution(rows) == pytest.approx([weight / sum(weights) for weight in weights], rel=1e-12)


def chi_square_deviations(observed, probability):
    """How many standard deviations the chi-square statistic lies above its mean."""
    expected = probability * observed.sum()
    statistic = ((observed - expected) ** 2 / expected).sum()
    freedom = len(observed) - 1
    return (statistic - freedom) / np.sqrt(2 * freedom)


def ranks(exponent):
    permutation = np.random.default_rng(5).permutation(50)
    ids = zipf_ids(np.random.default_rng(6), permutation, 200_000, exponent)
    return np.bincount(np.argsort(permutation)[ids], minlength=50)


def test_ids_follow_the_distribution():
    assert abs(chi_square_deviations(ranks(1.1), zipf_distribution(50))) < 4


@pytest.mark.parametrize("wrong", [1.0, 1.2])
def test_the_same_test_refuses_another_exponent(wrong):
    assert chi_square_deviations(ranks(wrong), zipf_distribution(50)) > 20


def test_ids_are_permuted():
    permutation = np.array([2, 0, 1])
    ids = zipf_ids(np.random.default_rng(1), permutation, 3000)
    assert np.argsort(-np.bincount(ids)).tolist() == permutation.tolist()


def test_every_id_fits_its_table():
    (batch,) = batches(CONFIGS["S"], 500, 1)
    assert batch.ids_BT.shape == (500, len(CARDINALITIES))
    assert batch.ids_BT.min() >= 0
    assert (batch.ids_BT < np.array(CARDINALITIES)).all()
    assert batch.numerical_BN.shape == (500, NUM_NUMERICAL)
    assert batch.numerical_BN.dtype == np.float32
    assert set(batch.label_B.tolist()) == {0.0, 1.0}


def test_batches_and_weights_come_again():
    first, again = (list(batches(CONFIGS["S"], 20, 2)) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert (a.ids_BT == b.ids_BT).all()
        assert (a.numerical_BN == b.numerical_BN).all()
    assert (first[0].ids_BT != first[1].ids_BT).any()
    one, other = initial_weights(CONFIGS["S"]), initial_weights(CONFIGS["S"])
    assert (one.top[0][0] == other.top[0][0]).all()
    assert (one.tables[2] == other.tables[2]).all()


def test_weights_fit_the_layers():
    weights = initial_weights(CONFIGS["S"])
    assert [weight.shape for weight, _ in weights.bottom] == [(512, 13), (256, 512), (64, 256), (16, 64)]
    assert [weight.shape for weight, _ in weights.top] == [(512, 16 + 351), (256, 512), (1, 256)]
    assert [len(table) for table in weights.tables] == list(CARDINALITIES)


@pytest.mark.parametrize(("name", "millions"), [("S", 0.949), ("N", 4.73)])
def test_the_layers_cost_what_the_study_counted(name, millions):
    """Million FLOP a sample forward; a multiply-add is two."""
    assert 2e-6 * multiply_adds(CONFIGS[name].layers()) == pytest.approx(millions, rel=2e-3)


def test_a_workload_survives_json():
    workload = CONFIGS["N32"]
    assert Workload.from_dict(json.loads(json.dumps(workload.to_dict()))) == workload


def test_upper_pairs_are_the_same_pairs_in_another_order():
    vectors = np.random.default_rng(2).random((5, 3))
    gram = vectors @ vectors.T
    row, column = np.tril_indices(5, -1)
    upper = gram[np.triu_indices(5, 1)]
    assert upper == pytest.approx(gram[row, column][upper_pair_columns(5)])
