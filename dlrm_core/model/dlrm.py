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
from torch.nn.functional import linear

from dlrm_core.model.embeddings import EmbeddingTables
from dlrm_core.model.fused import FusedDlrm
from dlrm_core.ops.interaction import check_shape, dot_interaction
from dlrm_core.ops.layout import dot_width


class Dlrm(nn.Module):
    """Bottom MLP, embedding tables, interaction, top MLP; all on one device.

    The tables take no autograd gradient: a step asks for the gradient of the vectors that it gathered (:meth:`gather`) and
    updates those rows itself.

    Parameters
    ----------
    cardinalities : sequence of int
        Rows of each table.
    num_numerical : int
    embedding_dim : int
    bottom_mlp_sizes, top_mlp_sizes : sequence of int
        Layer widths; the bottom's last is `embedding_dim`, the top's last is 1.
    embedding_type : {'auto', 'multi_table', 'joint', 'joint_fused', 'joint_sparse'}
        See :class:`EmbeddingTables`; 'auto' is 'joint' here, whoever builds the model may know better.
    hash_indices : bool
        Take every id modulo the rows of its table.
    max_table_size : int, optional
        At most this many rows a table; needs `hash_indices`.
    interaction : {'auto', 'cuda_dot', 'dot', 'cat'}
        'auto' is 'dot', the torch reference, in :meth:`forward`.
    interaction_pad : {'multiple_of_8', 'one_column'}
    output_init : {'uniform', 'normal'}
        Last layer: PyTorch's default for Linear (June 2020) or the normal one of the other layers (April 2020).
    embedding_init_scale : float
        Factor on the documented bound sqrt(1 / rows).
    dropout : float
        Probability of zeroing an activation of the top MLP's hidden layers in training.
    seed : int
        Seed of the initialisation.
    compute_dtype : torch.dtype, optional
        Of the MLPs and the interaction in :meth:`forward`, by default the weights'. Weights, last layer and logits are
        float32 in any case, since a logit in bfloat16 would have 8 bits.

    Attributes
    ----------
    fused : FusedDlrm or None
        What computes :meth:`logits` and the gradients of a step, if not :meth:`forward` and autograd.

    Raises
    ------
    ValueError
        If an alternative is unknown or cannot run here, or the layer sizes do not fit together.
    """

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
        embedding_type: str = "auto",
        hash_indices: bool = False,
        max_table_size: int | None = None,
        interaction: str = "auto",
        interaction_pad: str = "multiple_of_8",
        output_init: str = "uniform",
        embedding_init_scale: float = 1.0,
        dropout: float = 0.0,
        seed: int = 0,
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check_choices(interaction=interaction, interaction_pad=interaction_pad, output_init=output_init)
        if bottom_mlp_sizes[-1] != embedding_dim or top_mlp_sizes[-1] != 1:
            raise ValueError(
                f"the MLPs end in {bottom_mlp_sizes[-1]} and {top_mlp_sizes[-1]}; embedding_dim {embedding_dim} and 1 are needed"
            )
        if max_table_size is not None and not hash_indices:
            raise ValueError(f"max_table_size {max_table_size} needs hash_indices: larger ids would have no row")
        generator = torch.Generator().manual_seed(seed)
        self.cardinalities = tuple(min(rows, max_table_size or rows) for rows in cardinalities)
        self.interaction = "dot" if interaction == "auto" else interaction
        self.interaction_pad = interaction_pad
        self.dropout = dropout
        self.compute_dtype = compute_dtype
        self.fused: FusedDlrm | None = None
        num_features = len(self.cardinalities) + 1
        if self.interaction == "dot":
            check_shape((0, num_features, embedding_dim))
        raw_width = embedding_dim + num_features * (num_features - 1) // 2
        width = (
            dot_width(num_features, embedding_dim, interaction_pad)
            if self.interaction == "dot"
            else num_features * embedding_dim
        )
        self.bottom = _layers(num_numerical, bottom_mlp_sizes, generator)
        self.top = _layers(width, top_mlp_sizes, generator)
        with torch.no_grad():
            if output_init == "uniform":
                _init_uniform(self.top[-1], generator)
            if self.interaction == "dot":
                first = self.top[0]
                assert isinstance(first, nn.Linear)
                first.weight[:, raw_width:] = 0.0  # the pad columns see zeros only; June 2020 zeroes the last one
        self.register_buffer("numerical_mean_N", None, persistent=False)
        self.register_buffer("numerical_deviation_N", None, persistent=False)
        self.embeddings = EmbeddingTables(
            self.cardinalities,
            embedding_dim,
            embedding_type="joint" if embedding_type == "auto" else embedding_type,
            hash_indices=hash_indices,
            init_scale=embedding_init_scale,
            generator=generator,
        )

    @property
    def table_VD(self) -> Tensor:
        """All tables as one tensor of shape (V, D): the storage itself, or a copy of 'multi_table' storage."""
        parts = self.embeddings.storage()
        return parts[0] if self.embeddings.embedding_type != "multi_table" else torch.cat(parts)

    def rows(self, ids_BT: Tensor) -> Tensor:
        """Rows of the tables' storage, int64 of shape (B, T), for ids of shape (B, T), T = F - 1."""
        return self.embeddings.rows(ids_BT)

    def gather(self, rows_BT: Tensor) -> Tensor:
        """Embedding vectors of shape (B, T, D)."""
        return self.embeddings.gather(rows_BT)

    def logits(self, numerical_BN: Tensor, ids_BT: Tensor) -> Tensor:
        """Logits, float32 of shape (B,), by whatever implementation the model was built with; no gradients."""
        if self.fused is not None:
            return self.fused.logits(numerical_BN, ids_BT)
        with torch.no_grad():
            return self(numerical_BN, self.gather(self.rows(ids_BT)))

    def forward(
        self, numerical_BN: Tensor, embeddings_BTD: Tensor, dropout_generator: torch.Generator | None = None
    ) -> Tensor:
        """Logits of shape (B,) from float32 numericals (B, N) and gathered embeddings (B, T, D): the definition."""
        last = self.top[-1]
        assert isinstance(last, nn.Linear)
        dtype = self.compute_dtype or last.weight.dtype
        x = self.normalized(numerical_BN).to(dtype)
        for layer in self.bottom:
            x = torch.relu(_linear(layer, x))
        x_BFD = torch.cat([x.unsqueeze(1), embeddings_BTD.to(dtype)], dim=1)
        z = dot_interaction(x_BFD, self.interaction_pad) if self.interaction == "dot" else x_BFD.flatten(1)
        for layer in self.top[:-1]:
            z = torch.relu(_linear(layer, z))
            if dropout_generator is not None and self.dropout:
                keep = torch.rand(z.shape, generator=dropout_generator) >= self.dropout
                z = z * keep / (1 - self.dropout)
        return last(z.to(last.weight.dtype)).squeeze(1)

    def normalized(self, numerical_BN: Tensor) -> Tensor:
        """The numericals as the bottom MLP sees them; see :meth:`standardize`."""
        if self.numerical_mean_N is None or self.numerical_deviation_N is None:
            return numerical_BN
        return (numerical_BN - self.numerical_mean_N) / self.numerical_deviation_N

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
        return self.embeddings.tables()


CHOICES = {
    "interaction": ("auto", "cuda_dot", "dot", "cat"),
    "interaction_pad": ("multiple_of_8", "one_column"),
    "output_init": ("uniform", "normal"),
}


def _check_choices(**chosen: str) -> None:
    for name, value in chosen.items():
        if value not in CHOICES[name]:
            raise ValueError(f"{name} is {value!r}; one of {', '.join(CHOICES[name])} is needed")
    if chosen["interaction"] == "cuda_dot":
        raise ValueError(
            "interaction is 'cuda_dot', the CUDA kernel, which cannot run on this device, a CPU; "
            "'auto', which picks what runs, or 'dot' is needed"
        )


def _linear(layer: nn.Module, x: Tensor) -> Tensor:
    """The layer in the dtype of `x`, its weights being rounded to it."""
    assert isinstance(layer, nn.Linear)
    return linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


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
