import math

import narwhals as nw
import numpy as np
import polars as pl
import pytest

from data_prep.definition import count_values, encode, keep_frequent, number_values, transform_numerical


def frame(values, name="C1"):
    return nw.from_native(pl.DataFrame({name: pl.Series(values, dtype=pl.UInt32)}), eager_only=True)


def vocabulary(values, limit):
    numbered = number_values(keep_frequent(count_values(frame(values), "C1"), limit))
    return list(zip(numbered["value"].to_list(), numbered["id"].to_list(), strict=True))


def test_ids_by_count_falling_then_value_rising():
    assert vocabulary([7, 7, 5, 5, 9, 2, 9, 9, None, None, None, None], limit=2) == [(9, 1), (5, 2), (7, 3)]


def test_a_value_as_frequent_as_the_limit_is_kept():
    assert vocabulary([1, 1, 2, 2, 2], limit=2) == [(2, 1), (1, 2)]
    assert vocabulary([1, 1, 2, 2, 2], limit=3) == [(2, 1)]
    assert vocabulary([1, 1, 2, 2, 2], limit=4) == []


def test_values_are_ordered_as_unsigned_32_bit_numbers():
    assert vocabulary([2**32 - 1, 0, 2**31, 2**31 - 1], limit=1) == [
        (0, 1),
        (2**31 - 1, 2),
        (2**31, 3),
        (2**32 - 1, 4),
    ]


def test_ids_do_not_depend_on_the_order_of_rows():
    rows = [3, 3, 1, None, None, 1, 2, 8, 8, 2, 2]
    whole = vocabulary(rows, limit=2)
    for seed in range(20):
        assert vocabulary(np.random.default_rng(seed).permutation(np.array(rows, object)).tolist(), limit=2) == whole


def test_codes_as_text_have_the_order_of_numbers():
    codes = [2**32 - 1, 0, 2**31, 10, 160, 7, 7, 0]
    text = nw.from_native(pl.DataFrame({"C1": [f"{code:08x}" for code in codes]}), eager_only=True)
    numbered = number_values(count_values(text, "C1"))["value"].to_list()
    assert [int(value, 16) for value in numbered] == [value for value, _ in vocabulary(codes, limit=1)]


def test_missing_rare_and_unseen_become_zero():
    numbered = number_values(keep_frequent(count_values(frame([4, 4, 6]), "C1"), 2))
    rows = frame([None, 6, 99, 4]).with_row_index("row")
    encoded = encode(rows, "C1", numbered).sort("row")
    assert encoded["C1"].to_list() == [0, 0, 0, 1]
    assert encoded["C1"].dtype == nw.Int32


@pytest.mark.parametrize(
    ("transform", "wanted"),
    [
        # The seed's code: a missing number becomes 0 after the logarithm, as if it had been -2; -3 and below too.
        ("log_x_plus_3_missing_0", [0.0, 0.0, 0.0, 0.0, math.log(2), math.log(3), math.log(103)]),
        # The seed's README: a missing number becomes 0 before the logarithm.
        ("readme_missing_0_log_x_plus_2", [math.log(2), 0.0, 0.0, 0.0, 0.0, math.log(2), math.log(102)]),
        ("none", [0.0, -4.0, -3.0, -2.0, -1.0, 0.0, 100.0]),
    ],
)
def test_numbers(transform, wanted):
    integers = pl.DataFrame({"I1": pl.Series([None, -4, -3, -2, -1, 0, 100], dtype=pl.Int32)})
    got = nw.from_native(integers, eager_only=True).select(transform_numerical("I1", transform))["I1"]
    assert got.dtype == nw.Float64
    assert got.to_list() == pytest.approx(wanted, rel=1e-15)


def test_largest_numbers_do_not_overflow():
    integers = pl.DataFrame({"I1": pl.Series([2**31 - 1, -(2**31)], dtype=pl.Int32)})
    got = nw.from_native(integers, eager_only=True).select(transform_numerical("I1", "log_x_plus_3_missing_0"))["I1"]
    assert got.to_list() == pytest.approx([math.log(2**31 + 2), 0.0], rel=1e-15)
