import os
import subprocess
from pathlib import Path

import pytest

from data_prep.engines.cudf_engine import many_gpus, one_gpu
from dlrm_core.schema.errors import KitError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def cudf_python() -> Path:
    """The Python of .venv-cudf; made here where everything is required."""
    if os.environ.get("DLRM_REQUIRE_ALL"):
        subprocess.run(["make", ".venv-cudf/.installed"], cwd=ROOT, check=True, capture_output=True)
    return ROOT / ".venv-cudf" / "bin" / "python"


@pytest.mark.cudf
def test_the_gpu_engine_supports_every_query_and_gives_the_same_bytes(cudf_python):
    done = subprocess.run(
        [cudf_python, "-m", "data_prep.engines.cudf_check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    count, _, nodes = done.stdout.partition(" queries translated for the GPU; nodes: ")
    assert int(count) > 80
    assert {"Filter", "GroupBy", "HStack", "Join", "Scan", "Sort"} <= set(nodes.strip().split(", "))


@pytest.mark.cudf
@pytest.mark.parametrize("query", ["pl.int_range(pl.len())", "pl.col('C1').str.to_integer(base=16)"])
def test_an_unsupported_query_is_refused(cudf_python, query):
    code = (
        "import polars as pl\nfrom data_prep.engines.cudf_check import translated\n"
        f"translated(pl.LazyFrame({{'C1': ['1']}}).select({query}))"
    )
    done = subprocess.run([cudf_python, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "KitError: the GPU engine does not support a query" in done.stderr


@pytest.mark.parametrize("collect", [one_gpu, many_gpus])
def test_without_cudf_the_install_command_is_named(collect):
    with pytest.raises(KitError, match="pip install cudf-polars-cu13==26"):
        collect({})


@pytest.mark.parametrize(("collect", "options"), [(one_gpu, {"fallbak": "cpu"}), (many_gpus, {"fallback": "cpu"})])
def test_unknown_options_are_refused(collect, options):
    with pytest.raises(KitError, match="engine option"):
        collect(options)


def test_a_wrong_fallback_is_refused():
    with pytest.raises(KitError, match="'raise' or 'cpu'"):
        one_gpu({"fallback": "silent"})
