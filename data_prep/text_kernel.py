"""The compiled pass over raw text; :mod:`data_prep.text_parser` imports it on first use, since numba takes a while.

Every block ends in a newline, which is neither digit nor hexadecimal digit: no loop runs past the end of `data`.
"""

import numba
import numpy as np
from numpy.typing import NDArray

TAB, NEWLINE, MINUS, ZERO, NINE = 9, 10, 45, 48, 57
BAD = -1


def _hex_digits() -> NDArray[np.uint8]:
    digits = np.full(256, 255, np.uint8)
    for value, character in enumerate(b"0123456789abcdef"):
        digits[character] = value
    return digits


HEX = _hex_digits()  # value of each character as a lower-case hexadecimal digit; 255 for any other


@numba.njit(nogil=True, cache=True)
def integer_field(data, at):  # type: ignore[no-untyped-def]
    """A decimal number of 32 bits that ends in a tab: its value, and where the next field begins (BAD if it is none)."""
    negative = data[at] == MINUS
    if negative:
        at += 1
    first, value = at, np.int64(0)
    while data[at] >= ZERO and data[at] <= NINE:
        value = value * 10 + (data[at] - ZERO)
        if value > 2147483648:
            return 0, BAD
        at += 1
    if at == first or data[at] != TAB or (value == 2147483648 and not negative):
        return 0, BAD
    return -value if negative else value, at + 1


@numba.njit(nogil=True, cache=True)
def code_field(data, at, stop):  # type: ignore[no-untyped-def]
    """Eight hexadecimal digits that end in `stop`: their value, and where the next field begins (BAD if they are not)."""
    code, odd = np.uint32(0), np.uint8(0)
    if at + 8 >= data.size:
        return code, BAD
    for k in range(8):
        digit = HEX[data[at + k]]
        odd |= digit
        code = (code << np.uint32(4)) | np.uint32(digit & 15)
    return code, BAD if odd > 15 or data[at + 8] != stop else at + 9


@numba.njit(nogil=True, cache=True)
def parse_lines(data, label, integers, integer_there, codes, code_there):  # type: ignore[no-untyped-def]
    """Fill the columns from `data`, one line a row; False if a line is not as the format asks or their number is another.

    Parameters
    ----------
    data : uint8 array
        Text; the last byte is a newline.
    label : int8 array (rows,)
    integers, integer_there : int32 and bool arrays (13, rows)
        The value, 0 where the field is empty, and whether it is there.
    codes, code_there : uint32 and bool arrays (26, rows)
    """
    at, end, last = 0, data.size, codes.shape[0] - 1
    for row in range(label.size):
        if at + 1 >= end or (data[at] != ZERO and data[at] != ZERO + 1) or data[at + 1] != TAB:
            return False
        label[row] = data[at] - ZERO
        at += 2
        for j in range(integers.shape[0] + codes.shape[0]):
            if at >= end:
                return False
            k = j - integers.shape[0]
            stop = NEWLINE if k == last else TAB
            there = data[at] != stop
            if k < 0:
                integer_there[j, row], integers[j, row] = there, 0
                if there:
                    integers[j, row], at = integer_field(data, at)
            else:
                code_there[k, row], codes[k, row] = there, 0
                if there:
                    codes[k, row], at = code_field(data, at, stop)
            if at == BAD:
                return False
            at += not there
    return at == end
