"""Tables of other people, CSV or Parquet, in pieces: each column checked against the spec and named where it does not fit.

Rows are counted from 1, without the header of a CSV file. A category of a CSV file is a text; one of a Parquet file is a
whole number if the column holds whole numbers, else a text. Equally frequent values are numbered by rising value, and 10
comes after 9 but "10" before "9": so the two formats of one table may give those values other ids, and nothing else differs.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from data_prep.csv_rows import check_lengths, is_parquet, read_header
from dlrm_core.schema.base import nearest
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.table import TableSpec

PIECE_ROWS = 1 << 16
LABELS = {"0": 0, "1": 1, "false": 0, "true": 1}
LONGEST_SHOWN = 80  # characters of a value in a message


def scan_table(path: Path, separator: str, missing: Sequence[str]) -> pl.LazyFrame:
    """The file as a query: every column of a CSV as text, those of a Parquet file as they are; texts of `missing` are null.

    Raises
    ------
    KitError
        If the file is missing, empty, or neither; or names a column twice.
    """
    parquet, marks = is_parquet(path), ["", *(text for text in missing if text)]
    try:
        frame = _parquet(path, marks) if parquet else _csv(path, separator, marks)
        names = frame.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise KitError(f"{path}: cannot be read as {'Parquet' if parquet else 'CSV'} ({_first_line(error)})") from None
    if len(names) < 2:
        by = "" if parquet else f", separated by {separator!r}: check the separator"
        raise KitError(f"{path}: has the single column {names}; several are needed{by}")
    return frame


def _parquet(path: Path, marks: list[str]) -> pl.LazyFrame:
    frame = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    return frame.with_columns(pl.col(pl.String).replace(marks, [None] * len(marks)))


def _csv(path: Path, separator: str, marks: list[str]) -> pl.LazyFrame:
    names = read_header(path, separator)
    return pl.scan_csv(path, separator=separator, infer_schema=False, null_values=marks, new_columns=names, glob=False)


def check_tables(paths: Sequence[Path], spec: TableSpec) -> None:
    """Refuse files whose columns do not fit the spec, or each other, before any row is read.

    Raises
    ------
    KitError
        With the file and the column.
    """
    kinds: dict[str, tuple[str, Path]] = {}
    for path in paths:
        schema = scan_table(path, spec.separator, spec.missing).collect_schema()
        _check_columns(path, spec, schema)
        for name in spec.categorical:
            if schema[name] == pl.Null:
                continue  # holds nothing, which goes with either
            kind = "whole numbers" if schema[name].is_integer() else "texts"
            first, where = kinds.setdefault(name, (kind, path))
            if kind != first:
                raise KitError(
                    f"{path}: column {name!r} holds {kind}, {where.name} holds {first} there; one kind is needed for ids of "
                    "one meaning: give all files in one format"
                )


def count_rows(path: Path) -> int | None:
    """Rows of a Parquet file, which it tells itself; None for a CSV file, which has to be read for that."""
    if not is_parquet(path):
        return None
    return int(scan_table(path, ",", ()).select(pl.len()).collect().item())


def write_head(path: Path, spec: TableSpec, rows: int, target: Path) -> int:
    """Write the first rows of the file, in its own format and with the spec's columns alone; say how many there were."""
    head = _chosen(scan_table(path, spec.separator, spec.missing), spec).head(rows).collect()
    if is_parquet(path):
        head.write_parquet(target)
    else:
        head.write_csv(target, separator=spec.separator)
    return head.height


def read_table(path: Path, spec: TableSpec) -> Iterator[pl.DataFrame]:
    """Pieces of the file in order: label int8, numericals float64, categories text or int64; missing is null.

    Raises
    ------
    KitError
        If a column of the spec is not there, or holds what it must not; with the column, the row and the value.
    """
    frame, start = scan_table(path, spec.separator, spec.missing), 1
    _check_columns(path, spec, frame.collect_schema())
    checked = is_parquet(path)
    with check_rows_of(path, spec.separator):
        for piece in (_chosen(frame, spec) if checked else frame).collect_batches(
            chunk_size=PIECE_ROWS, maintain_order=True
        ):
            if not checked and piece[:, -1].has_nulls():  # a row that is too short lacks its last field
                check_lengths(path, spec.separator)
                checked = True
            yield _checked(piece, spec, path, start)
            start += piece.height
    if start == 1:
        raise KitError(f"{path}: holds no rows")


@contextmanager
def check_rows_of(path: Path, separator: str) -> Iterator[None]:
    """Say what is wrong with a file that breaks off within: the row if one is too long or too short, else what Polars says."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        parquet = is_parquet(path)
        if not parquet:
            check_lengths(path, separator)
        raise KitError(f"{path}: is damaged {'Parquet' if parquet else 'CSV'} ({_first_line(error)})") from None


def _chosen(frame: pl.LazyFrame, spec: TableSpec) -> pl.LazyFrame:
    return frame.select(spec.label, *spec.numerical, *spec.categorical)


def _check_columns(path: Path, spec: TableSpec, schema: pl.Schema) -> None:
    columns = schema.names()
    for name in (spec.label, *spec.numerical, *spec.categorical):
        if name not in columns:
            raise KitError(
                f"{path}: has no column {name!r}{nearest(name, columns)}, which the spec names; columns: {', '.join(columns)}"
            )
    for name in (spec.label, *spec.numerical):
        if not may_be_number(schema[name]):
            raise KitError(f"{path}: column {name!r} holds {schema[name]}; numbers are needed, or texts of numbers")
    for name in spec.categorical:
        if not may_be_category(schema[name]):
            raise KitError(f"{path}: column {name!r} holds {schema[name]}; texts, numbers or dates are needed")


def may_be_number(dtype: pl.DataType) -> bool:
    """Whether a value of that type is a number, or may be the text of one."""
    return dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Null, pl.Categorical, pl.Enum)


def may_be_category(dtype: pl.DataType) -> bool:
    """Whether a value of that type is a single one that has a text."""
    return not dtype.is_nested() and dtype not in (pl.Binary, pl.Object)


def labels(raw: pl.Series) -> pl.Series:
    """Int8 0 or 1; null for what is neither 0, 1, false nor true."""
    text = raw.cast(pl.String).str.strip_chars().str.to_lowercase().str.strip_suffix(".0")
    return text.replace_strict(LABELS, default=None, return_dtype=pl.Int8)


def numbers(raw: pl.Series) -> pl.Series:
    """Float64, missing is null; what is no number, or no finite one, is NaN. NaN of a Parquet file is missing."""
    if raw.dtype.is_float():
        raw = raw.fill_nan(None)
    if raw.dtype in (pl.Categorical, pl.Enum):
        raw = raw.cast(pl.String)
    number = (raw.str.strip_chars() if raw.dtype == pl.String else raw).cast(pl.Float64, strict=False)
    wrong = (number.is_null() & raw.is_not_null()) | ~number.is_finite().fill_null(True)
    return number.set(wrong, float("nan"))


def _checked(piece: pl.DataFrame, spec: TableSpec, path: Path, start: int) -> pl.DataFrame:
    label = labels(piece[spec.label])
    _refuse(piece[spec.label], label.is_null(), path, start, "the label 0 or 1 (false or true)")
    made = [label.alias(spec.label)]
    for name in spec.numerical:
        number = numbers(piece[name])
        _refuse(piece[name], number.is_nan().fill_null(False), path, start, "a number, or a text of `missing`,")
        made.append(number.alias(name))
    for name in spec.categorical:
        value = _category(piece[name])
        if value.dtype == pl.Int64:
            _refuse(piece[name], value.is_null() & piece[name].is_not_null(), path, start, "a whole number below 2**63")
        made.append(value)
    return pl.DataFrame(made)


def _category(raw: pl.Series) -> pl.Series:
    if raw.dtype == pl.Null:
        return raw
    if raw.dtype.is_integer():
        return raw.cast(pl.Int64, strict=False)
    return raw.fill_nan(None).cast(pl.String) if raw.dtype.is_float() else raw.cast(pl.String)


def _refuse(raw: pl.Series, wrong: pl.Series, path: Path, start: int, needed: str) -> None:
    row = wrong.arg_max() if wrong.any() else None
    if row is not None:
        came = "nothing" if raw[row] is None else repr(raw[row])
        came = came if len(came) <= LONGEST_SHOWN else came[: LONGEST_SHOWN - 3] + "..."
        raise KitError(f"{path}: row {start + row}, column {raw.name!r} holds {came}; {needed} is needed")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
