"""Pairwise dot interaction: the torch reference, and at this stage the implementation.

Legend: B rows, F feature vectors (the bottom MLP's first), D embedding dimension, P = F (F - 1) / 2 pairs.
"""

import torch
from torch import Tensor


def pad_width(raw_width: int, pad: str) -> int:
    """Zero columns after `raw_width` ones: up to a multiple of 8 (HEAD) or always one (June 2020).

    >>> pad_width(128 + 351, "multiple_of_8"), pad_width(16 + 351, "multiple_of_8"), pad_width(16 + 351, "one_column")
    (1, 1, 1)

    Raises
    ------
    ValueError
        If `pad` is neither.
    """
    if pad == "one_column":
        return 1
    if pad == "multiple_of_8":
        return -raw_width % 8
    raise ValueError(f"pad is {pad!r}; 'multiple_of_8' or 'one_column' is needed")


def dot_width(num_features: int, dim: int, pad: str) -> int:
    """Output columns of :func:`dot_interaction`.

    >>> dot_width(27, 128, "multiple_of_8")
    480
    """
    raw = dim + num_features * (num_features - 1) // 2
    return raw + pad_width(raw, pad)


def dot_interaction(x_BFD: Tensor, pad: str = "multiple_of_8") -> Tensor:
    """Concatenate the first vector, the dot products of all pairs, and zero padding.

    Parameters
    ----------
    x_BFD : Tensor of shape (B, F, D), floating point
        Row 0 of F is the bottom MLP's output.
    pad : {'multiple_of_8', 'one_column'}
        See :func:`pad_width`.

    Returns
    -------
    Tensor of shape (B, dot_width(F, D, pad))
        ``[x_0, x_1.x_0, x_2.x_0, x_2.x_1, x_3.x_0, ..., 0 ...]``: the strict lower triangle, row by row, so that pair
        (i, j), i > j, stands at D + i (i - 1) / 2 + j (June 2020 ``nn/interactions.py:43-71``).

    Raises
    ------
    ValueError
        If `x_BFD` is not three-dimensional or has no feature, or `pad` is unknown.
    """
    if x_BFD.ndim != 3 or x_BFD.shape[1] < 1:
        raise ValueError(f"x_BFD has shape {tuple(x_BFD.shape)}; (B, F, D) with F >= 1 is needed")
    batch, num_features, dim = x_BFD.shape
    gram_BFF = torch.bmm(x_BFD, x_BFD.transpose(1, 2))
    row, column = torch.tril_indices(num_features, num_features, offset=-1, device=x_BFD.device)
    pairs_BP = gram_BFF.flatten(1).index_select(1, row * num_features + column)  # half the time of indexing by two
    zeros = x_BFD.new_zeros(batch, pad_width(dim + pairs_BP.shape[1], pad))
    return torch.cat([x_BFD[:, 0], pairs_BP, zeros], dim=1)
