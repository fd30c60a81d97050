"""What every side is given: the layer sizes, the same initial weights, the same batches. numpy only.

Each side makes them anew from the seed in its own process, so nothing but the name of the workload travels.

Legend: B rows of a batch, N numerical features, T categorical features (tables), D embedding dimension, V rows of a table.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlrm_core.zipf import ZipfIds

NUM_NUMERICAL = 13
LEARNING_RATE = 0.1
ZIPF_EXPONENT = 1.1
LARGEST_TABLE = 100_000
CLICK_RATE = 0.25
# Distinct values of C1 to C26 in Criteo's Kaggle data, from 1460 on in "table size array" of Oneflow-Inc/models ee21320b,
# RecommenderSystems/dcn/README.md (all rows, no frequency limit); capped, so that tables of 128 columns fit into memory.
KAGGLE_CARDINALITIES = (
    *(1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194),
    *(27, 14992, 5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572),
)
CARDINALITIES = tuple(min(count, LARGEST_TABLE) for count in KAGGLE_CARDINALITIES)


@dataclass(frozen=True)
class Workload:
    """A model's sizes, a batch size, and how often a step is timed.

    Parameters
    ----------
    distinct_batches : int
        Batches that are cycled through.
    rounds, steps : int
        Every round each side runs `steps` steps; with `drop_first` the first of them is not counted.
    check_steps : int
        Steps before the first round: they warm up, and their losses are compared between the sides.
    needed_of_limit : float
        Share of the stock fp32 matrix products' speed that plain PyTorch and TorchRec must reach, else the run is void.
    """

    name: str
    embedding_dim: int
    bottom_mlp_sizes: tuple[int, ...]
    top_mlp_sizes: tuple[int, ...]
    batch_size: int
    distinct_batches: int
    rounds: int
    steps: int
    check_steps: int
    needed_of_limit: float
    drop_first: bool = True
    seed: int = 2020

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for another process or a record."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Workload":
        """The inverse of :meth:`to_dict`, also after a way through JSON."""
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**plain)

    def layers(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of every linear layer, the bottom's first, without any padding."""
        features = len(CARDINALITIES) + 1
        interaction = self.embedding_dim + features * (features - 1) // 2
        bottom = [NUM_NUMERICAL, *self.bottom_mlp_sizes]
        top = [interaction, *self.top_mlp_sizes]
        return [*pairwise(bottom), *pairwise(top)]


_S = Workload("S", 16, (512, 256, 64, 16), (512, 256, 1), 2048, 24, 24, 6, 4, 0.50)
_N = Workload("N", 128, (512, 256, 128), (1024, 1024, 512, 256, 1), 4096, 8, 15, 5, 2, 0.45)
_N32 = Workload("N32", 128, (512, 256, 128), (1024, 1024, 512, 256, 1), 32768, 2, 9, 3, 2, 0.45, drop_first=False)
CONFIGS = {workload.name: workload for workload in (_S, _N, _N32)}


@dataclass(frozen=True)
class Arrays:
    """One batch: numerical_BN float32, ids_BT int64, label_B float32 (0 or 1)."""

    numerical_BN: NDArray[np.float32]
    ids_BT: NDArray[np.int64]
    label_B: NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """Initial weights: (weight, bias) a layer, the pairs of the interaction in the order (1, 0), (2, 0), (2, 1), ..."""

    bottom: list[tuple[NDArray[np.float32], NDArray[np.float32]]]
    top: list[tuple[NDArray[np.float32], NDArray[np.float32]]]
    tables: list[NDArray[np.float32]]


def batches(workload: Workload, batch_size: int, count: int) -> Iterator[Arrays]:
    """`count` batches, the same in every process."""
    generator = np.random.default_rng([workload.seed, 1, batch_size])
    shuffled = np.random.default_rng([workload.seed, 2])
    columns = [ZipfIds(shuffled.permutation(rows), ZIPF_EXPONENT) for rows in CARDINALITIES]
    for _ in range(count):
        numerical_BN = np.abs(generator.standard_normal((batch_size, NUM_NUMERICAL), dtype=np.float32))
        ids_BT = np.stack([column.draw(generator, batch_size) for column in columns], axis=1)
        label_B = (generator.random(batch_size) < CLICK_RATE).astype(np.float32)
        yield Arrays(numerical_BN, ids_BT, label_B)


def initial_weights(workload: Workload) -> Weights:
    """Normal weights and biases, the last layer's too, and uniform tables, with the deviations and bounds of June 2020.

    Those stand in its ``nn/mlps.py:69-73`` and ``nn/parts.py:61-69``.
    """
    generator = np.random.default_rng([workload.seed, 3])
    layers = [_layer(generator, inputs, outputs) for inputs, outputs in workload.layers()]
    tables = [_table(generator, rows, workload.embedding_dim) for rows in CARDINALITIES]
    bottom = len(workload.bottom_mlp_sizes)
    return Weights(layers[:bottom], layers[bottom:], tables)


def _layer(
    generator: np.random.Generator, inputs: int, outputs: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    weight = generator.standard_normal((outputs, inputs), dtype=np.float32) * np.float32(
        math.sqrt(2 / (inputs + outputs))
    )
    return weight, generator.standard_normal(outputs, dtype=np.float32) * np.float32(math.sqrt(1 / outputs))


def _table(generator: np.random.Generator, rows: int, dim: int) -> NDArray[np.float32]:
    bound = np.float32(math.sqrt(1 / rows))
    return (2 * generator.random((rows, dim), dtype=np.float32) - 1) * bound


def upper_pair_columns(num_features: int) -> NDArray[np.int64]:
    """Where each pair of the order (0, 1), (0, 2), ..., (1, 2), ... stands in the order (1, 0), (2, 0), (2, 1), ...

    >>> upper_pair_columns(4)
    array([0, 1, 3, 2, 4, 5])
    """
    low, high = np.triu_indices(num_features, 1)
    return high * (high - 1) // 2 + low


def multiply_adds(layers: Sequence[tuple[int, int]]) -> int:
    """Multiply-adds of one row's forward pass.

    >>> multiply_adds([(13, 512), (512, 1)])
    7168
    """
    return sum(inputs * outputs for inputs, outputs in layers)
