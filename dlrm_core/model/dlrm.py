"""The deep learning recommendation model (Naumov et al., arXiv:1906.00091) in NVIDIA's shape.

::

    numerical (B, N) -> bottom MLP -> (B, D) ─┐
                                              ├─ (B, F, D) -> dot interaction -> (B, K) -> top MLP -> logit (B,)
    ids (B, F - 1) -> embedding tables ───────┘

Legend: B rows, N numerical features, F feature vectors (bottom MLP first), D embedding dimension, V rows of all tables.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlrm_core.ops.interaction import dot_interaction, dot_width
from dlrm_core.ops.rows import gather_rows


class Dlrm(nn.Module):
    """Bottom MLP, embedding tables, interaction, top MLP; all on one device.

    The tables stand in one buffer of shape (V, D), one after the other, and take no autograd gradient: a step asks for the
    gradient of the rows that it gathered (:meth:`gather`) and updates those rows itself.

    Parameters
    ----------
    cardinalities : sequence of int
        Rows of each table.
    num_numerical : int
    embedding_dim : int
    bottom_mlp_sizes, top_mlp_sizes : sequence of int
        Layer widths; the bottom's last is `embedding_dim`, the top's last is 1.
    interaction : {'dot', 'cat'}
    interaction_pad : {'multiple_of_8', 'one_column'}
    output_init : {'uniform', 'normal'}
        Last layer: PyTorch's default for Linear (June 2020) or the normal one of the other layers (April 2020).
    embedding_init_scale : float
        Factor on the documented bound sqrt(1 / rows).
    dropout : float
        Probability of zeroing an activation of the top MLP's hidden layers in training.
    seed : int
        Seed of the initialisation.

    Raises
    ------
    ValueError
        If an alternative is unknown or the layer sizes do not fit together.
    """

    first_row: Tensor
    table_VD: Tensor
    numerical_mean_N: Tensor | None
    numerical_deviation_N: Tensor | None

    def __init__(  # noqa: PLR0913 - one argument a documented choice
        self,
        *,
        cardinalities: Sequence[int],
        num_numerical: int,
        embedding_dim: int,
        bottom_mlp_sizes: Sequence[int],
        top_mlp_sizes: Sequence[int],
        interaction: str = "dot",
        interaction_pad: str = "multiple_of_8",
        output_init: str = "uniform",
        embedding_init_scale: float = 1.0,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check_choices(interaction=interaction, interaction_pad=interaction_pad, output_init=output_init)
        if bottom_mlp_sizes[-1] != embedding_dim or top_mlp_sizes[-1] != 1:
            raise ValueError(
                f"the MLPs end in {bottom_mlp_sizes[-1]} and {top_mlp_sizes[-1]}; embedding_dim {embedding_dim} and 1 are needed"
            )
        generator = torch.Generator().manual_seed(seed)
        self.cardinalities = tuple(cardinalities)
        self.interaction = interaction
        self.interaction_pad = interaction_pad
        num_features = len(self.cardinalities) + 1
        raw_width = embedding_dim + num_features * (num_features - 1) // 2
        width = (
            dot_width(num_features, embedding_dim, interaction_pad)
            if interaction == "dot"
            else num_features * embedding_dim
        )
        self.bottom = _layers(num_numerical, bottom_mlp_sizes, generator)
        self.top = _layers(width, top_mlp_sizes, generator)
        self.dropout = dropout
        with torch.no_grad():
            if output_init == "uniform":
                _init_uniform(self.top[-1], generator)
            if interaction == "dot":
                first = self.top[0]
                assert isinstance(first, nn.Linear)
                first.weight[:, raw_width:] = 0.0  # the pad columns see zeros only; June 2020 zeroes the last one
        starts = torch.tensor([0, *self.cardinalities], dtype=torch.int64).cumsum(0)
        self.register_buffer("first_row", starts[:-1], persistent=False)
        self.register_buffer("numerical_mean_N", None, persistent=False)
        self.register_buffer("numerical_deviation_N", None, persistent=False)
        self.register_buffer(
            "table_VD", _init_tables(self.cardinalities, embedding_dim, embedding_init_scale, generator)
        )

    def rows(self, ids_BT: Tensor) -> Tensor:
        """Rows of the joint table, int64 of shape (B, T), for ids of shape (B, T), T = F - 1."""
        return ids_BT + self.first_row

    def gather(self, rows_BT: Tensor) -> Tensor:
        """Embedding vectors of shape (B, T, D)."""
        return gather_rows(self.table_VD, rows_BT)

    def forward(
        self, numerical_BN: Tensor, embeddings_BTD: Tensor, dropout_generator: torch.Generator | None = None
    ) -> Tensor:
        """Logits of shape (B,) from float32 numericals (B, N) and gathered embeddings (B, T, D)."""
        x = numerical_BN
        if self.numerical_mean_N is not None and self.numerical_deviation_N is not None:
            x = (x - self.numerical_mean_N) / self.numerical_deviation_N
        for layer in self.bottom:
            x = torch.relu(layer(x))
        x_BFD = torch.cat([x.unsqueeze(1), embeddings_BTD], dim=1)
        z = dot_interaction(x_BFD, self.interaction_pad) if self.interaction == "dot" else x_BFD.flatten(1)
        for layer in self.top[:-1]:
            z = torch.relu(layer(z))
            if dropout_generator is not None and self.dropout:
                keep = torch.rand(z.shape, generator=dropout_generator) >= self.dropout
                z = z * keep / (1 - self.dropout)
        return self.top[-1](z).squeeze(1)

    def standardize(self, mean_N: Tensor, deviation_N: Tensor) -> None:
        """From now on subtract `mean_N` from the numericals and divide by `deviation_N`."""
        self.numerical_mean_N, self.numerical_deviation_N = mean_N, deviation_N

    @torch.no_grad()
    def fold_standardization(self) -> None:
        """Move what :meth:`standardize` does into the first layer's weights: the same function, up to rounding."""
        if self.numerical_mean_N is None or self.numerical_deviation_N is None:
            return
        first = self.bottom[0]
        assert isinstance(first, nn.Linear)
        first.weight.div_(self.numerical_deviation_N)
        first.bias.sub_(first.weight @ self.numerical_mean_N)
        self.numerical_mean_N = self.numerical_deviation_N = None

    def tables(self) -> list[Tensor]:
        """Each table, a view of shape (rows, D), in feature order."""
        return list(self.table_VD.split(self.cardinalities))


CHOICES = {
    "interaction": ("dot", "cat"),
    "interaction_pad": ("multiple_of_8", "one_column"),
    "output_init": ("uniform", "normal"),
}


def _check_choices(**chosen: str) -> None:
    for name, value in chosen.items():
        if value not in CHOICES[name]:
            raise ValueError(f"{name} is {value!r}; one of {', '.join(CHOICES[name])} is needed")


def _layers(inputs: int, sizes: Sequence[int], generator: torch.Generator) -> nn.ModuleList:
    layers = nn.ModuleList()
    for outputs in sizes:
        layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
        with torch.no_grad():  # June 2020 nn/mlps.py:69-73
            layer.weight.normal_(0.0, math.sqrt(2.0 / (inputs + outputs)), generator=generator)
            layer.bias.normal_(0.0, math.sqrt(1.0 / outputs), generator=generator)
        layers.append(layer)
        inputs = outputs
    return layers


def _init_uniform(layer: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's default initialisation of Linear: weight and bias uniform within 1 / sqrt(inputs)."""
    assert isinstance(layer, nn.Linear)
    bound = 1.0 / math.sqrt(layer.in_features)
    layer.weight.uniform_(-bound, bound, generator=generator)
    layer.bias.uniform_(-bound, bound, generator=generator)


def _init_tables(cardinalities: Sequence[int], dim: int, scale: float, generator: torch.Generator) -> Tensor:
    """Each table uniform within scale * sqrt(1 / rows) (June 2020 nn/parts.py:61-69)."""
    table_VD = torch.empty(sum(cardinalities), dim)
    for rows, part in zip(cardinalities, table_VD.split(list(cardinalities)), strict=True):
        bound = scale * math.sqrt(1.0 / rows)
        part.uniform_(-bound, bound, generator=generator)
    return table_VD
