"""Layers and parameters of a DLRM, counted from its recorded configuration and the description of its data."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from dlrm_core.ops.layout import dot_width
from dlrm_core.schema.config import ModelConfig, TrainConfig
from dlrm_core.schema.dataset import DatasetSpec
from dlrm_core.schema.errors import KitError
from reports.cards.card import Block, Cell, Grid, Words


@dataclass(frozen=True)
class Architecture:
    """Sizes of a DLRM.

    Attributes
    ----------
    bottom, top : tuple of int
        Inputs of the first layer, then outputs of each layer.
    tables : dict of str to int
        Rows of each embedding table, by feature.
    dim : int
        Columns of every table.
    interaction : str
        How the top MLP's input is made, in words.
    """

    bottom: tuple[int, ...]
    top: tuple[int, ...]
    tables: dict[str, int]
    dim: int
    interaction: str

    @property
    def bottom_parameters(self) -> int:
        """Weights and biases of the bottom MLP."""
        return _mlp_parameters(self.bottom)

    @property
    def top_parameters(self) -> int:
        """Weights and biases of the top MLP, those of zero columns included."""
        return _mlp_parameters(self.top)

    @property
    def table_parameters(self) -> int:
        """Elements of all embedding tables."""
        return sum(self.tables.values()) * self.dim

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.bottom_parameters + self.table_parameters + self.top_parameters


def architecture(train: dict[str, Any], spec: DatasetSpec) -> Architecture:
    """The sizes of the model that was trained with the `train` part of a recorded configuration.

    Raises
    ------
    KitError
        If the configuration does not fit the schema, as one of another version of the kit.
    """
    model = TrainConfig.from_dict(train, source="the recorded configuration").model
    tables = {name: min(rows, model.max_table_size or rows) for name, rows in spec.cardinalities.items()}
    width, words = _interaction(model, len(tables) + 1)
    return Architecture(
        bottom=(len(spec.numerical), *model.bottom_mlp_sizes),
        top=(width, *model.top_mlp_sizes),
        tables=tables,
        dim=model.embedding_dim,
        interaction=words,
    )


def architecture_blocks(train: dict[str, Any], spec: DatasetSpec | None) -> list[Block]:
    """The sizes as tables of a card, or why they cannot be told."""
    if spec is None or not train:
        return [
            Words("Layers and parameters cannot be counted: dataset.json or the recorded configuration is missing.")
        ]
    try:
        made = architecture(train, spec)
    except KitError as error:
        return [Words(f"Layers and parameters cannot be counted with this version of the kit: {error}.")]
    tables = f"{len(made.tables)} tables, {sum(made.tables.values()):,} rows of {made.dim}"
    rows: list[Sequence[Cell]] = [
        ["bottom MLP", " → ".join(map(str, made.bottom)), f"{made.bottom_parameters:,}"],
        ["embedding tables", tables, f"{made.table_parameters:,}"],
        ["interaction", made.interaction, "0"],
        ["top MLP", " → ".join(map(str, made.top)), f"{made.top_parameters:,}"],
        ["all", "", f"{made.parameters:,}"],
    ]
    by_table = [[name, f"{size:,}", f"{size * made.dim:,}"] for name, size in made.tables.items()]
    return [
        Grid(["part", "sizes", "parameters"], rows, "Architecture"),
        Grid(["feature", "rows", "parameters"], by_table, "Embedding tables"),
    ]


def _interaction(model: ModelConfig, num_vectors: int) -> tuple[int, str]:
    """Columns of the interaction's output; `dot` is that of Naumov et al., arXiv:1906.00091, with the kit's zero columns."""
    dim = model.embedding_dim
    if model.interaction == "cat":
        return num_vectors * dim, f"cat: {num_vectors} vectors of {dim}"
    pairs = num_vectors * (num_vectors - 1) // 2
    width = dot_width(num_vectors, dim, model.interaction_pad)
    words = f"dot: {dim} outputs of the bottom MLP, {pairs} products of pairs, zero columns: {width - dim - pairs}"
    return width, words


def _mlp_parameters(sizes: Sequence[int]) -> int:
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))
