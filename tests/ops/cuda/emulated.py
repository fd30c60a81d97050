"""The kernels of a variant as functions of tensors on a CPU, by way of the machine for PTX."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dlrm_core.ops.cuda.geometry import Limits, geometry
from dlrm_core.ops.cuda.interaction import by_vectors
from dlrm_core.ops.cuda.variants import Variant
from dlrm_core.ops.layout import dot_width
from tests.ops.cuda.ptx_machine import Program, Region

LIMITS = Limits(99 * 1024, 100 * 1024)
BASES = {"x": 1 << 40, "z": 1 << 41, "dx": 1 << 42}


def region(x: Tensor, base: int) -> Region:
    """A tensor's numbers in the machine's memory, as far from a multiple of 16 as they are in torch's."""
    whole = x.contiguous()
    return Region(base + whole.data_ptr() % 16, bytearray(whole.view(torch.uint8).numpy().tobytes()))


@dataclass(frozen=True)
class Emulated:
    """Duck type of :class:`dlrm_core.ops.cuda.interaction.Pair`; `reverse` runs the lanes from last to first."""

    variant: Variant
    programs: dict[str, Program]
    num_blocks: int = 1
    num_warps: int = 2
    reverse: bool = False

    def forward(self, x_BFD: Tensor, pad: str) -> Tensor:
        batch, num_features, dim = x_BFD.shape
        z_BK = x_BFD.new_empty(batch, dot_width(num_features, dim, pad))
        x, z = region(x_BFD, BASES["x"]), Region.result(z_BK.nbytes, BASES["z"])
        self.launch("forward", [x, z], (batch, num_features, dim, z_BK.shape[1]))
        assert all(z.writes), "places of the result were not written"
        return torch.frombuffer(z.data, dtype=x_BFD.dtype).view(z_BK.shape)

    def backward(self, gradient_BK: Tensor, x_BFD: Tensor) -> Tensor:
        regions = [region(x_BFD, BASES["x"]), region(gradient_BK, BASES["z"]), Region.result(x_BFD.nbytes, BASES["dx"])]
        self.launch("backward", regions, (*x_BFD.shape, gradient_BK.shape[1]))
        assert all(regions[2].writes), "places of the result were not written"
        return torch.frombuffer(regions[2].data, dtype=x_BFD.dtype).view(x_BFD.shape)

    def launch(self, name: str, regions: list[Region], sizes: tuple[int, ...]) -> None:
        for block in range(self.num_blocks):
            self.launch_at(name, [x.base for x in regions], regions, sizes, block=block)

    def launch_at(self, name: str, bases: list[int], regions: list[Region], sizes: tuple[int, ...], block: int) -> None:
        """One block; the tensors begin at `bases`, and `regions` is what can be reached of them."""
        _, num_features, dim, width = sizes
        size = self.variant.size
        shape = geometry(
            num_features=num_features, dim=dim, width=width, size=size,
            tensor_cores=self.variant.tensor_cores, backward=name == "backward", limits=LIMITS,
        )  # fmt: skip
        vectors = [all(by_vectors(x, dim, size) for x in (bases[0], *bases[2:])), by_vectors(bases[1], width, size)]
        self.programs[name].launch(
            [*bases, *sizes, shape.row_bytes, shape.warp_bytes, *(int(v) for v in vectors)], regions, block=block,
            num_blocks=max(self.num_blocks, block + 1), warps=self.num_warps, warp_bytes=shape.warp_bytes,
            reverse=self.reverse,
        )  # fmt: skip
