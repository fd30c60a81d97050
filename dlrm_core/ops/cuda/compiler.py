"""From source to binary: compiled once for each source, hardware and compiler, then read from disk."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dlrm_core.ops.cuda import cache
from dlrm_core.ops.cuda.cuda_core import STANDARD, compile_cubin, compiler_version
from dlrm_core.ops.cuda.resources import Resources, read_log
from dlrm_core.ops.cuda.variants import Capability

Compile = Callable[[str, str], tuple[bytes, str]]


@dataclass(frozen=True)
class Binary:
    """A compiled source.

    Attributes
    ----------
    key : str
        Digest of the source, hardware, options and compiler.
    path : Path
        Where it lies.
    cubin : bytes
    resources : list of Resources
        Of each kernel in it.
    """

    key: str
    path: Path
    cubin: bytes
    resources: list[Resources]

    def mark(self, device: str) -> Path:
        """The file that says that the kernels were seen right on this device."""
        return self.path.with_suffix(f".{cache.key(device)[:16]}.checked.json")


def arch_of(capability: Capability) -> str:
    """What the compiler calls this hardware.

    >>> arch_of((9, 0)), arch_of((12, 0))
    ('sm_90', 'sm_120')
    """
    return f"sm_{capability[0]}{capability[1]}"


def binary(source: str, arch: str, *, compiled: Compile = compile_cubin) -> Binary:
    """The binary of a source, from disk where it lies whole, else compiled and put there.

    Parameters
    ----------
    source : str
        With its variants: :func:`dlrm_core.ops.cuda.variants.with_variants`.
    arch : str
    compiled : callable
        The compiler.

    Raises
    ------
    ImportError, RuntimeError
        As :func:`dlrm_core.ops.cuda.cuda_core.compile_cubin`.
    OSError
        If the folder of the cache cannot be written.
    """
    key = cache.key(source, arch, STANDARD, compiler_version())
    path = cache.folder() / f"{key}.binary"
    entry = cache.read(path)
    if entry is None:
        entry = cache.Entry(*compiled(source, arch))
        cache.write(path, entry)
    return Binary(key, path, entry.cubin, read_log(entry.log))
