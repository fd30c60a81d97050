"""Texts of the command line as values."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlrm_core.schema.errors import KitError
from dlrm_core.schema.table import TableSpec, read_table_spec

UNITS = {
    "": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
    "TIB": 1 << 40,
}


def size_bytes(text: str) -> int:
    """Bytes from a number with a unit.

    >>> size_bytes("4GB"), size_bytes("1.5 GiB")
    (4000000000, 1610612736)

    Raises
    ------
    KitError
        If it is something else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if match is None or match[2].upper() not in UNITS:
        raise KitError(f"{text!r}: a size such as 4GB or 512MiB is needed")
    return int(float(match[1]) * UNITS[match[2].upper()])


def amount(size_bytes: int) -> str:
    """Bytes in decimal units, as disks and download pages count.

    >>> amount(367_457_415_168), amount(1_234_567), amount(999)
    ('367.5 GB', '1.2 MB', '999 bytes')
    """
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.1f} {name}"
    return f"{size_bytes} bytes"


def frequency_limits(text: str) -> dict[str, Any]:
    """Fields of a `Preparation` from one number for all columns, and others for single ones.

    >>> frequency_limits("15,C3:5")
    {'column_limits': {'C3': 5}, 'frequency_limit': 15}

    Raises
    ------
    KitError
        If a piece is neither N nor COLUMN:N, or N is given twice.
    """
    fields: dict[str, Any] = {"column_limits": {}}
    for piece in text.split(","):
        match = re.fullmatch(r"(?:(.+):)?(-?\d+)", piece.strip())
        if match is None or (match[1] is None and "frequency_limit" in fields) or match[1] in fields["column_limits"]:
            raise KitError(
                f"--frequency-limit {text}: one number, and COLUMN:NUMBER pairs, are needed, for example 15,C3:5"
            )
        if match[1] is None:
            fields["frequency_limit"] = int(match[2])
        else:
            fields["column_limits"][match[1]] = int(match[2])
    return fields


def table_spec(name: str) -> TableSpec:
    """A spec by its file, or by the name of one that comes with the kit (`data_prep/specs`).

    Raises
    ------
    KitError
        If there is none, or it does not fit the schema.
    """
    shipped = Path(__file__).with_name("specs") / f"{name}.yaml"
    return read_table_spec(shipped if re.fullmatch(r"\w+", name) and shipped.is_file() else Path(name))


def engine_options(groups: Sequence[Sequence[str]]) -> dict[str, str]:
    """Options of an engine from NAME=VALUE texts; the engine knows which there are.

    >>> engine_options([["master=local[2]"], ["spark.executor.memory=2g"]])
    {'master': 'local[2]', 'spark.executor.memory': '2g'}

    Raises
    ------
    KitError
        If a piece has another form.
    """
    options = {}
    for piece in (piece for group in groups for piece in group):
        name, equals, value = piece.partition("=")
        if not (name and equals):
            raise KitError(f"--engine-option {piece}: NAME=VALUE is needed, for example master=local[2]")
        options[name] = value
    return options
