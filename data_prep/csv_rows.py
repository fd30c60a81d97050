"""What Polars does not tell of a CSV file: a separator, a name that stands twice, a row that is too short or too long.

Polars fills a short row up with missing values, and renames the second of two columns with one name. Both would put values
where they do not belong without a word.
"""

import csv
import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import input_file

SEPARATORS = (",", "\t", ";", "|")
ROWS_LOOKED_AT = 100


def is_parquet(path: Path) -> bool:
    """Whether the file begins as Parquet does.

    Raises
    ------
    KitError
        If it is missing, a folder, empty or unreadable.
    """
    with input_file(path, "a CSV or Parquet file").open("rb") as handle:
        return handle.read(4) == b"PAR1"


def read_header(path: Path, separator: str) -> list[str]:
    """Names of the columns; Polars leaves doubled quotes in them as they are.

    Raises
    ------
    KitError
        If there is none, or it names a column twice.
    """
    with _rows(path, separator) as rows:
        names: list[str] = next(rows, [])
    if not names:
        raise KitError(f"{path}: the first line is empty; names of the columns are needed there")
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise KitError(f"{path}: the header names the column {twice!r} twice; give each column a name of its own")
    return names


def check_lengths(path: Path, separator: str) -> None:
    """Refuse a file with rows of another length than the header's; a whole pass over it, in plain Python.

    Raises
    ------
    KitError
        With the row, counted from 1 without the header, and its number of fields.
    """
    with _rows(path, separator) as rows:
        names = next(rows, [])
        for number, row in enumerate(rows, 1):
            if len(row) != len(names):
                what = f"has {len(row)} fields" if row else "is an empty line"
                raise KitError(
                    f"{path}: row {number} {what}; {len(names)} fields, separated by {separator!r}, are needed: {_shown(names)}"
                )


def find_separator(path: Path) -> str:
    """The separator that cuts the first rows into the most fields, as many in each as in the header.

    Raises
    ------
    KitError
        If none cuts them into two or more.
    """
    found = {separator: _width(path, separator) for separator in SEPARATORS}
    best = max(SEPARATORS, key=lambda separator: found[separator])
    if found[best] < 2:
        raise KitError(
            f"{path}: no separator (comma, tab, semicolon or pipe) cuts its first rows into as many fields as its header; if it "
            "is another one, name it with --separator; if a row is too long or too short, mend it"
        )
    return best


def _width(path: Path, separator: str) -> int:
    """Fields of the header, if all of the first rows have as many; else 0."""
    with _rows(path, separator) as rows:
        widths = {len(row) for row in islice(rows, ROWS_LOOKED_AT) if row}
    return widths.pop() if len(widths) == 1 else 0


@contextmanager
def _rows(path: Path, separator: str) -> Iterator[Iterator[list[str]]]:
    with path.open("rb") as handle:
        packed = handle.read(2) == b"\x1f\x8b"
    try:
        # Polars, too, skips a byte order mark.
        with (gzip.open if packed else open)(path, "rt", encoding="utf-8-sig", newline="") as lines:
            yield csv.reader(lines, delimiter=separator)
    except UnicodeDecodeError:
        raise KitError(f"{path}: is not a text in UTF-8; save it as CSV in UTF-8") from None
    except (csv.Error, OSError, EOFError) as error:
        raise KitError(f"{path}: cannot be read as CSV ({error})") from None


def _shown(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 20 else f"{', '.join(names[:20])}, ..."
