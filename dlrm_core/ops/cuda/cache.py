"""Binaries of kernels on disk, each under the digest of all that went into it, and marks of checks that they passed."""

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

_ENVIRONMENT = "DLRM_CUDA_CACHE"


@dataclass(frozen=True)
class Entry:
    """A binary and what the compiler said of it."""

    cubin: bytes
    log: str


def folder() -> Path:
    """Where binaries lie: ``DLRM_CUDA_CACHE``, or ``dlrm-kit/cuda`` in the user's folder for caches."""
    named = os.environ.get(_ENVIRONMENT)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dlrm-kit" / "cuda"


def key(source: str, *parts: str) -> str:
    """SHA-256 of a source and of whatever else decides on its binary: hardware, options, compiler.

    Their lengths are in it, so that no two lists of parts read the same.

    >>> key("a", "bc") == key("ab", "c")
    False
    """
    digest = hashlib.sha256()
    for text in (source, *parts):
        content = text.encode()
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def read(path: Path) -> Entry | None:
    """The entry, or None where there is none or its bytes are not those that were written."""
    try:
        digest, _, content = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    if hashlib.sha256(content).hexdigest().encode() != digest:
        return None
    log, _, cubin = content.partition(b"\n")
    return Entry(cubin, json.loads(log))


def write(path: Path, entry: Entry) -> None:
    """Write the entry; whoever reads at the same time sees all of it or nothing."""
    content = json.dumps(entry.log).encode() + b"\n" + entry.cubin
    write_whole(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def write_whole(path: Path, content: bytes) -> None:
    """Put a file in its place in one step.

    Raises
    ------
    OSError
        If the folder cannot be written; the message names the variable that chooses another.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
            file.write(content)
        os.replace(file.name, path)
    except OSError as error:
        raise OSError(
            f"{path.parent}: {error}; name a folder that can be written: export {_ENVIRONMENT}=..."
        ) from error
