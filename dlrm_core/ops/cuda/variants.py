"""Which kernel serves which numbers on which hardware, and the source that says so to the compiler."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources

Capability = tuple[int, int]
OLDEST: Capability = (7, 5)
_AMPERE: Capability = (8, 0)
_NUMBERS = {"float16": "F16", "bfloat16": "Bf16", "float32": "F32"}
_TILE_ROWS, _MOST_TILES = 16, 3


@dataclass(frozen=True)
class Variant:
    """One pair of kernels, forward and backward.

    Attributes
    ----------
    dtype : {'float16', 'bfloat16', 'float32'}
    num_tiles : int
        Rows of x in sixteens, of which the tensor cores take 1 to 3; 0 for ordinary float32 arithmetic.
    """

    dtype: str
    num_tiles: int

    @property
    def tensor_cores(self) -> bool:
        """Whether products are the tensor cores': in float32 these are TF32."""
        return self.num_tiles > 0

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return 4 if self.dtype == "float32" else 2

    @property
    def name(self) -> str:
        """What the kernels are called behind ``forward_`` and ``backward_``."""
        kind = "tf32" if self.tensor_cores and self.dtype == "float32" else self.dtype
        return f"{kind}_tensor_{self.num_tiles}" if self.tensor_cores else f"{kind}_fma"

    @property
    def line(self) -> str:
        """The line of source that makes both kernels."""
        number = _NUMBERS[self.dtype]
        way = f"Tensor<{number}, {self.num_tiles}>" if self.tensor_cores else f"Fma<{number}>"
        return f"KERNELS({self.name}, {number}, {way})"


def choose(dtype: str, num_features: int, capability: Capability, *, allow_tf32: bool) -> Variant:
    """The variant for these numbers.

    Turing's tensor cores know float16 alone. float32 is exact unless TF32 is allowed and the hardware has it.

    >>> choose("bfloat16", 27, (9, 0), allow_tf32=False).name, choose("bfloat16", 27, (7, 5), allow_tf32=False).name
    ('bfloat16_tensor_2', 'bfloat16_fma')
    >>> [choose("float32", 27, (8, 0), allow_tf32=allowed).name for allowed in (False, True)]
    ['float32_fma', 'tf32_tensor_2']

    Raises
    ------
    ValueError
        If the kernel serves neither these numbers nor this hardware.
    """
    if dtype not in _NUMBERS:
        raise ValueError(f"x_BFD is {dtype}; the CUDA kernel takes {', '.join(_NUMBERS)}")
    if capability < OLDEST:
        raise ValueError(
            f"the device has compute capability {capability[0]}.{capability[1]}; the kernel needs "
            f"{OLDEST[0]}.{OLDEST[1]} or later, the oldest that CUDA 13 compiles for; choose interaction dot"
        )
    tensor = dtype == "float16" or (capability >= _AMPERE and (dtype == "bfloat16" or allow_tf32))
    return Variant(dtype, -(-num_features // _TILE_ROWS) if tensor else 0)


def every(capability: Capability) -> list[Variant]:
    """All variants that hardware of this capability can be given."""
    found = (
        choose(dtype, num_features, capability, allow_tf32=allowed)
        for dtype in _NUMBERS
        for num_features in range(_TILE_ROWS, (_MOST_TILES + 1) * _TILE_ROWS, _TILE_ROWS)
        for allowed in (False, True)
    )
    return list(dict.fromkeys(found))


def kernel_source() -> str:
    """The kernels as they are kept; no variant is in it yet."""
    return resources.files(__package__).joinpath("dot_interaction.cu").read_text(encoding="utf-8")


def with_variants(source: str, variants: Iterable[Variant]) -> str:
    """A source that the compiler makes these variants of."""
    return "\n".join([source, *(variant.line for variant in variants), ""])
