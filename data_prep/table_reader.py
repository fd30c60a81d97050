"""Tables of other people, CSV or Parquet, in pieces: each column checked against the spec and named where it does not fit."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from dlrm_core.schema.base import nearest
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import input_file
from dlrm_core.schema.table import TableSpec

PIECE_ROWS = 1 << 16
LABELS = {"0": 0, "1": 1, "false": 0, "true": 1}


def scan_table(path: Path, separator: str, missing: tuple[str, ...]) -> pl.LazyFrame:
    """The file as a query: every column of a CSV as text, those of a Parquet file as they are.

    Raises
    ------
    KitError
        If the file is missing, empty, or neither.
    """
    input_file(path, "a CSV or Parquet file")
    with path.open("rb") as handle:
        is_parquet = handle.read(4) == b"PAR1"
    try:
        frame = (
            pl.scan_parquet(path)
            if is_parquet
            else pl.scan_csv(path, separator=separator, infer_schema=False, null_values=list(missing))
        )
        names = frame.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise KitError(
            f"{path}: cannot be read as {'Parquet' if is_parquet else 'CSV'} ({_first_line(error)})"
        ) from None
    if len(names) < 2:
        raise KitError(
            f"{path}: has the single column {names}; several are needed, separated by {separator!r}: check `separator`"
        )
    return frame


def read_table(path: Path, spec: TableSpec) -> Iterator[pl.DataFrame]:
    """Pieces of the file in order: label int8, numericals float64, categories text or int64; missing is null.

    Raises
    ------
    KitError
        If a column of the spec is not there, or holds what it must not; with the column, the row and the value.
    """
    frame = scan_table(path, spec.separator, spec.missing)
    columns = frame.collect_schema().names()
    for name in (spec.label, *spec.numerical, *spec.categorical):
        if name not in columns:
            raise KitError(
                f"{path}: has no column {name!r}{nearest(name, columns)}, which the spec names; columns: {', '.join(columns)}"
            )
    wanted, start = frame.select(spec.label, *spec.numerical, *spec.categorical), 1
    try:
        for piece in wanted.collect_batches(chunk_size=PIECE_ROWS, maintain_order=True):
            yield _checked(piece, spec, path, start)
            start += piece.height
    except pl.exceptions.PolarsError as error:
        raise KitError(f"{path}: cannot be read after row {start - 1} ({_first_line(error)})") from None
    if start == 1:
        raise KitError(f"{path}: holds no rows")


def _checked(piece: pl.DataFrame, spec: TableSpec, path: Path, start: int) -> pl.DataFrame:
    label = (
        piece[spec.label].cast(pl.String).str.to_lowercase().str.strip_suffix(".0").replace_strict(LABELS, default=None)
    )
    _refuse(piece[spec.label], label.is_null(), path, start, "the label 0 or 1 (false or true)")
    made = [label.cast(pl.Int8).alias(spec.label)]
    for name in spec.numerical:
        raw = piece[name]
        number = raw.cast(pl.Float64, strict=False)
        _refuse(
            raw, (number.is_null() & raw.is_not_null()) | ~number.is_finite().fill_null(True), path, start, "a number"
        )
        made.append(number)
    return pl.DataFrame(made + [_category(piece[name]) for name in spec.categorical])


def _category(raw: pl.Series) -> pl.Series:
    return raw.cast(pl.Int64) if raw.dtype.is_integer() else raw.cast(pl.String)


def _refuse(raw: pl.Series, wrong: pl.Series, path: Path, start: int, needed: str) -> None:
    row = wrong.arg_max() if wrong.any() else None
    if row is not None:
        raise KitError(f"{path}: row {start + row}, column {raw.name!r} holds {raw[row]!r}; {needed} is needed")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
