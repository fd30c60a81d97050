"""The Polars engine: text blocks to frames of 32-bit codes."""

import io

import polars as pl

from data_prep.raw import CATEGORICAL, COLUMNS, LABEL, NUMERICAL, Block, find_fault, has_foreign_characters

NAME = "polars"
_TEXT_SCHEMA = {LABEL: pl.String} | dict.fromkeys(NUMERICAL, pl.Int32) | dict.fromkeys(CATEGORICAL, pl.String)


def parse(block: Block) -> pl.DataFrame:
    """A block's rows: label int8, I1..I13 int32, C1..C26 uint32 (the hexadecimal number); missing is null.

    Raises
    ------
    KitError
        If a field is not as the format asks; with file, line and column.
    """
    if not has_foreign_characters(block):
        frame = _parse_fast(block)
        if frame is not None:
            return frame
    fault = find_fault(block)
    if fault is None:
        raise AssertionError(
            f"{block.path}: lines from {block.first_line} on could not be parsed, yet every field is sound"
        )
    raise fault


def _parse_fast(block: Block) -> pl.DataFrame | None:
    try:
        text = pl.read_csv(
            io.BytesIO(block.data),
            separator="\t",
            has_header=False,
            quote_char=None,
            schema=_TEXT_SCHEMA,
        )
        codes = text.with_columns(pl.col(CATEGORICAL).str.to_integer(base=16, dtype=pl.UInt32, strict=True))
    except (pl.exceptions.ComputeError, pl.exceptions.InvalidOperationError):
        return None
    widths_sound = text.select(pl.all_horizontal((pl.col(CATEGORICAL).str.len_bytes() == 8).all())).item()
    labels_sound = text.select(pl.col(LABEL).is_in(["0", "1"], nulls_equal=True).all()).item()
    if codes.height != block.num_lines or not widths_sound or not labels_sound:
        return None
    return codes.select(pl.col(LABEL).cast(pl.Int8), *COLUMNS[1:])
