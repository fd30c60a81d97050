"""The compiled permutation; :mod:`data_prep.permutation` imports it on first use, since numba takes a while."""

import numba
import numpy as np

GOLDEN, FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@numba.njit(nogil=True, cache=True)
def mixed(x):  # type: ignore[no-untyped-def]
    """The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014): every bit of x moves every bit of the result."""
    x = (x ^ (x >> np.uint64(30))) * FIRST
    x = (x ^ (x >> np.uint64(27))) * SECOND
    return x ^ (x >> np.uint64(31))


@numba.njit(nogil=True, cache=True)
def place_rows(row_B, place_B, num_rows, seed, half_bits, rounds):  # type: ignore[no-untyped-def]
    """Fill `place_B` (int64) with the places of `row_B`; what leaves the rows is permuted again until it is among them."""
    shift, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    for b in range(row_B.size):
        x = np.uint64(row_B[b])
        while True:
            left, right = x >> shift, x & mask
            for r in range(1, rounds + 1):
                key = mixed(np.uint64(r) * GOLDEN + np.uint64(seed))
                left, right = right, left ^ (mixed(right + key) & mask)
            x = (left << shift) | right
            if x < np.uint64(num_rows):
                break
        place_B[b] = np.int64(x)
