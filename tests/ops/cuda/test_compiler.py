"""Every variant compiles for every hardware without a spill; binaries are compiled once."""

import subprocess
import sys

import pytest

from dlrm_core.ops.cuda import compiler
from dlrm_core.ops.cuda.cuda_core import compile_cubin, compile_ptx
from dlrm_core.ops.cuda.resources import read_log
from dlrm_core.ops.cuda.variants import every, kernel_source, with_variants

pytestmark = pytest.mark.nvrtc
CAPABILITIES = [(7, 5), (8, 0), (8, 6), (9, 0), (10, 0), (12, 0)]
SMALL = 'extern "C" __global__ void scale(float* x) { x[threadIdx.x] *= 2.f; }'


def spilling(log: str) -> list[str]:
    return [f"{found.kernel}: {found}" for found in read_log(log) if found.spills]


@pytest.mark.parametrize("capability", CAPABILITIES, ids=str)
def test_every_variant_compiles_without_a_spill(capability):
    arch, variants = compiler.arch_of(capability), every(capability)
    cubin, log = compile_cubin(with_variants(kernel_source(), variants), arch)
    assert cubin.startswith(b"\x7fELF")
    names = {f"{way}_{variant.name}" for way in ("forward", "backward") for variant in variants}
    assert {found.kernel for found in read_log(log)} == names
    assert {found.arch for found in read_log(log)} == {arch}
    assert spilling(log) == []


def test_a_kernel_that_spills_is_found():
    """Two hundred numbers that all live at once, where thirty-two registers are allowed."""
    source = """extern "C" __global__ void __launch_bounds__(1024, 2) many(float* x) {
        float kept[200];
        #pragma unroll
        for (int i = 0; i < 200; ++i) kept[i] = x[i * 1024 + threadIdx.x];
        __syncthreads();
        #pragma unroll
        for (int i = 0; i < 200; ++i) x[(199 - i) * 1024 + threadIdx.x + 1] = kept[i] * kept[(i * 7) % 200];
    }"""
    assert len(spilling(compile_cubin(source, "sm_80")[1])) == 1


def test_the_tensor_cores_are_in_the_code_and_true_float32_is_not_by_them():
    text = compile_ptx(with_variants(kernel_source(), every((8, 0))), "compute_80")
    kernels = {part.split("(")[0]: part for part in text.split(".entry ")[1:]}
    kernels = {name: part.partition("{")[2].partition("\n}")[0] for name, part in kernels.items()}
    for name, part in kernels.items():
        assert ("mma.sync" in part) == ("tensor" in name), name
        assert ("tf32" in part) == ("_tf32" in name), name


@pytest.mark.parametrize("compiled", [lambda s: compile_cubin(s, "sm_80"), lambda s: compile_ptx(s, "compute_80")])
def test_a_wrong_source_is_refused_with_the_compilers_words(compiled):
    with pytest.raises(RuntimeError, match=r"NVRTC \d+\.\d+ does not compile(.|\n)*\"nothing\" is undefined"):
        compiled('extern "C" __global__ void scale(float* x) { nothing; }')


def test_hardware_that_the_compiler_does_not_know_is_refused():
    with pytest.raises(RuntimeError, match="for sm_70"):  # Volta: beyond CUDA 13
        compile_cubin(SMALL, "sm_70")


class Counting:
    """The compiler, and how often it was asked."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, source: str, arch: str) -> tuple[bytes, str]:
        self.calls.append(arch)
        return compile_cubin(source, arch)


def test_a_source_is_compiled_once_for_each_hardware():
    counting = Counting()
    first = compiler.binary(SMALL, "sm_80", compiled=counting)
    assert compiler.binary(SMALL, "sm_80", compiled=counting) == first
    assert counting.calls == ["sm_80"]
    others = [
        compiler.binary(SMALL, "sm_90", compiled=counting),
        compiler.binary(SMALL + " ", "sm_80", compiled=counting),
    ]
    assert len({first.key, *(other.key for other in others)}) == 3
    assert len(counting.calls) == 3
    assert [found.kernel for found in first.resources] == ["scale"]


def test_another_compiler_is_another_binary(monkeypatch):
    first = compiler.binary(SMALL, "sm_80")
    monkeypatch.setattr(compiler, "compiler_version", lambda: "99.0")
    assert compiler.binary(SMALL, "sm_80").key != first.key


def test_a_damaged_binary_is_compiled_again():
    counting = Counting()
    first = compiler.binary(SMALL, "sm_80", compiled=counting)
    first.path.write_bytes(first.path.read_bytes()[:-1])
    assert compiler.binary(SMALL, "sm_80", compiled=counting).cubin.startswith(b"\x7fELF")
    assert len(counting.calls) == 2


def test_what_cannot_be_compiled_leaves_nothing():
    with pytest.raises(RuntimeError):
        compiler.binary("nothing", "sm_80")
    assert not list(compiler.cache.folder().glob("*"))


def test_marks_are_of_one_binary_and_one_device():
    first, second = compiler.binary(SMALL, "sm_80"), compiler.binary(SMALL + " ", "sm_80")
    assert len({first.mark("GPU 1"), first.mark("GPU 2"), second.mark("GPU 1")}) == 3


def test_two_processes_compile_at_once():
    code = f"from dlrm_core.ops.cuda.compiler import binary\nprint(binary({SMALL!r}, 'sm_80').key)"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    keys = {process.communicate()[0] for process in running}
    assert all(process.returncode == 0 for process in running)
    assert keys == {compiler.binary(SMALL, "sm_80").key + "\n"}
