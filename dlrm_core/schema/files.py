"""Files that appear whole or not at all, and their digests."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from dlrm_core.schema.errors import KitError

CHUNK_BYTES = 1 << 22


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write `data` under a temporary name in the same folder, flush it to disk and rename it onto `path`."""
    raw = data.encode() if isinstance(data, str) else data
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as handle:
            handle.write(raw)
            handle.flush()
            os.fsync(handle.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def sha256_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while piece := handle.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def make_output_folder(path: Path) -> None:
    """Create `path` (and parents) if need be and make sure that it can be written to.

    Raises
    ------
    KitError
        If `path` is a file, or the folder cannot be created or written.
    """
    try:
        if path.exists() and not path.is_dir():
            raise KitError(f"{path}: is a file, a folder is needed for the output; name another --out")
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".write-test.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise KitError(
            f"{path}: cannot be written ({error.strerror}); name another --out or mend its permissions"
        ) from None


def keep_apart(inputs: Iterable[Path], out: Path) -> None:
    """Make sure that writing to the folder `out` cannot touch an input.

    Raises
    ------
    KitError
        If an input lies in `out` or is `out` itself.
    """
    folder = out.resolve()
    for path in inputs:
        if path.resolve().is_relative_to(folder):
            raise KitError(f"{path}: lies in the output folder {out}, which may replace it; name another --out")


def input_file(path: Path, what: str) -> Path:
    """`path` itself, if it is a readable, non-empty regular file.

    Raises
    ------
    KitError
        If it is missing, a folder, empty or unreadable.
    """
    try:
        exists = path.exists()
    except OSError as error:
        raise KitError(f"{path}: cannot be looked up ({error.strerror}); {what} is needed") from None
    if not exists:
        raise KitError(f"{path}: no such file; {what} is needed")
    if path.is_dir():
        raise KitError(f"{path}: is a folder, {what} is needed; name the files in it")
    if not os.access(path, os.R_OK):
        raise KitError(f"{path}: cannot be read; mend its permissions")
    if path.stat().st_size == 0:
        raise KitError(f"{path}: is empty; {what} is needed")
    return path
