"""Rows of embedding tables: gathered for a batch, and updated in a fixed order.

Legend: V rows of all tables together, B rows of the batch, F tables, D embedding dimension.
"""

import torch
from torch import Tensor


def gather_rows(table_VD: Tensor, rows_BF: Tensor) -> Tensor:
    """The table's rows for a batch: (B, F, D)."""
    return table_VD.index_select(0, rows_BF.reshape(-1)).view(*rows_BF.shape, table_VD.shape[1])


def add_rows_(table_VD: Tensor, rows_BF: Tensor, update_BFD: Tensor, alpha: float) -> None:
    """Add `alpha` x `update_BFD` to the table's rows in place; a row that occurs n times is added to n times, in order.

    On CPU ``index_add_`` gives the same bits for any number of threads (a test holds this); on CUDA torch's
    deterministic mode is needed for that.
    """
    table_VD.index_add_(0, rows_BF.reshape(-1), update_BFD.reshape(-1, table_VD.shape[1]), alpha=alpha)


def sum_by_row(rows_BF: Tensor, update_BFD: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows, rising, of shape (U,), and the sum of each one's updates, of shape (U, D)."""
    unique_U, place = torch.unique(rows_BF.reshape(-1), return_inverse=True)
    sums_UD = update_BFD.new_zeros(len(unique_U), update_BFD.shape[-1])
    sums_UD.index_add_(0, place, update_BFD.reshape(-1, update_BFD.shape[-1]))
    return unique_U, sums_UD
