"""A block: what is sound, and which rows it holds."""

import numpy as np
import pytest

from dlrm_core.data import block
from tests.train.builders import CARDINALITIES


@pytest.mark.parametrize("bad", [CARDINALITIES[1], 32767, -1, -130, -32768])
def test_a_block_is_sound_only_if_every_id_has_a_row(bad):
    ids_TR = np.array([[0, 4, 2], [129, 0, 1], [39, 0, 0]], np.int32)
    numerical_RN, cardinality_T = np.array([[0.0, -65504.0]] * 3, np.float16), np.array(CARDINALITIES)
    assert block.is_sound(numerical_RN, ids_TR, cardinality_T)
    ids_TR[1, 2] = bad
    assert not block.is_sound(numerical_RN, ids_TR, cardinality_T)


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_a_block_is_sound_only_if_every_numerical_is_finite(bad):
    numerical_RN = np.array([[0.0, 65504.0], [-65504.0, bad]], np.float16)
    assert not block.is_sound(numerical_RN, np.zeros((1, 2), np.int32), np.array([1]))
    assert block.is_sound(numerical_RN[:1], np.zeros((1, 1), np.int32), np.array([1]))


@pytest.mark.parametrize(
    ("start", "stop", "numbers", "held"),
    [
        (10, 14, [7, 3, 9, 1], True),
        (11, 13, [3, 9], True),
        (11, 13, [9, 3], False),  # the same rows in another order
        (11, 13, None, False),
        (9, 11, [0, 7], False),
        (12, 15, [9, 1, 2], False),
    ],
)
def test_rows_that_a_block_holds(start, stop, numbers, held):
    label_R, numerical_RN, ids_TR = np.zeros(4, np.uint8), np.zeros((4, 1), np.float16), np.zeros((1, 4), np.int32)
    ordered = block.Block(10, np.array([7, 3, 9, 1]), label_R, numerical_RN, ids_TR, sound=True)
    assert ordered.holds(start, stop, None if numbers is None else np.array(numbers)) == held
    on_disk = block.Block(10, None, label_R, numerical_RN, ids_TR, sound=True)
    assert on_disk.holds(start, stop, None) == (start >= 10 and stop <= 14)
