"""The installation: its absence is an error that names the command; what we call on a device is there to be called."""

import sys
from types import SimpleNamespace

import pytest

from dlrm_core.ops.cuda import cuda_core
from dlrm_core.ops.cuda.geometry import Limits

COMMAND = "pip install cuda-core cuda-bindings nvidia-cuda-nvrtc"
ON = cuda_core.Device(0, (9, 0), Limits(227 << 10, 228 << 10), 132, "a device")


@pytest.fixture
def fresh():
    """What was found out about the installation is forgotten, before and after."""
    functions = (cuda_core._core, cuda_core._nvrtc, cuda_core.compiler_version)
    for function in functions:
        function.cache_clear()
    yield
    for function in functions:
        function.cache_clear()


@pytest.mark.parametrize("package", ["cuda.core", "cuda.bindings"])
@pytest.mark.parametrize("call", [cuda_core.compile_cubin, cuda_core.compile_ptx])
@pytest.mark.usefixtures("fresh")
def test_without_the_packages_the_error_names_the_command(monkeypatch, package, call):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=COMMAND):
        call("", "sm_80")
    assert COMMAND in cuda_core.missing()


@pytest.mark.nvrtc
def test_with_them_nothing_is_missing():
    assert cuda_core.missing() is None
    assert int(cuda_core.compiler_version().split(".")[0]) >= 13


@pytest.mark.nvrtc
def test_what_is_asked_of_a_device_exists_in_cuda_core():
    """No device is here to answer; the names at least are those of the installed version."""
    from cuda.bindings import driver
    from cuda.core import Device, Kernel, ObjectCode, _device, _module, launch

    for name in ("max_shared_memory_per_block_optin", "max_shared_memory_per_multiprocessor", "multiprocessor_count"):
        assert hasattr(_device.DeviceProperties, name)
    for name in ("set_current", "properties", "compute_capability", "name", "uuid"):
        assert hasattr(Device, name)
    assert hasattr(ObjectCode, "from_cubin")
    assert hasattr(ObjectCode, "get_kernel")
    assert hasattr(Kernel, "occupancy")
    assert hasattr(Kernel, "handle")
    assert hasattr(_module.KernelOccupancy, "max_active_blocks_per_multiprocessor")
    assert hasattr(driver, "cuKernelSetAttribute")
    assert callable(launch)


@pytest.mark.nvrtc
def test_arguments_of_a_launch_are_of_types_that_cuda_core_passes():
    import ctypes

    from cuda.core._kernel_arg_handler import ParamHolder

    ParamHolder((2**40, ctypes.c_longlong(2**33), ctypes.c_int(5)))


class Core:
    """Stands for cuda.core where there is no driver, and remembers what it was asked."""

    def __init__(self, blocks: int = 6) -> None:
        self.asked: list[tuple] = []
        occupancy = SimpleNamespace(
            max_active_blocks_per_multiprocessor=lambda *shape: self.note("occupancy", *shape, blocks)
        )
        self.kernel = SimpleNamespace(handle=77, occupancy=occupancy)
        code = SimpleNamespace(get_kernel=lambda name: self.note("kernel", name, self.kernel))
        self.ObjectCode = SimpleNamespace(from_cubin=lambda cubin: self.note("load", cubin, code))

    def note(self, *what):
        self.asked.append(what[:-1])
        return what[-1]

    def Device(self, index):
        return SimpleNamespace(set_current=lambda: self.note("device", index, None))

    def LaunchConfig(self, **shape):
        return shape

    def launch(self, *what):
        self.asked.append(("launch", *what))


@pytest.fixture
def core(monkeypatch):
    pytest.importorskip("cuda.bindings.driver")
    from cuda.bindings import driver

    made = Core()
    monkeypatch.setattr(cuda_core, "_core", lambda: made)
    monkeypatch.setattr(driver, "cuKernelSetAttribute", lambda *what: made.note("attribute", *what, (0,)))
    return made


def test_a_kernel_may_have_all_the_shared_memory(core):
    cuda_core.Kernel(b"binary", "forward_one", ON)
    assert core.asked[:3] == [("device", 0), ("load", b"binary"), ("kernel", "forward_one")]
    name, attribute, size, handle, index = core.asked[3]
    assert (name, attribute.name) == ("attribute", "CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES")
    assert (size, handle, index) == (227 << 10, 77, 0)


def test_the_thread_is_on_the_device_at_each_launch(core):
    kernel = cuda_core.Kernel(b"binary", "forward_one", ON)
    core.asked.clear()
    kernel.launch("stream", num_blocks=3, num_threads=128, shared_bytes=64, arguments=(1, 2))
    assert core.asked == [
        ("device", 0),
        ("launch", "stream", {"grid": 3, "block": 128, "shmem_size": 64}, core.kernel, 1, 2),
    ]


def test_occupancy_is_asked_once_for_a_shape(core):
    kernel = cuda_core.Kernel(b"binary", "forward_one", ON)
    assert [kernel.resident_blocks(128, shared) for shared in (64, 64, 96)] == [6 * 132] * 3
    assert [what for what in core.asked if what[0] == "occupancy"] == [("occupancy", 128, 64), ("occupancy", 128, 96)]


def test_a_block_that_fits_nowhere_is_refused(core, monkeypatch):
    core.kernel.occupancy.max_active_blocks_per_multiprocessor = lambda *_: 0
    with pytest.raises(RuntimeError, match="no block of 128 threads and 64 bytes fits"):
        cuda_core.Kernel(b"binary", "forward_one", ON).resident_blocks(128, 64)


def test_a_refusal_of_the_driver_is_raised(core, monkeypatch):
    from cuda.bindings import driver

    refused = driver.CUresult.CUDA_ERROR_INVALID_VALUE
    monkeypatch.setattr(driver, "cuKernelSetAttribute", lambda *_: (refused,))
    with pytest.raises(RuntimeError, match="CUDA_ERROR_INVALID_VALUE"):
        cuda_core.Kernel(b"binary", "forward_one", ON)
