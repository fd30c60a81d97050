"""Embedding tables: how they are stored and looked up.

Legend: B rows of a batch, T tables, D embedding dimension, V rows of all tables.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlrm_core.ops.rows import gather_rows

EMBEDDING_TYPES = ("multi_table", "joint", "joint_fused", "joint_sparse")


class EmbeddingTables(nn.Module):
    """The tables of a model, float32, without autograd gradients: who trains them updates the rows of a batch itself.

    ``multi_table`` keeps one tensor a table, and the update of a batch goes table by table. The others keep all tables in
    one tensor of shape (V, D), one after the other: ``joint`` adds to a row once for each occurrence, ``joint_sparse``
    sums a row's gradients first and adds once, and ``joint_fused`` looks up and updates with compiled kernels that add the
    offset of the table on the way.

    Parameters
    ----------
    cardinalities : sequence of int
        Rows of each table.
    dim : int
    embedding_type : {'multi_table', 'joint', 'joint_fused', 'joint_sparse'}
    hash_indices : bool
        Take every id modulo the rows of its table.
    init_scale : float
        Factor on the documented bound sqrt(1 / rows).
    generator : torch.Generator

    Raises
    ------
    ValueError
        If `embedding_type` is unknown.
    """

    first_T: Tensor
    last_T: Tensor
    rows_T: Tensor

    def __init__(
        self,
        cardinalities: Sequence[int],
        dim: int,
        *,
        embedding_type: str,
        hash_indices: bool,
        init_scale: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if embedding_type not in EMBEDDING_TYPES:
            raise ValueError(f"embedding_type is {embedding_type!r}; one of {', '.join(EMBEDDING_TYPES)} is needed")
        self.embedding_type = embedding_type
        self.hash_indices = hash_indices
        self.dim = dim
        rows_T = torch.tensor(list(cardinalities), dtype=torch.int64)
        joint_VD = _init_tables(cardinalities, dim, init_scale, generator)
        separate = embedding_type == "multi_table"
        ends_T = rows_T.cumsum(0)
        self.register_buffer("rows_T", rows_T, persistent=False)
        self.register_buffer("first_T", torch.zeros_like(rows_T) if separate else ends_T - rows_T, persistent=False)
        self.register_buffer("last_T", rows_T - 1 if separate else ends_T - 1, persistent=False)
        parts = [part.clone() for part in joint_VD.split(list(cardinalities))] if separate else [joint_VD]
        for number, part in enumerate(parts):
            self.register_buffer(f"weight_{number}", part)
        self._count = len(parts)

    def storage(self) -> list[Tensor]:
        """The tensors that hold the tables: one of shape (V, D), or one a table."""
        return [getattr(self, f"weight_{number}") for number in range(self._count)]

    def tables(self) -> list[Tensor]:
        """Each table, of shape (rows, D), in feature order; a view."""
        parts = self.storage()
        return parts if len(parts) == len(self.rows_T) else list(parts[0].split(self.rows_T.tolist()))

    def ids(self, ids_BT: Tensor) -> Tensor:
        """The ids as each table counts them: modulo its rows with `hash_indices`, else as they are."""
        return ids_BT % self.rows_T if self.hash_indices else ids_BT

    def rows(self, ids_BT: Tensor) -> Tensor:
        """Rows of the storage, int64 of shape (B, T)."""
        return self.ids(ids_BT) + self.first_T

    def gather(self, rows_BT: Tensor) -> Tensor:
        """Embedding vectors, float32 of shape (B, T, D), of :meth:`rows`."""
        parts = self.storage()
        if self.embedding_type != "multi_table":
            return gather_rows(parts[0], rows_BT)
        columns = [gather_rows(part, rows_BT[:, t : t + 1]) for t, part in enumerate(parts)]
        return torch.cat(columns, dim=1) if columns else torch.empty(len(rows_BT), 0, self.dim)


def _init_tables(cardinalities: Sequence[int], dim: int, scale: float, generator: torch.Generator) -> Tensor:
    """Each table uniform within scale * sqrt(1 / rows) (June 2020 nn/parts.py:61-69)."""
    table_VD = torch.empty(sum(cardinalities), dim)
    for rows, part in zip(cardinalities, table_VD.split(list(cardinalities)), strict=True):
        bound = scale * math.sqrt(1.0 / rows)
        part.uniform_(-bound, bound, generator=generator)
    return table_VD
