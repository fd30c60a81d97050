"""THE preprocessing definition, on narwhals frames, eager or lazy, so that any engine can run it.

Per categorical column: count each value -> keep those with count >= limit -> number them by count falling, then value
rising, from 1 -> encode; 0 stands for missing, rare and unseen values. The order is total, so neither engine nor
partitioning can change an id; it is the same for codes as numbers and as text of 8 lower-case hexadecimal digits.
(June 2020: ``preproc/spark_data_utils.py:47-109, 205``, where ties are undefined.)
Per numerical column: ln(x + 3) in float64, then missing and x <= -3 become 0.0 (``spark_data_utils.py:208-213``).
"""

from typing import TypeVar

import narwhals as nw

from dlrm_core.schema.dataset import NumericalTransform

VALUE, COUNT, ID, ROW = "value", "count", "id", "row"
Frame = TypeVar("Frame", nw.DataFrame, nw.LazyFrame)


def count_values(frame: Frame, column: str) -> Frame:
    """Distinct non-missing values of `column` and how often each stands there: columns ``value``, ``count``."""
    present = frame.select(nw.col(column).alias(VALUE)).filter(~nw.col(VALUE).is_null())
    return present.group_by(VALUE).agg(nw.len().alias(COUNT))


def keep_frequent(counts: Frame, limit: int) -> Frame:
    """The values with count >= `limit`: columns ``value``, ``count``."""
    return counts.filter(nw.col(COUNT) >= limit)


def number_values(frequent: nw.DataFrame) -> nw.DataFrame:
    """Vocabulary of the values that were kept: columns ``value``, ``id`` (1, 2, ...), in the order of ids."""
    ordered = frequent.sort(COUNT, VALUE, descending=[True, False])
    return ordered.with_row_index(ID).select(VALUE, (nw.col(ID).cast(nw.Int32) + 1).alias(ID))


def encode(frame: Frame, column: str, vocabulary: Frame) -> Frame:
    """Replace `column` by its ids (int32); 0 where the value is missing or not in the vocabulary. Row order may change."""
    found = f"{ID} of {column}"  # a column of one's own may be called id
    renamed = vocabulary.rename({VALUE: column, ID: found})
    joined = frame.join(renamed, on=column, how="left").drop(column)
    return joined.with_columns(nw.col(found).fill_null(0).cast(nw.Int32)).rename({found: column})


def transform_numerical(column: str, transform: NumericalTransform) -> nw.Expr:
    """The expression (float64) for one numerical column.

    ``log_x_plus_3_missing_0`` is what the code does. ``readme_missing_0_log_x_plus_2`` is what the README of June 2020
    says: missing becomes 0 first, then ln(x + 2), where x <= -2 has no logarithm and becomes 0.0. ``none`` keeps x.
    """
    x = nw.col(column).cast(nw.Float64)
    if transform == "none":
        return x.fill_null(0.0).alias(column)
    shift = 3.0 if transform == "log_x_plus_3_missing_0" else 2.0
    if transform == "readme_missing_0_log_x_plus_2":
        x = x.fill_null(0.0)
    return nw.when(x + shift > 0).then((x + shift).log()).otherwise(nw.lit(0.0)).alias(column)
