"""CPU kernels on tensors: what :mod:`dlrm_core.ops.cpu_kernels` compiles, after looking at shapes, types and strides.

Legend: B rows of a batch, F feature vectors, T = F - 1 tables, D embedding dimension, K width of the interaction, V rows
of all tables, N width of a layer.
"""

import functools
from importlib import util
from types import ModuleType

import torch
from torch import Tensor

INSTALL = "pip install numba"
_PIECES = 16
_BITS = {8: torch.int64, 4: torch.int32, 2: torch.int16}


def available() -> bool:
    """Whether numba is installed."""
    return util.find_spec("numba") is not None


@functools.cache
def kernels() -> ModuleType:
    """The compiled kernels.

    Raises
    ------
    ImportError
        If numba is missing, or finds no folder to keep what it compiles.
    """
    if not available():
        raise ImportError(f"the CPU kernels need numba: {INSTALL}")
    try:
        from dlrm_core.ops import cpu_kernels
    except RuntimeError as error:
        raise ImportError(f"numba: {error}; name a folder that can be written: export NUMBA_CACHE_DIR=...") from None
    return cpu_kernels


def lookup_(table_VD: Tensor, ids_BT: Tensor, first_T: Tensor, last_T: Tensor, x_BFD: Tensor) -> None:
    """Write the vectors of a batch's ids into ``x_BFD[:, 1:]``, rounded to its type; the offset is added on the way.

    Parameters
    ----------
    table_VD : float32
        The tables one after the other; table t has rows ``first_T[t]`` to ``last_T[t]``.
    ids_BT, first_T, last_T : int64
    x_BFD : float32 or bfloat16, F = T + 1
        ``x_BFD[:, 0]`` stays as it is.

    Raises
    ------
    IndexError
        If an id lies outside its table.
    ValueError
        If a type or shape does not fit.
    """
    _need(table_VD.dtype == torch.float32, "table_VD", table_VD, "float32")
    _need(x_BFD.dtype in (torch.float32, torch.bfloat16), "x_BFD", x_BFD, "float32 or bfloat16")
    _need(x_BFD.shape == (len(ids_BT), ids_BT.shape[1] + 1, table_VD.shape[1]), "x_BFD", x_BFD, "shape (B, T + 1, D)")
    compiled, places = _ready(), (ids_BT.numpy(), first_T.numpy(), last_T.numpy())
    if x_BFD.dtype == torch.float32:
        wrong = compiled.lookup(table_VD.numpy(), *places, x_BFD.numpy())
    else:
        wrong = compiled.lookup_rounded(table_VD.view(torch.uint32).numpy(), *places, x_BFD.view(torch.uint16).numpy())
    if wrong:
        raise IndexError(f"{wrong} ids lie outside their tables; ids below the cardinality or hash_indices are needed")


def pack_pairs(first_BD: Tensor, gram_BFF: Tensor, z_BK: Tensor) -> None:
    """Fill `z_BK` with the first vector, the strict lower triangle of `gram_BFF` row by row, and zeros; one dtype."""
    _need(first_BD.dtype == gram_BFF.dtype == z_BK.dtype, "gram_BFF", gram_BFF, f"{z_BK.dtype}")
    _need(first_BD.shape[:1] == gram_BFF.shape[:1] == z_BK.shape[:1], "gram_BFF", gram_BFF, f"a batch of {len(z_BK)}")
    _need_pairs(gram_BFF, z_BK, first_BD.shape[1])
    _ready().pack(bits(first_BD), bits(gram_BFF), bits(z_BK))


def unpack_pairs(z_BK: Tensor, gram_BFF: Tensor, dim: int) -> None:
    """Fill `gram_BFF`, symmetric with a zero diagonal, from the pairs that stand in `z_BK` after `dim` columns."""
    _need(z_BK.dtype == gram_BFF.dtype, "z_BK", z_BK, f"{gram_BFF.dtype}")
    _need(len(z_BK) == len(gram_BFF), "z_BK", z_BK, f"a batch of {len(gram_BFF)}")
    _need_pairs(gram_BFF, z_BK, dim)
    _ready().unpack(bits(z_BK), bits(gram_BFF), dim)


def add_rows_(
    table_VD: Tensor, ids_BT: Tensor, first_T: Tensor, order_T: Tensor, update_BTD: Tensor, alpha: float
) -> None:
    """Add `alpha` x `update_BTD` to the rows of a batch's ids, in float32, an id's occurrences in the order of the rows.

    Each table belongs to one thread, so that no two write to the same row; `order_T`, a permutation of the tables, says
    which are begun first. Ids must lie in their tables: :func:`lookup_` has looked.

    Parameters
    ----------
    table_VD : float32
    ids_BT, first_T, order_T : int64
    update_BTD : float32 or bfloat16
    alpha : float
    """
    _need(table_VD.dtype == torch.float32, "table_VD", table_VD, "float32")
    _need(update_BTD.dtype in (torch.float32, torch.bfloat16), "update_BTD", update_BTD, "float32 or bfloat16")
    _need(update_BTD.shape == (*ids_BT.shape, table_VD.shape[1]), "update_BTD", update_BTD, "shape (B, T, D)")
    compiled = _ready()
    places, factor = (
        (ids_BT.numpy(), first_T.numpy(), order_T.numpy()),
        torch.tensor(alpha, dtype=torch.float32).numpy()[()],
    )
    if update_BTD.dtype == torch.float32:
        compiled.add_rows(table_VD.numpy(), *places, update_BTD.numpy(), factor)
    else:
        compiled.add_rows_widened(table_VD.numpy(), *places, update_BTD.view(torch.uint16).numpy(), factor)


def bias_relu_(x_BN: Tensor, bias_N: Tensor) -> None:
    """Set `x_BN`, float32 or bfloat16, to ``relu(x_BN + bias_N)``; the bias and the sum are float32."""
    _need(x_BN.dtype in (torch.float32, torch.bfloat16), "x_BN", x_BN, "float32 or bfloat16")
    _need(bias_N.dtype == torch.float32 and bias_N.shape == x_BN.shape[1:], "bias_N", bias_N, "float32 of shape (N,)")
    if x_BN.dtype == torch.float32:
        _ready().bias_relu(x_BN.numpy(), bias_N.numpy())
    else:
        _ready().bias_relu_rounded(x_BN.view(torch.uint16).numpy(), bias_N.numpy(), min(len(x_BN), _PIECES))


def relu_backward_(gradient_BN: Tensor, output_BN: Tensor) -> Tensor:
    """Set `gradient_BN` to zero where `output_BN`, a ReLU's, is zero; return its sum by column, float32 of shape (N,).

    Both float32 or both bfloat16. The rows are summed in a fixed number of pieces, whatever the number of threads.
    """
    _need(gradient_BN.dtype == output_BN.dtype, "gradient_BN", gradient_BN, f"{output_BN.dtype}")
    _need(gradient_BN.dtype in (torch.float32, torch.bfloat16), "gradient_BN", gradient_BN, "float32 or bfloat16")
    sum_PN = torch.empty(_PIECES, gradient_BN.shape[1])
    if gradient_BN.dtype == torch.float32:
        _ready().mask_and_sum(gradient_BN.numpy(), output_BN.numpy(), sum_PN.numpy())
    else:
        gradient, output = gradient_BN.view(torch.uint16).numpy(), output_BN.view(torch.int16).numpy()
        _ready().mask_and_sum_widened(gradient, output, sum_PN.numpy())
    return sum_PN.sum(0)


def balanced(sizes_T: Tensor) -> Tensor:
    """An order of tables for :func:`add_rows_`: each thread takes a run of them, and each run has its share of the large ones.

    >>> import torch
    >>> sizes = torch.tensor([5, 40, 3, 30])
    >>> order = balanced(sizes)
    >>> sorted(order.tolist())
    [0, 1, 2, 3]
    """
    threads = torch.get_num_threads()
    falling = sizes_T.argsort(descending=True, stable=True)
    return torch.cat([falling[first::threads] for first in range(threads)])


def bits(x: Tensor):  # type: ignore[no-untyped-def]
    """The tensor's memory as integers of its size: a kernel that only moves numbers serves every dtype."""
    return x.view(_BITS[x.element_size()]).numpy()


def _ready() -> ModuleType:
    """The kernels, told to use as many threads as torch would."""
    compiled = kernels()
    import numba

    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
    return compiled


def _need_pairs(gram_BFF: Tensor, z_BK: Tensor, dim: int) -> None:
    """Both must hold the pairs, since the kernels look at no bound."""
    features = gram_BFF.shape[1]
    _need(gram_BFF.shape[1:] == (features, features), "gram_BFF", gram_BFF, "shape (B, F, F)")
    least = dim + features * (features - 1) // 2
    _need(z_BK.ndim == 2 and z_BK.shape[1] >= least, "z_BK", z_BK, f"shape (B, {least} or more)")


def _need(condition: bool, name: str, x: Tensor, needed: str) -> None:
    if not condition:
        raise ValueError(f"{name} is {x.dtype} of shape {tuple(x.shape)}; {needed} is needed")
