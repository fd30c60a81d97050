"""How much shared memory a warp needs, how many warps a block gets and how many blocks a launch: plain arithmetic.

Sizes are bytes. The kernels take `row_bytes` and `warp_bytes` from here and compute neither.
"""

from dataclasses import dataclass

MOST_WARPS = 4  # a block; __launch_bounds__ in the source
RESERVED_BYTES = 1024  # shared memory that each block costs besides its own (compute capability 8.0 and later)
_BANKS_BYTES, _STEP_BYTES = 16, 32


@dataclass(frozen=True)
class Limits:
    """Shared memory that a block can have, and a multiprocessor has."""

    block_bytes: int
    multiprocessor_bytes: int


@dataclass(frozen=True)
class Geometry:
    """Layout of a warp's shared memory and the number of warps in a block."""

    row_bytes: int
    warp_bytes: int
    num_warps: int

    @property
    def shared_bytes(self) -> int:
        """Dynamic shared memory of a block."""
        return self.num_warps * self.warp_bytes


def row_bytes(dim: int, size: int, *, scattered: bool) -> int:
    """From one row of x in shared memory to the next: whole steps of the tensor cores, and a skew.

    The skew makes eight rows begin in different banks: an odd multiple of 16 bytes for `ldmatrix`, which reads 16 bytes of
    each; 8 words more than a multiple of 16 where lanes read single words of four rows (`scattered`).

    >>> row_bytes(128, 2, scattered=False), row_bytes(128, 4, scattered=True), row_bytes(13, 2, scattered=False)
    (272, 544, 48)
    """
    skew = 2 * _BANKS_BYTES if scattered else _BANKS_BYTES
    return _round_up(dim * size, max(_STEP_BYTES, 2 * skew)) + skew


def geometry(
    *, num_features: int, dim: int, width: int, size: int, tensor_cores: bool, backward: bool, limits: Limits
) -> Geometry:
    """Shared memory and warps of a block for one kernel.

    Parameters
    ----------
    num_features, dim, width : int
        F, D and K.
    size : int
        Bytes of a number.
    tensor_cores, backward : bool
        Which kernel.
    limits : Limits

    Raises
    ------
    ValueError
        If not even one warp fits.
    """
    row = row_bytes(dim, size, scattered=tensor_cores and backward and size == 4)
    warp = (num_features + 1) * row + _round_up(width * size, _BANKS_BYTES)
    if backward and not tensor_cores:
        warp += 4 * num_features * _round_up(num_features, 8)
    return Geometry(row, warp, _num_warps(warp, limits))


def num_blocks(batch: int, num_warps: int, resident: int) -> int:
    """As many blocks as there is work for, but no more than can run at once: a warp goes on to another sample by itself.

    >>> num_blocks(65_536, 4, 792), num_blocks(5, 4, 792)
    (792, 2)
    """
    return min(-(-batch // num_warps), resident)


def _num_warps(warp_bytes: int, limits: Limits) -> int:
    """The number of warps a block with which most warps fit on a multiprocessor, the larger one of equals."""

    def together(warps: int) -> int:
        return limits.multiprocessor_bytes // (warps * warp_bytes + RESERVED_BYTES) * warps

    possible = [w for w in (1, 2, MOST_WARPS) if w * warp_bytes <= limits.block_bytes and together(w)]
    if not possible:
        raise ValueError(
            f"a sample takes {warp_bytes} bytes of shared memory; the device has {limits.block_bytes} for a block; "
            "fewer features or a smaller dimension are needed"
        )
    return max(possible, key=lambda warps: (together(warps), warps))


def _round_up(n: int, unit: int) -> int:
    return -(-n // unit) * unit
