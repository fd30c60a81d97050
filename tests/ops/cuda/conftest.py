"""The kernels as PTX, made once, and as programs for the machine that runs PTX on a CPU."""

import functools
from collections.abc import Callable

import pytest

from dlrm_core.ops.cuda.cuda_core import compile_ptx
from dlrm_core.ops.cuda.variants import Capability, Variant, kernel_source, with_variants
from tests.ops.cuda.ptx_machine import Program
from tests.ops.cuda.ptx_translate import kernels

TURING, AMPERE = (7, 5), (8, 0)
Programs = Callable[[Variant, Capability], dict[str, Program]]


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    """No test writes into the user's cache."""
    monkeypatch.setenv("DLRM_CUDA_CACHE", str(tmp_path / "cuda"))


@pytest.fixture(scope="session")
def programs() -> Programs:
    """A variant's two programs, `forward` and `backward`, for hardware of a capability."""

    @functools.cache
    def made(variant: Variant, capability: Capability) -> dict[str, Program]:
        return translated(kernel_source(), variant, capability)

    return made


def translated(source: str, variant: Variant, capability: Capability) -> dict[str, Program]:
    """The same for any source."""
    ptx = compile_ptx(with_variants(source, [variant]), "compute_{}{}".format(*capability))
    return {name.partition("_")[0]: program for name, program in kernels(ptx).items()}
