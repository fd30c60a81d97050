"""Which column of an unknown table holds the clicks."""

from pathlib import Path

import polars as pl

from data_prep.table_reader import labels, may_be_number
from dlrm_core.schema.base import nearest
from dlrm_core.schema.errors import KitError

USUAL_NAMES = ("label", "click", "clicked", "target", "y")


def choose_label(frame: pl.DataFrame, label: str | None, path: Path) -> str:
    """The named column, else the one of a usual name, else the only one that holds 0 and 1, or false and true.

    Raises
    ------
    KitError
        If the named one is not there or holds something else, or if none or several fit.
    """
    if label is not None:
        return _checked(frame, label, path)
    fit = [name for name in frame.columns if _fits(frame[name])]
    candidates = [name for name in fit if name.strip().lower() in USUAL_NAMES] or fit
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        listed = ", ".join(map(repr, candidates))
        raise KitError(f"{path}: each of the columns {listed} may be the label; name one with --label")
    listed = ", ".join(map(repr, [c for c in frame.columns if _has_two_values(frame[c])] or frame.columns))
    raise KitError(
        f"{path}: no column holds 0 and 1, or false and true, and nothing else, in the first {frame.height:,} rows; name the "
        f"label with --label if one is, or write it as 0 and 1; nearest to it: {listed}"
    )


def _checked(frame: pl.DataFrame, label: str, path: Path) -> str:
    if label not in frame.columns:
        raise KitError(
            f"{path}: --label {label}: no such column{nearest(label, frame.columns)}; columns: {', '.join(frame.columns)}"
        )
    column = frame[label]
    wrong = labels(column).is_null() if may_be_number(column.dtype) else pl.Series([True])
    if wrong.any():
        row = wrong.arg_max() or 0
        raise KitError(
            f"{path}: --label {label}: row {row + 1} of the column holds {column[row]!r}; 0 or 1 (false or true) is needed in "
            "every row"
        )
    return label


def _fits(column: pl.Series) -> bool:
    if not may_be_number(column.dtype):
        return False
    label = labels(column)
    return not label.has_nulls() and label.n_unique() == 2


def _has_two_values(column: pl.Series) -> bool:
    return may_be_number(column.dtype) and column.drop_nulls().n_unique() == 2
