"""Update rules: torch's own for the MLPs, row-wise ones for the tables.

Legend: V rows of all tables, B rows of the batch, T tables, D embedding dimension, U distinct rows of the batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

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

    ``sgd`` adds each occurrence's update to its row. ``adagrad`` and ``adam`` first sum the gradient by row, as
    torch's sparse Adagrad and SparseAdam do. Weight decay adds ``weight_decay * row`` to the gradient of each occurrence;
    dense decay shrinks every row of every table before the update.
    """

    def __init__(self, config: TableOptimizerConfig, table_VD: Tensor) -> None:
        self._config = config
        self._table_VD = table_VD
        slots = {"sgd": 0, "adagrad": 1, "adam": 2}[config.name]
        self._state = [torch.zeros_like(table_VD) for _ in range(slots)]
        self._step = 0

    def step(self, rows_BT: Tensor, gradient_BTD: Tensor, lr: float) -> None:
        """Apply the gradient of the gathered rows."""
        self._step += 1
        if self._config.dense_decay:
            self._table_VD.mul_(1 - lr * self._config.dense_decay)
        if self._config.weight_decay:
            gradient_BTD = gradient_BTD + self._config.weight_decay * gather_rows(self._table_VD, rows_BT)
        if self._config.name == "sgd":
            add_rows_(self._table_VD, rows_BT, gradient_BTD, alpha=-lr)
            return
        unique_U, gradient_UD = sum_by_row(rows_BT, gradient_BTD)
        direction_UD = (
            self._adagrad(unique_U, gradient_UD)
            if self._config.name == "adagrad"
            else self._adam(unique_U, gradient_UD)
        )
        self._table_VD.index_add_(0, unique_U, direction_UD, alpha=-lr)

    def _adagrad(self, unique_U: Tensor, gradient_UD: Tensor) -> Tensor:
        (squares_VD,) = self._state
        squares_UD = squares_VD.index_select(0, unique_U) + gradient_UD**2
        squares_VD.index_copy_(0, unique_U, squares_UD)
        return gradient_UD / (squares_UD.sqrt() + ADAGRAD_EPS)

    def _adam(self, unique_U: Tensor, gradient_UD: Tensor) -> Tensor:
        mean_VD, squares_VD = self._state
        beta1, beta2 = ADAM_BETAS
        mean_UD = mean_VD.index_select(0, unique_U) * beta1 + gradient_UD * (1 - beta1)
        squares_UD = squares_VD.index_select(0, unique_U) * beta2 + gradient_UD**2 * (1 - beta2)
        mean_VD.index_copy_(0, unique_U, mean_UD)
        squares_VD.index_copy_(0, unique_U, squares_UD)
        correction = (1 - beta2**self._step) ** 0.5 / (1 - beta1**self._step)
        return correction * mean_UD / (squares_UD.sqrt() + ADAM_EPS)
