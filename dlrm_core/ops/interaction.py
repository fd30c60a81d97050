"""Pairwise dot interaction: limits, layout, the torch reference that tests trust, and the op `dlrm::dot_interaction`.

Legend: B rows, F feature vectors (the bottom MLP's first), D embedding dimension, P = F (F - 1) / 2 pairs.
"""

import torch
from torch import Tensor

from dlrm_core.ops.cpu import pack_pairs, unpack_pairs
from dlrm_core.ops.layout import dot_width, pad_width

MOST_FEATURES, MOST_DIM = 40, 256


def dot_interaction(x_BFD: Tensor, pad: str = "multiple_of_8") -> Tensor:
    """Concatenate the first vector, the dot products of all pairs, and zero padding: the torch reference.

    Parameters
    ----------
    x_BFD : Tensor of shape (B, F, D), floating point, 1 <= F <= 40, 1 <= D <= 256
        Row 0 of F is the bottom MLP's output.
    pad : {'multiple_of_8', 'one_column'}
        See :func:`dlrm_core.ops.layout.pad_width`.

    Returns
    -------
    Tensor of shape (B, dot_width(F, D, pad))
        ``[x_0, x_1.x_0, x_2.x_0, x_2.x_1, x_3.x_0, ..., 0 ...]``: the strict lower triangle, row by row, so that pair
        (i, j), i > j, stands at D + i (i - 1) / 2 + j (June 2020 ``nn/interactions.py:43-71``).

    Raises
    ------
    ValueError
        If the shape is outside these limits, or `pad` is unknown.
    """
    check_shape(tuple(x_BFD.shape))
    batch, num_features, dim = x_BFD.shape
    gram_BFF = torch.bmm(x_BFD, x_BFD.transpose(1, 2))
    row, column = torch.tril_indices(num_features, num_features, offset=-1, device=x_BFD.device)
    pairs_BP = gram_BFF.flatten(1).index_select(1, row * num_features + column)  # half the time of indexing by two
    zeros = x_BFD.new_zeros(batch, pad_width(dim + pairs_BP.shape[1], pad))
    return torch.cat([x_BFD[:, 0], pairs_BP, zeros], dim=1)


def check_shape(shape: tuple[int, ...]) -> None:
    """Make sure that an interaction of this shape is within the limits that every implementation holds.

    Raises
    ------
    ValueError
        If it is not.
    """
    if len(shape) != 3 or not (1 <= shape[1] <= MOST_FEATURES and 1 <= shape[2] <= MOST_DIM):
        raise ValueError(
            f"x_BFD has shape {shape}; (B, F, D) with F of 1 to {MOST_FEATURES} and D of 1 to {MOST_DIM} is needed"
        )


def check_floating(x_BFD: Tensor) -> None:
    """Make sure that products of these numbers have a gradient.

    Raises
    ------
    ValueError
        If they are whole numbers, booleans or complex.
    """
    if not x_BFD.is_floating_point():
        raise ValueError(f"x_BFD is {x_BFD.dtype}; a floating-point tensor is needed")


def check_gradient(gradient_BK: Tensor, x_BFD: Tensor) -> None:
    """Make sure that both are within the limits and fit together.

    Raises
    ------
    ValueError
        If they do not.
    """
    check_shape(tuple(x_BFD.shape))
    check_floating(x_BFD)
    batch, num_features, dim = x_BFD.shape
    least = dim + num_features * (num_features - 1) // 2
    if gradient_BK.ndim != 2 or gradient_BK.shape[0] != batch or gradient_BK.shape[1] < least:
        raise ValueError(f"gradient_BK has shape {tuple(gradient_BK.shape)}; ({batch}, {least} or more) is needed")
    if gradient_BK.dtype != x_BFD.dtype:
        raise ValueError(f"gradient_BK is {gradient_BK.dtype}; {x_BFD.dtype} is needed, as x_BFD is")
    if gradient_BK.device != x_BFD.device:
        raise ValueError(f"gradient_BK is on {gradient_BK.device}; {x_BFD.device} is needed, as x_BFD is")


@torch.library.custom_op("dlrm::dot_interaction", mutates_args=(), device_types="cpu")
def dot_interaction_op(x_BFD: Tensor, pad: str) -> Tensor:
    """:func:`dot_interaction` as one differentiable op, ``torch.ops.dlrm.dot_interaction``.

    Differentiable once and in reverse mode: a second derivative raises, and a forward-mode tangent is dropped by torch.
    Same arguments, result and errors; ImportError without numba on a CPU, and without cuda.core on a CUDA device, where the
    numbers are float16, bfloat16 or float32.
    """
    check_shape(tuple(x_BFD.shape))
    check_floating(x_BFD)
    x_BFD = x_BFD.contiguous()
    _, num_features, dim = x_BFD.shape
    z_BK = x_BFD.new_empty(len(x_BFD), dot_width(num_features, dim, pad))
    pack_pairs(x_BFD[:, 0].contiguous(), torch.bmm(x_BFD, x_BFD.transpose(1, 2)), z_BK)
    return z_BK


@torch.library.custom_op("dlrm::dot_interaction_backward", mutates_args=(), device_types="cpu")
def dot_interaction_backward_op(gradient_BK: Tensor, x_BFD: Tensor) -> Tensor:
    """Gradient of the op with respect to `x_BFD`, of its shape: G X, with D more terms for the first vector.

    G is symmetric with a zero diagonal and G[i, j] the gradient of pair (i, j); that of the padding is dropped.
    """
    check_gradient(gradient_BK, x_BFD)
    x_BFD = x_BFD.contiguous()
    batch, num_features, dim = x_BFD.shape
    gram_BFF = x_BFD.new_empty(batch, num_features, num_features)
    unpack_pairs(gradient_BK.contiguous(), gram_BFF, dim)
    result_BFD = torch.bmm(gram_BFF, x_BFD)
    result_BFD[:, 0] += gradient_BK[:, :dim]
    return result_BFD


@dot_interaction_op.register_kernel("cuda")
def _on_cuda(x_BFD: Tensor, pad: str) -> Tensor:
    check_shape(tuple(x_BFD.shape))
    check_floating(x_BFD)
    from dlrm_core.ops.cuda import interaction as kernel  # what compiles it is installed where it is used

    return kernel.forward(x_BFD, pad)


@dot_interaction_backward_op.register_kernel("cuda")
def _backward_on_cuda(gradient_BK: Tensor, x_BFD: Tensor) -> Tensor:
    check_gradient(gradient_BK, x_BFD)
    from dlrm_core.ops.cuda import interaction as kernel

    return kernel.backward(gradient_BK, x_BFD)


@dot_interaction_op.register_fake
def _fake(x_BFD: Tensor, pad: str) -> Tensor:
    check_shape(tuple(x_BFD.shape))
    check_floating(x_BFD)
    return x_BFD.new_empty(x_BFD.shape[0], dot_width(x_BFD.shape[1], x_BFD.shape[2], pad))


@dot_interaction_backward_op.register_fake
def _fake_backward(gradient_BK: Tensor, x_BFD: Tensor) -> Tensor:  # noqa: ARG001 - the op's signature
    return x_BFD.new_empty(x_BFD.shape)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # noqa: ARG001 - torch's signature
    ctx.save_for_backward(inputs[0])


def _backward(ctx, gradient_BK):  # type: ignore[no-untyped-def]
    (x_BFD,) = ctx.saved_tensors
    return torch.ops.dlrm.dot_interaction_backward(gradient_BK, x_BFD), None


dot_interaction_op.register_autograd(_backward, setup_context=_save)
