"""Shared memory and launch shapes: plain arithmetic, by hand and at the limits."""

import re

import pytest

from dlrm_core.ops.cuda.geometry import MOST_WARPS, Geometry, Limits, geometry, num_blocks, row_bytes
from dlrm_core.ops.cuda.variants import kernel_source
from dlrm_core.ops.interaction import MOST_DIM, MOST_FEATURES
from dlrm_core.ops.layout import dot_width

# What a block and a multiprocessor have, by compute capability (CUDA C++ Programming Guide, technical specifications).
HARDWARE = {
    "7.5": Limits(64 << 10, 64 << 10),
    "8.0": Limits(163 << 10, 164 << 10),
    "8.6": Limits(99 << 10, 100 << 10),
    "9.0": Limits(227 << 10, 228 << 10),
    "12.0": Limits(99 << 10, 100 << 10),
}


def of(
    num_features: int, dim: int, size: int, on: str, *, tensor_cores: bool = True, backward: bool = False
) -> Geometry:
    return geometry(
        num_features=num_features, dim=dim, width=dot_width(num_features, dim, "multiple_of_8"), size=size,
        tensor_cores=tensor_cores, backward=backward, limits=HARDWARE[on],
    )  # fmt: skip


def test_the_common_sizes_by_hand():
    # 28 rows of 256 + 16 bytes, 480 numbers; six blocks of four warps on 228 KiB, 1 KiB for each block.
    assert of(27, 128, 2, "9.0") == Geometry(272, 28 * 272 + 960, 4)
    assert of(27, 128, 2, "9.0").shared_bytes == 34304
    # 28 rows of 512 + 32 bytes, since lanes read single words of it.
    assert of(27, 128, 4, "9.0", backward=True).warp_bytes == 28 * 544 + 1920
    # 28 rows of 512 + 16, and the gradients of the pairs, 27 x 32 floats.
    assert of(27, 128, 4, "9.0", backward=True, tensor_cores=False).warp_bytes == 28 * 528 + 1920 + 27 * 32 * 4


@pytest.mark.parametrize("on", HARDWARE)
@pytest.mark.parametrize(("size", "tensor_cores"), [(2, True), (2, False), (4, True), (4, False)])
@pytest.mark.parametrize("backward", [False, True])
def test_every_size_within_the_limits_fits(on, size, tensor_cores, backward):
    for num_features in (1, 2, 16, 17, 27, 33, MOST_FEATURES):
        for dim in (1, 13, 16, 128, MOST_DIM):
            found = of(num_features, dim, size, on, tensor_cores=tensor_cores, backward=backward)
            assert 1 <= found.num_warps <= MOST_WARPS
            assert found.shared_bytes <= HARDWARE[on].block_bytes
            assert found.row_bytes % 16 == found.warp_bytes % 16 == 0


@pytest.mark.parametrize("size", [2, 4])
def test_rows_begin_in_different_banks(size):
    for dim in range(1, MOST_DIM + 1):
        together = row_bytes(dim, size, scattered=False)
        assert together >= -(-dim * size // 32) * 32
        assert len({row * together % 128 for row in range(8)}) == 8  # eight reads of 16 bytes side by side
    for dim in range(1, MOST_DIM + 1):
        words = row_bytes(dim, 4, scattered=True) // 4
        assert words >= -(-dim // 8) * 8
        # four rows' eight neighbouring words, as the lanes of a warp read them
        assert len({(t * words + g) % 32 for t in range(4) for g in range(8)}) == 32


def test_what_does_not_fit_is_refused_with_its_size():
    with pytest.raises(ValueError, match=r"a sample takes \d+ bytes of shared memory; the device has 4096"):
        geometry(
            num_features=27, dim=128, width=480, size=2, tensor_cores=True, backward=False, limits=Limits(4096, 8192)
        )


def test_blocks_cover_the_batch_or_fill_the_device():
    for batch in (1, 3, 4, 5, 8, 9, 65_536, 2**31 + 1):
        for warps in (1, 2, 4):
            found = num_blocks(batch, warps, 792)
            assert 1 <= found <= 792
            assert found == 792 or (found - 1) * warps < batch <= found * warps


def test_the_source_allows_as_many_threads_as_a_block_gets():
    assert re.findall(r"__launch_bounds__\((\d+), \d+\)", kernel_source()) == [str(32 * MOST_WARPS)]
    assert kernel_source().count("__global__ void BOUNDS") == kernel_source().count("__global__") == 2
