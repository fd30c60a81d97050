"""Weights and batches the same in every process."""

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
)


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
