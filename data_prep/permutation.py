"""The shuffle: a seeded permutation that gives each row's place by arithmetic, without a table of all rows.

A table of 4.2 billion places would take 34 GB. Here a place is a function of (seed, row, number of rows): a balanced
Feistel network (Luby and Rackoff, SIAM J. Comput. 17 (1988) 373-386) permutes the smallest even number of bits that
holds the rows, and is applied again to what falls outside ("cycle walking", Black and Rogaway, CT-RSA 2002, 114-130).
"""

import numpy as np
from numpy.typing import NDArray

ROUNDS = 8  # with 4, small sets miss some orders too often: a test counts them
SHUFFLE = "feistel-8-splitmix64"  # names the function in dataset.json; a change of the function is a change of the name


def permuted(rows_B: NDArray[np.int64], num_rows: int, seed: int) -> NDArray[np.int64]:
    """The places of rows 0 <= row < `num_rows`, int64 (B,): over all rows each place from 0 to `num_rows` - 1 once.

    >>> permuted(np.arange(5), 5, seed=1).tolist()
    [1, 2, 4, 0, 3]
    """
    from data_prep.permutation_kernel import place_rows

    half_bits = max(1, (int(num_rows - 1).bit_length() + 1) // 2)
    place_B = np.empty(len(rows_B), np.int64)
    place_rows(np.ascontiguousarray(rows_B, np.int64), place_B, num_rows, np.uint64(seed), half_bits, ROUNDS)
    return place_B


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
