"""The one file that imports cuda.core and cuda.bindings: NVRTC, loading of binaries, and launches. All lazily.

Whatever the driver or the compiler answers is looked at: a failure raises.
"""

import functools
import io
from dataclasses import dataclass
from typing import Any

from dlrm_core.ops.cuda.geometry import Limits

INSTALL = "pip install cuda-core cuda-bindings nvidia-cuda-nvrtc"
STANDARD = "c++17"


@functools.cache
def _core() -> Any:
    try:
        import cuda.core
    except ImportError as error:
        raise ImportError(f"the CUDA kernels need cuda.core ({error}): {INSTALL}") from error
    return cuda.core


@functools.cache
def _nvrtc() -> Any:
    _core()
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError) as error:  # the second where the bindings are there and the library is not
        raise ImportError(f"the CUDA kernels need NVRTC ({error}): {INSTALL}") from error
    return nvrtc


def missing() -> str | None:
    """Why nothing can be compiled here, or None."""
    try:
        _nvrtc()
    except ImportError as error:
        return str(error)
    return None


@functools.cache
def compiler_version() -> str:
    """NVRTC's version, ``13.5``.

    Raises
    ------
    ImportError
        If cuda.core or NVRTC is missing.
    """
    return ".".join(str(part) for part in _checked(_nvrtc().nvrtcVersion()))


def compile_cubin(source: str, arch: str) -> tuple[bytes, str]:
    """Compile CUDA C++ to a binary, without a GPU, nvcc or a host compiler.

    Parameters
    ----------
    source : str
    arch : str
        As ``sm_90``.

    Returns
    -------
    tuple of bytes and str
        The cubin, and what ptxas says of registers and spills: see :mod:`dlrm_core.ops.cuda.resources`.

    Raises
    ------
    ImportError
        If cuda.core or NVRTC is missing.
    RuntimeError
        If the compiler refuses the source or the hardware; its log is in the message.
    """
    version, core, log = compiler_version(), _core(), io.StringIO()
    # no_cache: the compiler's own cache would give the binary without the log.
    options = core.ProgramOptions(name="kernel.cu", arch=arch, std=STANDARD, ptxas_options=["-v"], no_cache=True)
    try:
        code = core.Program(source, "c++", options).compile("cubin", logs=log)
    except Exception as error:  # cuda.core's own errors derive from Exception itself
        raise RuntimeError(f"NVRTC {version} does not compile this source for {arch}:\n{error}") from error
    return bytes(code.code), log.getvalue()


def compile_ptx(source: str, arch: str) -> str:
    """Compile CUDA C++ to PTX for ``compute_90`` and the like; to read it, since nothing here loads PTX.

    By the bindings, because cuda.core asks the driver whether it could load the result. Same errors as for a cubin.
    """
    nvrtc = _nvrtc()
    program = _checked(nvrtc.nvrtcCreateProgram(source.encode(), b"kernel.cu", 0, [], []))
    options = [f"--gpu-architecture={arch}".encode(), f"--std={STANDARD}".encode()]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        log = bytearray(_checked(nvrtc.nvrtcGetProgramLogSize(program)))
        _checked(nvrtc.nvrtcGetProgramLog(program, log))
        raise RuntimeError(f"NVRTC {compiler_version()} does not compile this source for {arch}:\n{log.decode()}")
    text = bytearray(_checked(nvrtc.nvrtcGetPTXSize(program)))
    _checked(nvrtc.nvrtcGetPTX(program, text))
    _checked(nvrtc.nvrtcDestroyProgram(program))
    return text.decode().rstrip("\0")


@dataclass(frozen=True)
class Device:
    """What a launch must know of a device; `identity` tells devices and drivers apart."""

    index: int
    capability: tuple[int, int]
    limits: Limits
    num_multiprocessors: int
    identity: str


@functools.cache
def device(index: int) -> Device:
    """The device with torch's index."""
    from cuda.bindings import driver

    found = _core().Device(index)
    found.set_current()
    properties = found.properties
    limits = Limits(properties.max_shared_memory_per_block_optin, properties.max_shared_memory_per_multiprocessor)
    version = _checked(driver.cuDriverGetVersion())
    capability = (int(found.compute_capability.major), int(found.compute_capability.minor))
    identity = f"{found.name}, {found.uuid}, driver {version}"
    return Device(index, capability, limits, properties.multiprocessor_count, identity)


class Kernel:
    """A kernel on one device, which may have all the dynamic shared memory that a block there can have."""

    def __init__(self, cubin: bytes, name: str, on: Device) -> None:
        from cuda.bindings import driver

        self._on = on
        self._enter()
        self._code = _core().ObjectCode.from_cubin(cubin)
        self._kernel = self._code.get_kernel(name)
        # cuda.core 1.2 reads this attribute only.
        most = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        _checked(driver.cuKernelSetAttribute(most, on.limits.block_bytes, self._kernel.handle, on.index))
        self._resident: dict[tuple[int, int], int] = {}

    def resident_blocks(self, num_threads: int, shared_bytes: int) -> int:
        """How many blocks of this shape the device runs at once."""
        shape = num_threads, shared_bytes
        if shape not in self._resident:
            self._enter()
            each = self._kernel.occupancy.max_active_blocks_per_multiprocessor(num_threads, shared_bytes)
            if each < 1:
                raise RuntimeError(f"no block of {num_threads} threads and {shared_bytes} bytes fits on {self._on}")
            self._resident[shape] = each * self._on.num_multiprocessors
        return self._resident[shape]

    def launch(self, stream: Any, *, num_blocks: int, num_threads: int, shared_bytes: int, arguments: tuple) -> None:
        """Launch on a stream of torch; cuda.core raises where the driver refuses.

        An int is passed with 64 bits; `ctypes` numbers as they are.
        """
        core = _core()
        self._enter()
        config = core.LaunchConfig(grid=num_blocks, block=num_threads, shmem_size=shared_bytes)
        core.launch(stream, config, self._kernel, *arguments)

    def _enter(self) -> None:
        """Have this thread on the device: autograd's own threads may not have been before."""
        _core().Device(self._on.index).set_current()


def _checked(answer: tuple) -> Any:
    """The values behind a status of the bindings.

    Raises
    ------
    RuntimeError
        If the status is not success.
    """
    status, *values = answer
    if int(status) != 0:
        raise RuntimeError(f"{type(status).__name__}: {status!r}")
    return values[0] if len(values) == 1 else tuple(values)
