"""A block of raw text to a frame of 32-bit codes: one pass that converts and checks every character.

Compiled by numba on first use (a second; kept on disk after that), since it is the part that decides how long a terabyte
takes: about 0.5 µs a row on one core, where a CSV reader and a conversion from hexadecimal text take five times that.
"""

import numpy as np
import polars as pl

from data_prep.raw import CATEGORICAL, LABEL, NUMERICAL, Block, find_fault

CODES = {LABEL: pl.Int8} | dict.fromkeys(NUMERICAL, pl.Int32) | dict.fromkeys(CATEGORICAL, pl.UInt32)


def parse(block: Block) -> pl.DataFrame:
    """A block's rows: label int8, I1..I13 int32, C1..C26 uint32 (the hexadecimal number); missing is null.

    Raises
    ------
    KitError
        If a field is not as the format asks; with file, line and column.
    """
    from data_prep.text_kernel import parse_lines

    rows = block.num_lines
    label = np.empty(rows, np.int8)
    integers, integer_there = np.empty((len(NUMERICAL), rows), np.int32), np.empty((len(NUMERICAL), rows), np.bool_)
    codes, code_there = np.empty((len(CATEGORICAL), rows), np.uint32), np.empty((len(CATEGORICAL), rows), np.bool_)
    data = np.frombuffer(block.data, np.uint8)
    if not parse_lines(data, label, integers, integer_there, codes, code_there):
        raise find_fault(block) or AssertionError(
            f"{block.path}: refused from line {block.first_line} on without a fault"
        )
    columns = [pl.Series(LABEL, label)]
    columns += [_series(*column) for column in zip(NUMERICAL, integers, integer_there, strict=True)]
    columns += [_series(*column) for column in zip(CATEGORICAL, codes, code_there, strict=True)]
    return pl.DataFrame(columns)


def _series(name: str, values: np.ndarray, there: np.ndarray) -> pl.Series:
    made = pl.Series(name, values)
    return made if there.all() else made.zip_with(pl.Series(there), pl.Series([None], dtype=made.dtype))
