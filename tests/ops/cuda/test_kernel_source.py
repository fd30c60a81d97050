"""The kernels' own code, compiled to PTX and run lane by lane on a CPU: right, free of races, within their memory.

None of this ran on a GPU; what ptxas and the hardware do with the code is not in it.
"""

import re

import pytest
import torch
from torch import Tensor

from dlrm_core.ops.cuda.selfcheck import Case, disagreements
from dlrm_core.ops.cuda.variants import Variant, choose, every, kernel_source
from tests.ops.cuda.conftest import AMPERE, TURING, translated
from tests.ops.cuda.emulated import BASES, Emulated, region
from tests.ops.cuda.ptx_machine import Fault, Program, Region

pytestmark = pytest.mark.nvrtc
CPU = torch.device("cpu")
ALL = [pytest.param(v, c, id=f"{v.name}-{c[0]}{c[1]}") for c in (TURING, AMPERE) for v in every(c)]


def features(variant: Variant) -> tuple[int, int, int]:
    """Fewest, some and most of a variant."""
    return {0: (1, 13, 40), 1: (1, 4, 16), 2: (17, 27, 32), 3: (33, 39, 40)}[variant.num_tiles]


@pytest.mark.parametrize(("variant", "capability"), ALL)
def test_kernels_are_right_and_free_of_races(programs, variant, capability):
    fewest, some, most = features(variant)
    for case, reverse in [
        (Case(3, some, 16, "multiple_of_8"), False),
        (Case(3, some, 16, "one_column"), True),
        (Case(1, most, 8, "multiple_of_8", offset=1), True),
        (Case(2, fewest, 5, "one_column"), False),
        (Case(1, fewest, 1, "multiple_of_8"), True),
    ]:
        found = Emulated(variant, programs(variant, capability), reverse=reverse)
        assert disagreements(found, variant, CPU, case) == [], case


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(("num_features", "dim"), [(27, 128), (40, 256)])
def test_common_and_largest_sizes(programs, dtype, num_features, dim):
    variant = choose(dtype, num_features, AMPERE, allow_tf32=True)
    found = Emulated(variant, programs(variant, AMPERE))
    assert disagreements(found, variant, CPU, Case(1, num_features, dim, "multiple_of_8")) == []


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_warp_goes_on_to_other_samples(programs, dtype):
    """Seven samples, two blocks of two warps: each takes one or two; five warps would be too many for three samples."""
    variant = choose(dtype, 5, AMPERE, allow_tf32=False)
    for batch, num_blocks in ((7, 2), (3, 5)):
        found = Emulated(variant, programs(variant, AMPERE), num_blocks=num_blocks)
        assert disagreements(found, variant, CPU, Case(batch, 5, 8, "multiple_of_8")) == []


def far_and_near(variant: Variant, programs: dict[str, Program]) -> list[tuple[Tensor, Tensor]]:
    """Results of sample 2^32 + 4, which is all that is in memory of its batch, and of the same numbers alone."""
    block = 2**30 + 1
    sample, sizes = 4 * block, (4 * block + 1, 3, 8, 16)
    dtype = getattr(torch, variant.dtype)
    x, gradient = (torch.randn(1, *shape).to(dtype) for shape in ((3, 8), (16,)))
    z, dx = Region.result(16 * variant.size, BASES["z"]), Region.result(x.nbytes, BASES["dx"])
    for name, regions, rows in (
        ("forward", [region(x, BASES["x"]), z], (24, 16)),
        ("backward", [region(x, BASES["x"]), region(gradient, BASES["z"]), dx], (24, 16, 24)),
    ):
        moved = [
            Region(one.base + sample * row * variant.size, one.data, one.writes)
            for one, row in zip(regions, rows, strict=True)
        ]
        bases = [one.base for one in regions]
        Emulated(variant, programs, num_warps=4).launch_at(name, bases, moved, sizes, block=block)
    near = Emulated(variant, programs)
    return [
        (torch.frombuffer(z.data, dtype=dtype), near.forward(x, "multiple_of_8")[0]),
        (torch.frombuffer(dx.data, dtype=dtype), near.backward(gradient, x).flatten()),
    ]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_sample_behind_four_thousand_million(programs, dtype):
    variant = choose(dtype, 3, AMPERE, allow_tf32=False)
    for far, near in far_and_near(variant, programs(variant, AMPERE)):
        assert torch.equal(far, near)


def test_offsets_of_32_bits_are_found_out():
    variant = choose("float16", 3, AMPERE, allow_tf32=False)
    source = kernel_source().replace("(Index)gridDim", "(unsigned)gridDim").replace("(Index)blockIdx", "(int)blockIdx")
    programs = translated(source, variant, AMPERE)
    with pytest.raises(Fault):
        far_and_near(variant, programs)


def test_infinite_numbers_stay_where_they_are(programs):
    """One infinite number in the last vector: all that it does not touch is as without it; the rows behind F are zeros."""
    variant = choose("float16", 5, AMPERE, allow_tf32=False)
    found = Emulated(variant, programs(variant, AMPERE))
    x, gradient = torch.randn(1, 5, 16).half(), torch.randn(1, 32).half()
    before = found.forward(x, "multiple_of_8"), found.backward(gradient, x)
    x[0, 4, 3] = torch.inf
    z, dx = found.forward(x, "multiple_of_8"), found.backward(gradient, x)
    assert torch.equal(z[0, : 16 + 6], before[0][0, : 16 + 6])
    assert not z[0, 22:26].isfinite().any()
    other = [d for d in range(16) if d != 3]
    assert torch.equal(dx[..., other], before[1][..., other])
    assert dx[0, :4, 3].isinf().all()


BARRIERS = [match.start() for match in re.finditer(r"__syncwarp\(\);(?!  // for the tensor cores)", kernel_source())]
BARRIER_CASE = Case(2, 13, 16, "multiple_of_8")


def is_wrong(kernels: Emulated, case: Case) -> bool:
    """Whether the machine stops the kernels, places of the result stay unwritten, or numbers differ."""
    try:
        return bool(disagreements(kernels, kernels.variant, CPU, case))
    except (Fault, AssertionError):
        return True


def test_the_right_kernels_are_not_called_wrong(programs):
    for variant, capability in ((Variant("float16", 1), AMPERE), (Variant("float32", 0), TURING)):
        assert not is_wrong(Emulated(variant, programs(variant, capability), num_warps=1), BARRIER_CASE)
    for num_features in (13, 3):
        variant = Variant("float16", 1)
        found = Emulated(variant, programs(variant, AMPERE))
        assert not is_wrong(found, Case(2, num_features, 13, "multiple_of_8"))


@pytest.mark.parametrize("place", range(len(BARRIERS)))
def test_each_barrier_is_needed(place):
    """Without it, one of the variants has a race, and the machine finds it."""
    source, begin = kernel_source(), BARRIERS[place]
    source = source[:begin] + source[begin + len("__syncwarp();") :]
    assert any(
        is_wrong(Emulated(variant, translated(source, variant, capability), num_warps=1, reverse=reverse), BARRIER_CASE)
        for variant, capability in ((Variant("float16", 1), AMPERE), (Variant("float32", 0), TURING))
        for reverse in (False, True)
    )


WRONG = {
    "triangle with its diagonal": ("i > j ? i * (i - 1) / 2 + j", "i > j ? i * (i + 1) / 2 + j"),
    "rows behind the last": ("if (i < sizes.features) write_two", "write_two"),
    "no zeros behind D": ("(sizes.features + 1) * sizes.row_bytes);  // row F", "0);  // row F"),
    "padding is left": ("k < sizes.width; k += 32) row", "k < pairs_end; k += 32) row"),
    "first row twice": ("sum[0][1] += T", "sum[0][0] += T"),
    "second half of a step": ("+ lane_id() / 16 * 16 + step", "+ step"),
    "fragment of the other rows": ("a[c / 2][c % 2], a[c / 2][2 + c % 2]", "a[c / 2][0], a[c / 2][1]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_kernel_is_found(name):
    right, wrong = WRONG[name]
    source = kernel_source()
    assert source.count(right) == 1, right
    variant = choose("float16", 13, AMPERE, allow_tf32=False)
    found = Emulated(variant, translated(source.replace(right, wrong), variant, AMPERE))
    assert any(is_wrong(found, Case(2, num_features, 13, "multiple_of_8")) for num_features in (13, 3))
