"""The raw Criteo format: text lines of 40 tab-separated fields, plain or gzip, read in whole-line blocks and checked.

A line is a label (0 or 1), 13 integers and 26 categories of 8 lower-case hexadecimal digits; all but the label may be
empty (missing). Blocks keep memory bounded and let every fault be told with its file and line.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import input_file

LABEL = "label"
NUMERICAL = tuple(f"I{i}" for i in range(1, 14))
CATEGORICAL = tuple(f"C{i}" for i in range(1, 27))
COLUMNS = (LABEL, *NUMERICAL, *CATEGORICAL)
NUM_TABS = len(COLUMNS) - 1
BLOCK_BYTES = 32 << 20

_INTEGER = re.compile(rb"(-?)0*([0-9]{1,10})")
_HEX = re.compile(rb"[0-9a-f]{8}")
_INT32 = range(-(2**31), 2**31)
# Of the characters, only these can stand in a sound file; one other character sends the block to the slow check.
_SOUND = bytes(range(0x30, 0x3A)) + bytes(range(0x61, 0x67)) + b"-\t\n"


@dataclass(frozen=True)
class Block:
    """Whole lines of one file: their bytes (each ends in a newline), their number, and the number of the first."""

    path: Path
    first_line: int
    num_lines: int
    data: bytes


def read_blocks(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Yield the file's lines in blocks of about `block_bytes`, each line checked to have 40 fields.

    Raises
    ------
    KitError
        If the file is missing, empty, a folder or a broken gzip stream, or a line has another number of fields.
    """
    input_file(path, "a raw Criteo file (label, 13 integers, 26 categories, tab separated)")
    line = 1
    rest = b""
    with _open(path) as stream:
        while True:
            piece = _read(stream, path, line, block_bytes)
            if not piece:
                break
            cut = piece.rfind(b"\n") + 1
            data, rest = (rest + piece[:cut], piece[cut:]) if cut else (b"", rest + piece)
            if data:
                block = _checked(path, line, data)
                yield block
                line += block.num_lines
    if rest:
        yield _checked(path, line, rest + b"\n")
    elif line == 1:
        raise KitError(f"{path}: holds no rows; a raw Criteo file is needed")


def has_foreign_characters(block: Block) -> bool:
    """Whether a character occurs that no sound file holds (so :func:`find_fault` must look)."""
    return bool(block.data.translate(None, _SOUND))


def find_fault(block: Block) -> KitError | None:
    """The first field of the block that is not as the format asks, as an error with file, line and column; or None."""
    for offset, text in enumerate(block.data[:-1].split(b"\n")):
        for column, field in zip(COLUMNS, text.split(b"\t"), strict=True):
            wanted = _wanted(column, field)
            if wanted:
                came = field.decode("utf-8", "replace")
                return KitError(
                    f"{block.path}:{block.first_line + offset}: column {column} holds {came!r}; {wanted} is needed"
                )
    return None


def _wanted(column: str, field: bytes) -> str | None:
    if column == LABEL:
        return None if field in (b"0", b"1") else "the label 0 or 1"
    if not field:
        return None
    if column in NUMERICAL:
        match = _INTEGER.fullmatch(field)
        sound = match is not None and int(match[1] + match[2]) in _INT32
        return None if sound else "an integer of 32 bits or nothing"
    return None if _HEX.fullmatch(field) else "a category of 8 hexadecimal digits (0-9, a-f) or nothing"


def _open(path: Path) -> BinaryIO | gzip.GzipFile:
    with path.open("rb") as probe:
        is_gzip = probe.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if is_gzip else path.open("rb")


def _read(stream: BinaryIO | gzip.GzipFile, path: Path, line: int, block_bytes: int) -> bytes:
    try:
        return stream.read(block_bytes)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise KitError(
            f"{path}:{line}: the gzip stream breaks off or is damaged after this line ({error}); fetch the file again"
        ) from None


def _checked(path: Path, first_line: int, data: bytes) -> Block:
    characters = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(characters == ord("\n"))
    tabs_before_end = np.searchsorted(np.flatnonzero(characters == ord("\t")), ends)
    tabs = np.diff(tabs_before_end, prepend=0)
    wrong = np.flatnonzero(tabs != NUM_TABS)
    if wrong.size:
        raise KitError(
            f"{path}:{first_line + int(wrong[0])}: has {int(tabs[wrong[0]]) + 1} fields; {NUM_TABS + 1} are needed, tab separated"
        )
    return Block(path=path, first_line=first_line, num_lines=len(ends), data=data)
