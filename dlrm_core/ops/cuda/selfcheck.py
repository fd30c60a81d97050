"""A kernel's first deed on a device: to be held against torch in float64, before anybody trains with it.

The rule is that of the tests: the largest error, against float64, is at most twice that of torch in the same numbers and a
rounding of the largest value. For TF32, torch takes numbers that were rounded to TF32 before: whether cuBLAS would use the
tensor cores for such small matrices is its own choice.

Legend: B rows, F feature vectors, D embedding dimension, K width of the result.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from dlrm_core.ops.cuda import cache
from dlrm_core.ops.cuda.variants import Variant
from dlrm_core.ops.interaction import MOST_DIM, MOST_FEATURES, dot_interaction
from dlrm_core.ops.layout import dot_width

_MANY = 5_003  # rows: more than the warps that run at once on the hardware of today, so that each takes several


class Kernels(Protocol):
    """What is checked."""

    def forward(self, x_BFD: Tensor, pad: str) -> Tensor:
        """Z."""

    def backward(self, gradient_BK: Tensor, x_BFD: Tensor) -> Tensor:
        """Dx."""


@dataclass(frozen=True)
class Case:
    """One batch; `offset` numbers stand before x and before the gradient, so that neither begins at a multiple of 16."""

    batch: int
    num_features: int
    dim: int
    pad: str
    offset: int = 0


def cases(variant: Variant) -> list[Case]:
    """Batches that try all paths of a variant: fewest and most features, both ways to move rows, many rows, one."""
    tiles = variant.num_tiles
    least, most = (16 * tiles - 15, min(16 * tiles, MOST_FEATURES)) if tiles else (1, MOST_FEATURES)
    middle = max(most - 5, least)  # 27 of 32
    return [
        Case(1, middle, 128, "multiple_of_8"),
        Case(_MANY, middle, 16, "one_column"),
        Case(37, most, 13, "multiple_of_8"),
        Case(37, least, 24, "one_column"),
        Case(33, middle, 128, "multiple_of_8", offset=1),
        Case(9, most, MOST_DIM, "multiple_of_8"),
        Case(9, least, 1, "one_column"),
    ]


def marked(mark: Path) -> bool:
    """Whether a check was passed before."""
    return mark.is_file()


def check_and_mark(kernels: Kernels, variant: Variant, device: torch.device, mark: Path, *, about: str) -> None:
    """Check both kernels, and leave a mark where they are right.

    Raises
    ------
    RuntimeError
        If they disagree with torch anywhere; the message is the report.
    """
    found = {str(case): disagreements(kernels, variant, device, case) for case in cases(variant)}
    wrong = [f"  {case}: {line}" for case, lines in found.items() for line in lines]
    if wrong:
        raise RuntimeError(
            f"{about}: refused, since it disagrees with torch in float64 in {len(wrong)} places:\n"
            + "\n".join(wrong)
            + "\nNothing was marked as good. Choose interaction dot, and report this together with the hardware."
        )
    cache.write_whole(mark, json.dumps({"about": about, "passed": list(found)}, indent=1).encode())


def disagreements(kernels: Kernels, variant: Variant, device: torch.device, case: Case) -> list[str]:
    """Where the kernels and torch differ by more than the rule allows, or in what must be exact."""
    dtype = getattr(torch, variant.dtype)
    width = dot_width(case.num_features, case.dim, case.pad)
    x = _random((case.batch, case.num_features, case.dim), dtype, device, case.offset, seed=1)
    gradient = _random((case.batch, width), dtype, device, case.offset, seed=2)
    kept = x.clone(), gradient.clone()
    z, dx = kernels.forward(x, case.pad), kernels.backward(gradient, x)
    raw = case.dim + case.num_features * (case.num_features - 1) // 2
    exact = _reference(x.double(), gradient.double(), case.pad)
    torch_own = _torch_own(x, gradient, case.pad, rounded=variant.tensor_cores and dtype == torch.float32)
    found = [
        _compare("forward", z, exact[0], torch_own[0]),
        _compare("backward", dx, exact[1], torch_own[1]),
        None if torch.equal(z[:, : case.dim], x[:, 0]) else "forward: the first vector is not passed through as it is",
        None if not z[:, raw:].any() else "forward: the padding is not zero",
        None if torch.equal(kept[0], x) and torch.equal(kept[1], gradient) else "an input was changed",
    ]
    return [line for line in found if line]


def _compare(name: str, result: Tensor, exact: Tensor, torch_own: Tensor) -> str | None:
    if result.shape != exact.shape or result.dtype != torch_own.dtype:
        return f"{name}: {result.dtype} of shape {tuple(result.shape)}; {tuple(exact.shape)} is needed"
    error, own = (float((x.double() - exact).abs().max()) for x in (result, torch_own))
    allowed = 2 * own + torch.finfo(result.dtype).eps * float(exact.abs().max())
    if error <= allowed:  # not so for a result that is no number
        return None
    return f"{name}: largest error {error:.3g}; {allowed:.3g} is allowed, torch's own is {own:.3g}"


def _reference(x: Tensor, gradient: Tensor, pad: str) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        z = dot_interaction(leaf, pad)
        (dx,) = torch.autograd.grad(z, leaf, gradient)
    return z.detach(), dx


def _torch_own(x: Tensor, gradient: Tensor, pad: str, *, rounded: bool) -> tuple[Tensor, Tensor]:
    if not rounded:
        return _reference(x, gradient, pad)
    dim = x.shape[2]
    z, dx = _reference(to_tf32(x).double(), to_tf32(gradient).double(), pad)
    z[:, :dim] = x[:, 0]
    dx[:, 0] += gradient[:, :dim].double() - to_tf32(gradient[:, :dim]).double()
    return z.float(), dx.float()


def to_tf32(x: Tensor) -> Tensor:
    """Float32 numbers with ten bits behind the point, rounded to nearest, halves away from zero.

    >>> to_tf32(torch.tensor([1.0, 1.0 + 2**-11, 1.0 + 2**-12])).tolist() == [1.0, 1.0 + 2**-10, 1.0]
    True
    """
    return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def _random(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, offset: int, seed: int) -> Tensor:
    """The same numbers on every device, `offset` numbers behind the beginning of their memory."""
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.Size(shape).numel())
    memory = torch.randn(offset + count, generator=generator).to(dtype).to(device)
    return memory[offset:].view(shape)
