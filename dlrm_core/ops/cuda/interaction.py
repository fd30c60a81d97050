"""Launches of the CUDA interaction kernels: the CUDA side of `dlrm::dot_interaction`.

Legend: B rows, F feature vectors, D embedding dimension, K width of the result.
"""

import ctypes
import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from dlrm_core.ops.cuda import selfcheck
from dlrm_core.ops.cuda.compiler import arch_of, binary
from dlrm_core.ops.cuda.cuda_core import Device, Kernel, device
from dlrm_core.ops.cuda.geometry import Geometry, geometry, num_blocks
from dlrm_core.ops.cuda.variants import Variant, choose, kernel_source, with_variants
from dlrm_core.ops.layout import dot_width

_LANES, _VECTOR_BYTES = 32, 16


@dataclass(frozen=True)
class Problem:
    """What decides on a launch besides the addresses: B, F, D, K."""

    batch: int
    num_features: int
    dim: int
    width: int


class Pair:
    """Both kernels of a variant on a device, as functions of tensors.

    A launch allocates its result through torch and nothing else, waits for nothing, and goes to torch's current stream.
    """

    def __init__(self, variant: Variant, on: Device, cubin: bytes) -> None:
        self.variant, self.on = variant, on
        self._forward = Kernel(cubin, f"forward_{variant.name}", on)
        self._backward = Kernel(cubin, f"backward_{variant.name}", on)

    def forward(self, x_BFD: Tensor, pad: str) -> Tensor:
        """z, of shape (B, K)."""
        batch, num_features, dim = x_BFD.shape
        z_BK = x_BFD.new_empty(batch, dot_width(num_features, dim, pad))
        problem = Problem(batch, num_features, dim, z_BK.shape[1])
        self._launch(self._forward, problem, rows=[x_BFD.contiguous()], z_BK=z_BK, backward=False)
        return z_BK

    def backward(self, gradient_BK: Tensor, x_BFD: Tensor) -> Tensor:
        """dx, of x's shape."""
        x_BFD, gradient_BK = x_BFD.contiguous(), gradient_BK.contiguous()
        dx_BFD = torch.empty_like(x_BFD)
        batch, num_features, dim = x_BFD.shape
        problem = Problem(batch, num_features, dim, gradient_BK.shape[1])
        self._launch(self._backward, problem, rows=[x_BFD, dx_BFD], z_BK=gradient_BK, backward=True)
        return dx_BFD

    def _launch(self, kernel: Kernel, problem: Problem, *, rows: list[Tensor], z_BK: Tensor, backward: bool) -> None:
        """`rows`: x, and dx where the kernel writes it. In the kernels' signatures dx comes last."""
        if problem.batch == 0:
            return
        shape = shape_of(self.variant, problem, self.on, backward=backward)
        num_threads = _LANES * shape.num_warps
        pointers = [rows[0].data_ptr(), z_BK.data_ptr(), *(x.data_ptr() for x in rows[1:])]
        size = self.variant.size
        vectors = [
            all(by_vectors(x.data_ptr(), problem.dim, size) for x in rows),
            by_vectors(z_BK.data_ptr(), problem.width, size),
        ]
        kernel.launch(
            torch.cuda.current_stream(self.on.index),
            num_blocks=num_blocks(
                problem.batch, shape.num_warps, kernel.resident_blocks(num_threads, shape.shared_bytes)
            ),
            num_threads=num_threads,
            shared_bytes=shape.shared_bytes,
            arguments=(*pointers, *_numbers(problem, shape, vectors)),
        )


def by_vectors(address: int, numbers: int, size: int) -> bool:
    """Whether rows of so many numbers, one behind the other from this address, can be moved 16 bytes at a time.

    >>> by_vectors(256, 128, 2), by_vectors(258, 128, 2), by_vectors(256, 13, 4)
    (True, False, False)
    """
    return address % _VECTOR_BYTES == 0 and numbers * size % _VECTOR_BYTES == 0


@functools.lru_cache(maxsize=256)
def shape_of(variant: Variant, problem: Problem, on: Device, *, backward: bool) -> Geometry:
    """Shared memory and warps for a launch of this variant."""
    return geometry(
        num_features=problem.num_features,
        dim=problem.dim,
        width=problem.width,
        size=variant.size,
        tensor_cores=variant.tensor_cores,
        backward=backward,
        limits=on.limits,
    )


def forward(x_BFD: Tensor, pad: str) -> Tensor:
    """:func:`dlrm_core.ops.interaction.dot_interaction` of a float16, bfloat16 or float32 tensor on a CUDA device.

    Raises
    ------
    ImportError
        If what compiles the kernel is not installed.
    ValueError
        If the kernel serves neither this type nor this device.
    RuntimeError
        If the compiler or the driver refuses, or the kernel was seen wrong on this device.
    """
    with torch.cuda.device(x_BFD.device):
        return _pair_for(x_BFD).forward(x_BFD, pad)


def backward(gradient_BK: Tensor, x_BFD: Tensor) -> Tensor:
    """Gradient of :func:`forward` with respect to `x_BFD`; same errors."""
    with torch.cuda.device(x_BFD.device):
        return _pair_for(x_BFD).backward(gradient_BK, x_BFD)


def _pair_for(x_BFD: Tensor) -> Pair:
    return _pair(x_BFD.dtype, x_BFD.shape[1], x_BFD.device.index, torch.backends.cuda.matmul.allow_tf32)


@functools.cache  # each step asks for it
def _pair(dtype: torch.dtype, num_features: int, index: int, allow_tf32: bool) -> Pair:
    name = str(dtype).removeprefix("torch.")
    return _checked_pair(choose(name, num_features, device(index).capability, allow_tf32=allow_tf32), index)


@functools.cache
def _checked_pair(variant: Variant, index: int) -> Pair:
    """The kernels of a variant, compiled for the device and seen right on it."""
    on = device(index)
    built = binary(with_variants(kernel_source(), [variant]), arch_of(on.capability))
    pair = Pair(variant, on, built.cubin)
    mark = built.mark(on.identity)
    if not selfcheck.marked(mark):
        if torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                f"the kernel {variant.name} is unchecked on this device and cannot be checked while a CUDA graph is "
                "captured; run the step once before it is captured"
            )
        place = torch.device("cuda", index)
        selfcheck.check_and_mark(pair, variant, place, mark, about=f"kernel {variant.name} on {on.identity}")
    return pair


def _numbers(problem: Problem, shape: Geometry, vectors: list[bool]) -> list[ctypes.c_int | ctypes.c_longlong]:
    """What follows the addresses in the kernels' signatures."""
    sizes = (problem.num_features, problem.dim, problem.width, shape.row_bytes, shape.warp_bytes, *vectors)
    return [ctypes.c_longlong(problem.batch), *(ctypes.c_int(number) for number in sizes)]
