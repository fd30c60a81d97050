from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from data_prep.permutation import permuted, shuffled_positions


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 16, 17, 255, 256, 257, 1000, 65_537])
@pytest.mark.parametrize("seed", [0, 12345, 2**63])
def test_every_place_once(rows, seed):
    assert np.array_equal(np.sort(permuted(np.arange(rows), rows, seed)), np.arange(rows))


def test_a_place_depends_on_nothing_but_seed_row_and_number_of_rows():
    whole = permuted(np.arange(1000), 1000, 3)
    assert np.array_equal(permuted(np.array([7, 999, 7]), 1000, 3), whole[[7, 999, 7]])
    assert not np.array_equal(permuted(np.arange(1000), 1000, 4), whole)


def test_places_of_4_billion_rows_need_no_table():
    rows = np.array([0, 1, 4_195_197_691])
    places = permuted(rows, 4_195_197_692, 12345)
    assert len(set(places.tolist())) == 3
    assert (places < 4_195_197_692).all()


def test_all_orders_of_a_small_set_come_equally_often():
    """Chi-square of 4,800 seeds over the 24 orders: 23 degrees of freedom, 49.7 is passed once in a thousand."""
    seen = Counter(tuple(permuted(np.arange(4), 4, seed).tolist()) for seed in range(4800))
    assert sum((seen[order] - 200) ** 2 / 200 for order in permutations(range(4))) < 49.7


def test_neighbours_and_stretches_are_scattered():
    """Chi-square of where each of 100 stretches goes, 9,801 degrees of freedom: within four standard deviations."""
    rows = np.arange(1_000_000)
    places = permuted(rows, len(rows), 7)
    table = np.histogram2d(rows // 10_000, places // 10_000, bins=100)[0]
    assert abs(((table - 100) ** 2 / 100).sum() - 9801) < 4 * (2 * 9801) ** 0.5
    assert abs(np.corrcoef(rows, places)[0, 1]) < 0.005
    assert abs(np.corrcoef(places[1:], places[:-1])[0, 1]) < 0.005


@pytest.mark.parametrize(("start", "stop"), [(0, 1000), (0, 10), (880, 920), (900, 1000), (990, 1000), (5, 5)])
def test_a_stretch_of_positions_is_that_of_the_whole(start, stop):
    whole = shuffled_positions(1000, 100, 5)
    assert np.array_equal(shuffled_positions(1000, 100, 5, start, stop), whole[start:stop])


@pytest.mark.parametrize(("rows", "holdback"), [(0, 0), (1, 0), (10, 1), (1000, 100), (7, 7)])
def test_shuffle_is_a_permutation_that_leaves_the_held_back_rows_last(rows, holdback):
    positions = shuffled_positions(rows, holdback, 5)
    assert positions.dtype == np.int64
    head = rows - holdback
    assert sorted(positions[:head].tolist()) == list(range(head))
    assert sorted(positions[head:].tolist()) == list(range(head, rows))


def test_both_stretches_are_shuffled_and_by_the_seed():
    positions = shuffled_positions(1000, 100, 5)
    in_order = np.arange(1000)
    assert np.mean(positions[:900] == in_order[:900]) < 0.02
    assert np.mean(positions[900:] == in_order[900:]) < 0.1
    assert np.array_equal(positions, shuffled_positions(1000, 100, 5))
    assert not np.array_equal(positions, shuffled_positions(1000, 100, 6))
