"""Where a broken gzip file breaks: looked for only when reading it has failed, since it takes a pass over the file."""

import zlib
from pathlib import Path

PIECE_BYTES = 1 << 12  # of compressed data, which are gone through again byte by byte
GZIP = 31  # zlib's number for a gzip header and the largest window


def whole_lines(path: Path) -> int:
    """Lines that come out whole before a gzip file breaks off or is damaged."""
    lines, stream, data = 0, zlib.decompressobj(GZIP), b""
    with path.open("rb") as handle:
        while data or (data := handle.read(PIECE_BYTES)):
            before = stream.copy()
            try:
                lines += stream.decompress(data).count(b"\n")
            except zlib.error:
                return lines + _lines_of_piece(before, data)
            data = b""
            if stream.eof:  # another member may follow, after zeros
                data, stream = stream.unused_data.lstrip(b"\0"), zlib.decompressobj(GZIP)
    return lines


def _lines_of_piece(stream: "zlib._Decompress", data: bytes) -> int:
    """Lines of a piece that ends in an error, one byte of text at a time up to it."""
    lines = 0
    try:
        while text := stream.decompress(data, 1):
            lines += text == b"\n"
            data = stream.unconsumed_tail
    except zlib.error:
        pass
    return lines
