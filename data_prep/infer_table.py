"""A first guess at a :class:`~dlrm_core.schema.table.TableSpec` from a CSV or Parquet file, to be looked over by a person."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from data_prep.csv_rows import check_lengths, find_separator, is_parquet
from data_prep.infer_columns import Look, look
from data_prep.infer_label import choose_label
from data_prep.table_reader import check_rows_of, scan_table
from dlrm_core.schema.dataset import NumericalTransform
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import write_atomic
from dlrm_core.schema.table import TableSpec, is_separator, table_spec_text

ROWS_LOOKED_AT = 100_000
LARGE = (
    100.0  # a difference of ratios says more than one of amounts, and a raw number would dwarf the others in the MLP
)
SMALLEST_WITH_LOGARITHM = -2.0  # of ln(x + 3) above 0
LARGEST_FLOAT16 = 65504.0


@dataclass(frozen=True)
class Inferred:
    """A guess and its grounds.

    Attributes
    ----------
    spec : TableSpec
    chosen : dict of str to str
        What was taken for what, by column of the spec, in the order of the file.
    left_out : dict of str to str
        Why, by column that the spec does not name.
    rows : int
        That were looked at.
    """

    spec: TableSpec
    chosen: dict[str, str]
    left_out: dict[str, str]
    rows: int


def infer_spec(path: Path, *, label: str | None = None, separator: str | None = None) -> TableSpec:
    """The spec alone of :func:`infer_table`.

    Raises
    ------
    KitError
        As there.
    """
    return infer_table(path, label=label, separator=separator).spec


def infer_table(path: Path, *, label: str | None = None, separator: str | None = None) -> Inferred:
    """Guess what each column is from the first 100,000 rows.

    Numerical are columns of finite numbers with more than 50 distinct values, or with any that is not whole; the rest is
    categorical. Left out are columns with one value only, with another value in every row (identifiers; numbers that are
    not whole are none), and with lists or other values of many parts. The transform is a logarithm if any number exceeds
    1000 in size, and none lies below -2.

    Parameters
    ----------
    path : Path
        CSV in UTF-8, or Parquet.
    label : str, optional
        Column of the clicks; without it the one of a usual name, or the only one with the values 0 and 1 or false and true.
    separator : str, optional
        Of a CSV; without it comma, tab, semicolon or pipe, by looking.

    Raises
    ------
    KitError
        If the file cannot be read, the label is not plain, or no numerical or no categorical column is found.
    """
    if separator is None:
        separator = "," if is_parquet(path) else find_separator(path)
    if not is_separator(separator):
        raise KitError(
            f"{path}: --separator {separator!r}: one ASCII character, such as ';', is needed, or the word tab"
        )
    missing = TableSpec.model_fields["missing"].default
    frame = first_rows(path, separator, missing)
    name = choose_label(frame, label, path)
    looks = _within_float16([look(frame[column]) for column in frame.columns if column != name])
    numerical, categorical = (tuple(x.name for x in looks if x.kind == kind) for kind in ("numerical", "categorical"))
    if not numerical or not categorical:
        raise KitError(
            f"{path}: a DLRM needs at least one numerical and one categorical column; in the first {frame.height:,} rows were "
            f"found {name!r} (label), " + ", ".join(f"{x.name!r} ({x.words})" for x in looks)
        )
    words = {x.name: x.words for x in looks}
    return Inferred(
        TableSpec(
            label=name,
            numerical=numerical,
            categorical=categorical,
            separator=separator,
            numerical_transform=_transform(looks),
        ),
        {c: words.get(c, "label") for c in frame.columns if c in (name, *numerical, *categorical)},
        {x.name: x.words.removeprefix("left out: ") for x in looks if x.kind == "left out"},
        frame.height,
    )


def first_rows(path: Path, separator: str, missing: tuple[str, ...]) -> pl.DataFrame:
    """The file's first rows, as :func:`~data_prep.table_reader.scan_table` gives them.

    Raises
    ------
    KitError
        If it cannot be read or holds none.
    """
    with check_rows_of(path, separator):
        frame = scan_table(path, separator, missing).head(ROWS_LOOKED_AT).collect()
    if not is_parquet(path) and frame[:, -1].has_nulls():
        check_lengths(path, separator)
    if not frame.height:
        raise KitError(f"{path}: holds no rows")
    return frame


def write_spec(spec: TableSpec, path: Path, left_out: Mapping[str, str]) -> None:
    """Write the spec as YAML below a comment line for each column that was left out, with the reason.

    Raises
    ------
    KitError
        If the file is there with other content, or cannot be written.
    """
    comments = ["What `dlrm prepare --spec` reads of a table; a guess, to be mended by hand."]
    comments += [f"left out: {name!r}, {reason}" for name, reason in left_out.items()]
    text = table_spec_text(spec, comments)
    try:
        if path.exists():
            if path.is_dir() or path.read_bytes() != text.encode():
                raise KitError(
                    f"{path}: is there already, with other content; name another file, or take it away first"
                )
            return
        write_atomic(path, text)
    except OSError as error:
        raise KitError(f"{path}: cannot be written ({error.strerror}); name another file") from None


def _transform(looks: list[Look]) -> NumericalTransform:
    numbers = [x for x in looks if x.kind == "numerical"]
    large = any(max(abs(x.low), abs(x.high)) > LARGE for x in numbers)
    return "log_x_plus_3_missing_0" if large and not _has_negative(numbers) else "none"


def _has_negative(looks: list[Look]) -> bool:
    return any(x.kind == "numerical" and x.low < SMALLEST_WITH_LOGARITHM for x in looks)


def _within_float16(looks: list[Look]) -> list[Look]:
    """Leave out what float16 cannot hold where there is no logarithm because of numbers below -2."""
    if not _has_negative(looks):
        return looks
    reason = (
        "left out: numbers beyond 65,504 need a logarithm, and numbers below -2 here or in another column have none"
    )
    return [
        Look(x.name, "left out", reason)
        if x.kind == "numerical" and max(abs(x.low), abs(x.high)) > LARGEST_FLOAT16
        else x
        for x in looks
    ]
