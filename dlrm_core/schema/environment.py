"""On what a run was made: sources, packages, hardware. No host name, user name or path."""

import functools
import hashlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from dlrm_core.schema.base import Strict

ROOMS = ("data_prep", "dlrm_core", "notebooks", "reports")
PACKAGES = (
    *("torch", "numpy", "numba", "polars", "narwhals", "pandas", "pyarrow", "scikit-learn", "scipy"),
    *("pydantic", "safetensors", "papermill", "jupyterlab", "nbconvert", "matplotlib"),
)


class Environment(Strict):
    """Sources, packages and hardware of a run."""

    git_commit: str | None
    git_dirty: bool | None
    source_digest: str
    python: str
    operating_system: str
    packages: dict[str, str]
    processor: str
    cores: int
    memory_bytes: int
    gpus: tuple[str, ...]


def project_root() -> Path:
    """The folder that holds the rooms: the checkout, or site-packages of an installed kit."""
    return Path(__file__).resolve().parents[2]


@functools.cache
def source_digest(rooms: tuple[str, ...] = ROOMS) -> str:
    """SHA-256 over the names and bytes of the rooms' sources (.py, .yaml, .css, .cu); a room is a folder or a file."""
    digest = hashlib.sha256()
    root = project_root()
    for room in rooms:
        if not (root / room).exists():
            raise ValueError(f"{room}: no such room in {root}")
        for path in [root / room] if (root / room).is_file() else sorted((root / room).rglob("*")):
            relative = path.relative_to(root)
            if path.suffix in {".py", ".yaml", ".css", ".cu"} and "build" not in relative.parts:
                digest.update(f"{relative.as_posix()}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def describe_environment() -> Environment:
    """The environment of this process."""
    commit, dirty = _git_state()
    return Environment(
        git_commit=commit,
        git_dirty=dirty,
        source_digest=source_digest(),
        python=platform.python_version(),
        operating_system=f"{platform.system()} {platform.machine()}",
        packages=_package_versions(),
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        gpus=_gpus(),
    )


def _git_state() -> tuple[str | None, bool | None]:
    root = project_root()
    if not (root / ".git").exists():
        return None, None

    def git(*words: str) -> str | None:
        try:
            run = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return run.stdout.strip() if run.returncode == 0 else None

    status = git("status", "--porcelain")
    return git("rev-parse", "HEAD"), None if status is None else bool(status)


def _package_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpus() -> tuple[str, ...]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return ()
    return tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
