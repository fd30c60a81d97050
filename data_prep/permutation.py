"""The shuffle: a seeded permutation that gives each row's place by arithmetic, without a table of all rows.

A table of 4.2 billion places would take 34 GB. Here a place is a function of (seed, row, number of rows): a balanced
Feistel network (Luby and Rackoff, SIAM J. Comput. 17 (1988) 373-386) permutes the smallest even number of bits that
holds the rows, and is applied again to what falls outside ("cycle walking", Black and Rogaway, CT-RSA 2002, 114-130).
"""

import numpy as np
from numpy.typing import NDArray

ROUNDS = 8  # with 4, small sets miss some orders too often: a test counts them
SHUFFLE = "feistel-8-splitmix64"  # names the function in dataset.json; a change of the function is a change of the name

_GOLDEN, _FIRST, _SECOND = (np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def permuted(rows_B: NDArray[np.int64], num_rows: int, seed: int) -> NDArray[np.int64]:
    """The places of rows 0 <= row < `num_rows`, int64 (B,): over all rows each place from 0 to `num_rows` - 1 once.

    >>> permuted(np.arange(5), 5, seed=1).tolist()
    [1, 2, 3, 0, 4]
    """
    half_bits = max(1, (int(num_rows - 1).bit_length() + 1) // 2)
    keys = _mixed(np.arange(1, ROUNDS + 1, dtype=np.uint64) * _GOLDEN + np.uint64(seed))
    place_B = _feistel(rows_B.astype(np.uint64), half_bits, keys)
    outside = np.flatnonzero(place_B >= num_rows)
    while outside.size:
        place_B[outside] = _feistel(place_B[outside], half_bits, keys)
        outside = outside[place_B[outside] >= num_rows]
    return place_B.astype(np.int64)


def shuffled_positions(
    rows: int, holdback_rows: int, seed: int, start: int = 0, stop: int | None = None
) -> NDArray[np.int64]:
    """Final position of the input rows from `start` up to `stop`: one permutation of the first rows, another of the tail.

    The last `holdback_rows` of the `rows` stay behind the rest, so that a stopping rule can look at the last rows of the
    input without any record of single rows.
    """
    row_B = np.arange(start, rows if stop is None else stop, dtype=np.int64)
    head = rows - holdback_rows
    cut = min(max(head - start, 0), len(row_B))
    front, tail = permuted(row_B[:cut], head, seed), permuted(row_B[cut:] - head, holdback_rows, seed + 1)
    return np.concatenate([front, head + tail])


def _feistel(x_B: NDArray[np.uint64], half_bits: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    shift, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left_B, right_B = x_B >> shift, x_B & mask
    for key in keys:
        left_B, right_B = right_B, left_B ^ (_mixed(right_B + key) & mask)
    return (left_B << shift) | right_B


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014): every bit of x moves every bit of the result."""
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))
