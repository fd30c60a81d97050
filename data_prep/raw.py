"""The raw Criteo format: text lines of 40 tab-separated fields, plain or gzip, read in whole-line blocks.

A line is a label (0 or 1), 13 integers and 26 categories of 8 lower-case hexadecimal digits; all but the label may be
empty (missing). Blocks keep memory bounded and let every fault be told with its file and line.
"""

import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data_prep.gzip_break import whole_lines
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import input_file

LABEL = "label"
NUMERICAL = tuple(f"I{i}" for i in range(1, 14))
CATEGORICAL = tuple(f"C{i}" for i in range(1, 27))
COLUMNS = (LABEL, *NUMERICAL, *CATEGORICAL)
BLOCK_BYTES = 8 << 20
MAX_LINE_BYTES = 1 << 20  # a sound line has at most 391; more is not text, and would be kept in memory whole

_INTEGER = re.compile(rb"(-?)0*([0-9]{1,10})")
_HEX = re.compile(rb"[0-9a-f]{8}")
_INT32 = range(-(2**31), 2**31)


@dataclass(frozen=True)
class Block:
    """Whole lines of one file: their bytes (each ends in a newline), their number, and the number of the first."""

    path: Path
    first_line: int
    num_lines: int
    data: bytes


class _Hashed(io.RawIOBase):
    """Reads a file and takes the SHA-256 of what was read."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self.count = 0
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._handle.readinto(buffer)  # type: ignore[attr-defined]
        self.digest.update(buffer[:count])
        self.count += count
        return int(count)


class RawFile:
    """A raw file that is read once, block by block; its SHA-256 is known then, and `bytes_read` (compressed ones) meanwhile.

    Parameters
    ----------
    path : Path
    block_bytes : int
        Size of a block before its last line's end.

    Raises
    ------
    KitError
        If the file is missing, empty, a folder or unreadable.
    """

    def __init__(self, path: Path, block_bytes: int = BLOCK_BYTES) -> None:
        self.path = input_file(path, "a raw Criteo file (label, 13 integers, 26 categories, tab separated)")
        self.sha256 = ""
        self.bytes_read = 0
        self._block_bytes = block_bytes

    def blocks(self) -> Iterator[Block]:
        """Yield the file's lines; the fields are not looked at.

        Raises
        ------
        KitError
            If the gzip stream is broken, a line is longer than any text's, or there is no line at all.
        """
        line, rest = 1, b""
        with self.path.open("rb") as handle:
            hashed = _Hashed(handle)
            stream = self._decompressed(hashed)
            while piece := self._read(stream):
                cut = piece.rfind(b"\n") + 1
                data, rest = (rest + piece[:cut], piece[cut:]) if cut else (b"", rest + piece)
                if len(rest) > MAX_LINE_BYTES:
                    raise KitError(
                        f"{self.path}:{line + data.count(10)}: has no end within {MAX_LINE_BYTES} bytes; a raw Criteo file "
                        "is needed, text of 40 fields a line"
                    )
                self.bytes_read = hashed.count
                if data:
                    lines = int(np.count_nonzero(np.frombuffer(data, np.uint8) == 10))  # half the time of bytes.count
                    yield (block := Block(self.path, line, lines, data))
                    line += block.num_lines
            if rest:
                yield Block(self.path, line, 1, rest + b"\n")
            elif line == 1:
                raise KitError(f"{self.path}: holds no rows; a raw Criteo file is needed")
            self.sha256 = hashed.digest.hexdigest()

    def _decompressed(self, hashed: _Hashed) -> BinaryIO:
        buffered = io.BufferedReader(hashed, 1 << 16)
        is_gzip = buffered.peek(2)[:2] == b"\x1f\x8b"
        return gzip.GzipFile(fileobj=buffered, mode="rb") if is_gzip else buffered  # type: ignore[return-value]

    def _read(self, stream: BinaryIO) -> bytes:
        try:
            return stream.read(self._block_bytes)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise KitError(
                f"{self.path}:{whole_lines(self.path) + 1}: the gzip stream breaks off or is damaged in this line ({error}); "
                "fetch the file again"
            ) from None


def read_blocks(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Yield a raw file's lines in blocks of about `block_bytes`; see :class:`RawFile`."""
    return RawFile(path, block_bytes).blocks()


def find_fault(block: Block) -> KitError | None:
    """The first line of the block that is not as the format asks, as an error with file, line and column; or None."""
    for offset, text in enumerate(block.data[:-1].split(b"\n")):
        place, fields = f"{block.path}:{block.first_line + offset}", text.split(b"\t")
        if len(fields) != len(COLUMNS):
            return KitError(f"{place}: has {len(fields)} fields; {len(COLUMNS)} are needed, tab separated")
        for column, field in zip(COLUMNS, fields, strict=True):
            wanted = _wanted(column, field)
            if wanted:
                came = field.decode("utf-8", "replace")
                return KitError(f"{place}: column {column} holds {came!r}; {wanted} is needed")
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
