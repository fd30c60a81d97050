"""What a column of an unknown table may be: numbers, categories, or nothing that a model could learn from."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from data_prep.table_reader import may_be_category, may_be_number, numbers

MOST_CATEGORIES_OF_WHOLE_NUMBERS = 50


@dataclass(frozen=True)
class Look:
    """A column and what it is taken for, in words too; `low` and `high` are those of a numerical one."""

    name: str
    kind: Literal["numerical", "categorical", "left out"]
    words: str
    low: float = 0.0
    high: float = 0.0


def look(column: pl.Series) -> Look:
    """Look at all values of a column."""
    if not may_be_category(column.dtype):
        return _left_out(column, f"holds values of many parts, or bytes ({column.dtype})")
    distinct = column.n_unique()
    if distinct == 1:
        return _left_out(column, "holds nothing" if column.null_count() else "holds one value only")
    number = numbers(column) if may_be_number(column.dtype) else pl.Series([float("nan")])
    finite = not number.is_nan().any()
    whole = finite and bool((number == number.floor()).all())
    if distinct == len(column) and not (finite and not whole):
        return _left_out(column, "holds another value in every row, as an identifier does")
    missing = f", missing in {column.null_count() / len(column):.1%} of the rows" if column.null_count() else ""
    if finite and (not whole or number.n_unique() - bool(missing) > MOST_CATEGORIES_OF_WHOLE_NUMBERS):
        low, high = (float(x) for x in (number.min(), number.max()))  # type: ignore[arg-type]
        return Look(column.name, "numerical", f"numerical, from {low:g} to {high:g}{missing}", low, high)
    values = f"{distinct - bool(missing):,} values"
    return Look(column.name, "categorical", f"categorical, {values}{missing}{_hint(column, number)}")


def _left_out(column: pl.Series, reason: str) -> Look:
    return Look(column.name, "left out", f"left out: {reason}")


def _hint(column: pl.Series, number: pl.Series) -> str:
    """A column of numbers but for one text may be numerical with a missing value of its own spelling."""
    if len(number) != len(column) or number.drop_nans().n_unique() <= MOST_CATEGORIES_OF_WHOLE_NUMBERS:
        return ""
    others = column.filter(number.is_nan().fill_null(False)).unique()
    if len(others) != 1 or len(str(others[0])) > 20:
        return ""
    return f"; numbers but for {others[0]!r}: if that means missing, put it under `missing`, and the column under `numerical`"
