"""Which sides there are, and what each needs to run."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrm_core.schema.environment import project_root
from dlrm_core.schema.errors import KitError

PEERS_FOLDER = ".venv-peers"
INSTALL = f"make {PEERS_FOLDER}/.installed"
# Name of a peer: kind and mode of its side.
PEERS = {
    "torchrec": ("torchrec", "stock"),
    "pytorch": ("plain", "stock"),
    "pytorch-onednn": ("plain", "onednn"),
    "pytorch-bf16-compile": ("plain", "bf16-compile"),
}
PRECISIONS = ("auto", "fp32", "bf16", "deterministic")


@dataclass(frozen=True)
class SideSpec:
    """One side: its name in the record, what its process builds, which Python runs it, whether it computes in fp32."""

    name: str
    kind: str
    mode: str
    python: str
    is_fp32: bool
    is_ours: bool = False


def resolve(against: Sequence[str], precisions: Sequence[str], root: Path | None = None) -> list[SideSpec]:
    """Ours in each precision, then the peers in the order of the names.

    Raises
    ------
    KitError
        If a name is unknown, stands twice, or a peer is not installed; the message names all that are absent.
    """
    check_names("--against", against, PEERS)
    check_names("--precision", precisions, PRECISIONS)
    python = _peers_python(root or project_root())
    absent = []
    if "torchrec" in against and python is None:
        absent.append(f"torchrec ({PEERS_FOLDER} holds no torchrec and fbgemm_gpu; `{INSTALL}` installs them)")
    if "pytorch-bf16-compile" in against and not _has_compiler():
        absent.append(
            "pytorch-bf16-compile (torch.compile needs a C++ compiler on a CPU, and there is none of CXX, g++ and clang++; "
            "`apt-get install g++` installs one)"
        )
    if absent:
        raise KitError(f"--against: absent are {'; '.join(absent)}; install or leave them out")
    ours = [
        SideSpec(f"ours:{one}", "ours", one, sys.executable, one in ("fp32", "deterministic"), True)
        for one in precisions
    ]
    peers = [
        SideSpec(name, *PEERS[name], python if name == "torchrec" and python else sys.executable, "bf16" not in name)
        for name in against
    ]
    return ours + peers


def _has_compiler() -> bool:
    return any(name and shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++"))


def check_names(option: str, names: Sequence[str], known: Sequence[str] | dict[str, tuple[str, str]]) -> None:
    """Raise a KitError if a name is unknown or stands twice, or there is none."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise KitError(f"{option}: {', '.join(unknown)} came; some of {', '.join(known)} are needed")
    if len(set(names)) != len(names) or not names:
        raise KitError(f"{option}: {', '.join(names) or 'nothing'} came; at least one name, and each once, is needed")


def _peers_python(root: Path) -> str | None:
    """The Python that has TorchRec and fbgemm, or None."""
    folder = root / PEERS_FOLDER
    has = all(list(folder.glob(f"lib/python3*/site-packages/{package}")) for package in ("torchrec", "fbgemm_gpu"))
    python = folder / "bin" / "python"
    return str(python) if has and python.exists() else None
