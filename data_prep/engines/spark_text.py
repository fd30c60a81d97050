"""Raw text for the Spark engine: what Spark is asked to read, and the expressions that turn lines into codes."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from data_prep import definition
from data_prep.raw import CATEGORICAL, LABEL, NUMERICAL, Block, RawFile, find_fault

SOUND, SPLIT = "sound", "split"
# Spark has no unsigned numbers: a category of 32 bits is a bigint.
CODES = {definition.ROW: "bigint", LABEL: "tinyint"} | dict.fromkeys(NUMERICAL, "int")
CODES |= dict.fromkeys(CATEGORICAL, "bigint")
# Java's \z is the very end; its $ would let a carriage return pass.
LINE = r"\A[01](?:\t(?:-?[0-9]+)?){13}(?:\t(?:[0-9a-f]{8})?){26}\z"
ROW_BITS = 33  # of monotonically_increasing_id that count the rows of a partition


@dataclass(frozen=True)
class Scanned:
    """What one look at a raw file tells: its rows and its SHA-256."""

    rows: int
    sha256: str


def scan(path: Path) -> Scanned:
    """Read a raw file's lines without looking at their fields.

    Raises
    ------
    KitError
        As :class:`data_prep.raw.RawFile` does, before Spark would stumble over it in words of its own.
    """
    raw = RawFile(path)
    rows = sum(block.num_lines for block in raw.blocks())
    return Scanned(rows, raw.sha256)


@contextmanager
def link_for_spark(path: Path, folder: Path) -> Iterator[Path]:
    """A link beside `folder` whose name suits Spark, which tells gzip by the name and passes over names such as ``_day``."""
    with path.open("rb") as handle:
        ending = "gz" if handle.read(2) == b"\x1f\x8b" else "txt"
    folder.parent.mkdir(parents=True, exist_ok=True)
    link = folder.with_name(f"{folder.name}-text.{ending}")
    link.unlink(missing_ok=True)
    link.symlink_to(path.resolve())
    try:
        yield link
    finally:
        link.unlink(missing_ok=True)


def hadoop_path(path: Path) -> str:
    """A path that Spark reads as it stands, not as a pattern."""
    absolute = path.parent.resolve() / path.name  # a link is kept
    return "file://" + re.sub(r"([{}\[\]*?\\])", r"\\\1", str(absolute))


def numbered(first_rows: Sequence[int]) -> list[str]:
    """Row number and fields of a line in the column ``value``, given the number of each partition's first row."""
    starts = ", ".join(f"{row}L" for row in first_rows)
    row = f"array({starts})[spark_partition_id()] + (monotonically_increasing_id() & {(1 << ROW_BITS) - 1}L)"
    return [f"{row} as {definition.ROW}", "value", r"split(value, '\t', -1) as fields"]


def checked_codes() -> list[str]:
    """Row number, whether the row is as the format asks, and the codes, from what :func:`numbered` gives."""
    integers = {name: f"cast(fields[{i}] as int)" for i, name in enumerate(NUMERICAL, start=1)}
    fit = [f"(fields[{i}] = '' or {integers[name]} is not null)" for i, name in enumerate(NUMERICAL, start=1)]
    sound = f"value rlike r'{LINE}' and {' and '.join(fit)}"
    codes = {LABEL: "cast(fields[0] as tinyint)"} | integers
    codes |= {
        name: f"cast(conv(nullif(fields[{i}], ''), 16, 10) as bigint)" for i, name in enumerate(CATEGORICAL, start=14)
    }
    return [definition.ROW, f"({sound}) as {SOUND}", *(f"{made} as {name}" for name, made in codes.items())]


def raise_fault(path: Path, row: int) -> NoReturn:
    """Raise what is wrong with a row, numbered from 0.

    Raises
    ------
    KitError
        With file, line and column.
    """
    for block in RawFile(path).blocks():
        at = row + 1 - block.first_line
        if at < block.num_lines:
            line = block.data.split(b"\n", at + 1)[at] + b"\n"
            raise find_fault(Block(path, row + 1, 1, line)) or AssertionError(
                f"{path}:{row + 1}: refused without a fault"
            )
    raise AssertionError(f"{path}: has no row {row}")
