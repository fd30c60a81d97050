"""Ids whose frequencies follow Zipf's law, truncated at the size of the table. numpy only."""

import numpy as np
from numpy.typing import NDArray


def zipf_distribution(rows: int, exponent: float) -> NDArray[np.float64]:
    """P(rank k) proportional to k^-exponent for k = 1 to `rows`, summing to 1; exponent 0 is the uniform distribution."""
    weight = np.arange(1, rows + 1, dtype=np.float64) ** -exponent
    return weight / weight.sum()


class ZipfIds:
    """Draws ids of one table.

    Parameters
    ----------
    permutation_V : int64, a permutation of the ids 0 to V - 1
        Rank k is id ``permutation_V[k - 1]``.
    exponent : float
    """

    def __init__(self, permutation_V: NDArray[np.int64], exponent: float) -> None:
        self._permutation_V = permutation_V
        self._cumulative = np.cumsum(zipf_distribution(len(permutation_V), exponent))
        self._cumulative[-1] = 1.0  # rounding must not leave a rank beyond the last

    def draw(self, generator: np.random.Generator, count: int) -> NDArray[np.int64]:
        """`count` ids, int64, whose ranks follow :func:`zipf_distribution`."""
        return self._permutation_V[np.searchsorted(self._cumulative, generator.random(count), side="right")]
