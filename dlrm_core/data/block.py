"""Rows as the files hold them, and their way into a batch's tensors.

Legend: R rows of a block, B rows of a batch, N numerical features, T categorical features.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Rows that go from columns to rows of a tensor together: what they write stays in a core's cache meanwhile.
TURNED_ROWS = 2048
FLOAT16_INFINITE = 0x7C00  # exponent bits all ones: infinite, or no number


@dataclass(frozen=True)
class Block:
    """Neighbouring rows of a part, or of its rows in an order, column by column.

    Attributes
    ----------
    start : int
        Place of the first row, in the part or in the order.
    numbers_R : ndarray of int64 or None
        Which rows of the part they are; None without an order.
    label_R, numerical_RN : ndarray of uint8 and float16
    ids_TR : ndarray of int32
    sound : bool
        What :func:`is_sound` says of it.
    """

    start: int
    numbers_R: NDArray[np.int64] | None
    label_R: NDArray[np.generic]
    numerical_RN: NDArray[np.generic]
    ids_TR: NDArray[np.int32]
    sound: bool

    @property
    def stop(self) -> int:
        """The place behind the last row."""
        return self.start + len(self.label_R)

    def holds(self, start: int, stop: int, numbers_B: NDArray[np.int64] | None) -> bool:
        """Whether the rows of these places, and with an order of these numbers, are all here."""
        if not self.start <= start <= stop <= self.stop:
            return False
        if numbers_B is None or self.numbers_R is None:
            return numbers_B is self.numbers_R
        return np.array_equal(self.numbers(start, stop), numbers_B)

    def numbers(self, start: int, stop: int) -> NDArray[np.int64]:
        """Which rows of the part stand at these places."""
        if self.numbers_R is None:
            return np.arange(start, stop)
        return self.numbers_R[start - self.start : stop - self.start]

    def write(
        self, start: int, stop: int, numerical_BN: NDArray[np.float32], ids_BT: NDArray[np.signedinteger]
    ) -> None:
        """Widen the numericals and ids of the rows of these places, and lay the columns side by side."""
        start, stop = start - self.start, stop - self.start
        numerical_BN[:] = self.numerical_RN[start:stop]
        for first in range(0, stop - start, TURNED_ROWS):
            rows = ids_BT[first : first + TURNED_ROWS]
            rows[:] = self.ids_TR[:, start + first : start + first + len(rows)].T

    def clicks(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Labels of the rows of these places; a byte that is not 0 is a click."""
        return self.label_R[start - self.start : stop - self.start] != 0


def is_sound(numerical_RN: NDArray[np.generic], ids_TR: NDArray[np.int32], cardinality_T: NDArray[np.int64]) -> bool:
    """Whether every numerical is finite and every id is one of its table's."""
    bits = numerical_RN.view(np.uint16) & 0x7FFF  # without the sign
    # Taken as unsigned, a negative id is larger than every table.
    largest_T = ids_TR.view(np.uint32).max(axis=1, initial=0)
    return bool(bits.max(initial=0) < FLOAT16_INFINITE and (largest_T < cardinality_T).all())
