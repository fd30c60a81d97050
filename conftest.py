"""What the machine has: a test that needs more is skipped by name, or fails where everything is required.

`DLRM_REQUIRE_ALL=1` (`make test REQUIRE_ALL=1`) turns such a skip into a failure, `gpu` aside.
"""

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

REAL_SAMPLE_NAME = "criteo_kaggle_sample_117547.tsv.gz"


def real_sample() -> Path:
    """Where a real Criteo sample may lie: DLRM_REAL_SAMPLE, or the data folder shared beside the checkout."""
    named = os.environ.get("DLRM_REAL_SAMPLE")
    return Path(named) if named else Path(__file__).resolve().parent.parent / "shared" / "data" / REAL_SAMPLE_NAME


def _missing_gpu() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "no CUDA device"


def _missing_nvrtc() -> str | None:
    from dlrm_core.ops.cuda.cuda_core import missing

    return missing()


def _missing_cudf() -> str | None:
    made = Path(__file__).with_name(".venv-cudf") / ".installed"
    # Where everything is required the test makes it; elsewhere nobody downloads 3 GB unasked.
    required = bool(os.environ.get("DLRM_REQUIRE_ALL"))
    return None if required or made.is_file() else "no .venv-cudf; `make cudf-check` makes it (3 GB)"


def _missing_peers() -> str | None:
    made = Path(__file__).with_name(".venv-peers") / ".installed"
    required = bool(os.environ.get("DLRM_REQUIRE_ALL"))  # as for cudf
    return None if required or made.is_file() else "no .venv-peers; `make .venv-peers/.installed` makes it"


def _missing_spark() -> str | None:
    from data_prep.engines.spark_settings import INSTALL, java_home

    if find_spec("pyspark") is None:
        return f"no PySpark; {INSTALL}"
    try:
        java_home()
    except ValueError as error:
        return str(error)
    return None


NEEDS: dict[str, Callable[[], str | None]] = {
    "gpu": _missing_gpu,
    "nvrtc": _missing_nvrtc,
    "real_data": lambda: None if real_sample().is_file() else "no real Criteo sample; name one with DLRM_REAL_SAMPLE",
    "cudf": _missing_cudf,
    "peers": _missing_peers,
    "spark": _missing_spark,
    "browser": lambda: None if shutil.which("chromium") else "no chromium on PATH",
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail, a test that needs what is not there."""
    for marker, missing in NEEDS.items():
        if item.get_closest_marker(marker) is None:
            continue
        reason = missing()
        if reason is None:
            continue
        if os.environ.get("DLRM_REQUIRE_ALL") and marker != "gpu":
            pytest.fail(f"needs {marker}: {reason}, and everything is required here", pytrace=False)
        pytest.skip(f"needs {marker}: {reason}")


@pytest.fixture(scope="session")
def real_sample_file() -> Path:
    """The real sample; the test that asks for it carries the marker `real_data`."""
    return real_sample()
