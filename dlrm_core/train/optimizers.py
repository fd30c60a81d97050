"""Update rules: torch's own for the MLPs, row-wise ones for the tables.

Legend: V rows of all tables or of one, B rows of the batch, T tables, D embedding dimension, U distinct rows of the batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlrm_core.model.embeddings import EmbeddingTables
from dlrm_core.ops import cpu
from dlrm_core.ops.rows import add_rows_, gather_rows, sum_by_row
from dlrm_core.schema.config import MlpOptimizerConfig, TableOptimizerConfig

ADAM_BETAS = (0.9, 0.999)
ADAM_EPS = 1e-8
ADAGRAD_EPS = 1e-10


def build_mlp_optimizer(config: MlpOptimizerConfig, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """The torch optimiser of that name over `parameters`; its learning rate is set before each step."""
    if config.name == "sgd":
        return torch.optim.SGD(parameters, lr=config.lr, weight_decay=config.weight_decay, foreach=True)
    if config.name == "adagrad":
        return torch.optim.Adagrad(
            parameters, lr=config.lr, weight_decay=config.weight_decay, eps=ADAGRAD_EPS, foreach=True
        )
    if config.decoupled_decay:
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.decoupled_decay},
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=config.lr, betas=ADAM_BETAS, eps=ADAM_EPS, foreach=True)
    return torch.optim.Adam(
        parameters, lr=config.lr, betas=ADAM_BETAS, eps=ADAM_EPS, weight_decay=config.weight_decay, foreach=True
    )


class TableOptimizer:
    """Updates the rows that a batch touched; every sum is taken in a fixed order.

    ``sgd`` adds each occurrence's update to its row, or with 'joint_sparse' storage their sum. ``adagrad`` and ``adam``
    first sum the gradient by row, as torch's sparse Adagrad and SparseAdam do. Weight decay adds ``weight_decay * row`` to
    the gradient of each occurrence; dense decay shrinks every row of every table before the update.
    """

    def __init__(self, config: TableOptimizerConfig, embeddings: EmbeddingTables) -> None:
        self._config = config
        self._embeddings = embeddings
        slots = {"sgd": 0, "adagrad": 1, "adam": 2}[config.name]
        self._state = [[torch.zeros_like(part) for _ in range(slots)] for part in embeddings.storage()]
        self._order_T = cpu.balanced(embeddings.rows_T)
        self._step = 0

    def step(self, ids_BT: Tensor, gradient_BTD: Tensor, lr: float) -> None:
        """Apply the gradient of the embedding vectors of a batch."""
        self._step += 1
        if self._config.dense_decay:
            for part in self._embeddings.storage():
                part.mul_(1 - lr * self._config.dense_decay)
        kind, sgd = self._embeddings.embedding_type, self._config.name == "sgd" and not self._config.weight_decay
        if kind == "joint_fused" and sgd:
            (table_VD,), ids_BT = self._embeddings.storage(), self._embeddings.ids(ids_BT)
            cpu.add_rows_(table_VD, ids_BT, self._embeddings.first_T, self._order_T, gradient_BTD, -lr)
            return
        rows_BT = self._embeddings.rows(ids_BT)
        gradient_BTD = gradient_BTD.to(self._embeddings.storage()[0].dtype)
        if kind != "multi_table":
            self._update(self._embeddings.storage()[0], self._state[0], rows_BT, gradient_BTD, lr)
            return
        for t, (part, state) in enumerate(zip(self._embeddings.storage(), self._state, strict=True)):
            self._update(part, state, rows_BT[:, t : t + 1], gradient_BTD[:, t : t + 1], lr)

    def _update(self, table_VD: Tensor, state: list[Tensor], rows_BT: Tensor, gradient_BTD: Tensor, lr: float) -> None:
        if self._config.weight_decay:
            gradient_BTD = gradient_BTD + self._config.weight_decay * gather_rows(table_VD, rows_BT)
        if self._config.name == "sgd" and self._embeddings.embedding_type != "joint_sparse":
            add_rows_(table_VD, rows_BT, gradient_BTD, alpha=-lr)
            return
        unique_U, gradient_UD = sum_by_row(rows_BT, gradient_BTD)
        direction_UD = gradient_UD
        if self._config.name == "adagrad":
            direction_UD = self._adagrad(state, unique_U, gradient_UD)
        elif self._config.name == "adam":
            direction_UD = self._adam(state, unique_U, gradient_UD)
        table_VD.index_add_(0, unique_U, direction_UD, alpha=-lr)

    def _adagrad(self, state: list[Tensor], unique_U: Tensor, gradient_UD: Tensor) -> Tensor:
        (squares_VD,) = state
        squares_UD = squares_VD.index_select(0, unique_U) + gradient_UD**2
        squares_VD.index_copy_(0, unique_U, squares_UD)
        return gradient_UD / (squares_UD.sqrt() + ADAGRAD_EPS)

    def _adam(self, state: list[Tensor], unique_U: Tensor, gradient_UD: Tensor) -> Tensor:
        mean_VD, squares_VD = state
        beta1, beta2 = ADAM_BETAS
        mean_UD = mean_VD.index_select(0, unique_U) * beta1 + gradient_UD * (1 - beta1)
        squares_UD = squares_VD.index_select(0, unique_U) * beta2 + gradient_UD**2 * (1 - beta2)
        mean_VD.index_copy_(0, unique_U, mean_UD)
        squares_VD.index_copy_(0, unique_U, squares_UD)
        correction = (1 - beta2**self._step) ** 0.5 / (1 - beta1**self._step)
        return correction * mean_UD / (squares_UD.sqrt() + ADAM_EPS)
