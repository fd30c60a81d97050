"""Update rules against torch's own, over several steps with duplicate rows."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlrm_core.model.embeddings import EmbeddingTables
from dlrm_core.schema.config import MlpOptimizerConfig, TableOptimizerConfig
from dlrm_core.train.optimizers import TableOptimizer, build_mlp_optimizer
from tests.train.builders import rms

NAMES = ["sgd", "adagrad", "adam"]
SIZES, DIM, BATCH, STEPS = (4, 9), 3, 12, 8
RATES = [0.3, 0.1, 0.02, 0.2, 0.05, 0.3, 0.01, 0.1]  # the schedule changes it at every step
SPARSE = {"sgd": torch.optim.SGD, "adagrad": torch.optim.Adagrad, "adam": torch.optim.SparseAdam}


def stored(table: Tensor, embedding_type: str = "joint", sizes: tuple[int, ...] = SIZES) -> EmbeddingTables:
    """The table, split into `sizes`, in a storage of that type; joint types share its memory."""
    generator = torch.Generator()
    embeddings = EmbeddingTables(
        sizes,
        table.shape[1],
        embedding_type=embedding_type,
        hash_indices=False,
        init_scale=1.0,
        generator=generator,
    )
    parts = list(table.split(list(sizes))) if embedding_type == "multi_table" else [table]
    for number, part in enumerate(parts):
        setattr(embeddings, f"weight_{number}", part)
    return embeddings


def case(dtype: torch.dtype, seed: int) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(sum(SIZES), DIM, generator=generator, dtype=torch.float64)
    steps = []
    for _ in range(STEPS):
        # Squared: duplicates in every batch, and rows that most batches do not touch.
        ids = torch.stack([(torch.rand(BATCH, generator=generator) ** 3 * n).long() for n in SIZES], dim=1)
        steps.append((ids, torch.randn(BATCH, len(SIZES), DIM, generator=generator, dtype=torch.float64).to(dtype)))
    return table.to(dtype), steps


def ours(name: str, dtype: torch.dtype, seed: int, embedding_type: str = "joint", **changes: Any) -> Tensor:
    table, steps = case(dtype, seed)
    optimizer = TableOptimizer(TableOptimizerConfig(name=name, lr=99.0, **changes), stored(table, embedding_type))
    for (ids, gradient), lr in zip(steps, RATES, strict=True):
        optimizer.step(ids, gradient, lr)
    return table


def torchs(name: str, dtype: torch.dtype, seed: int) -> Tensor:
    """One sparse nn.Embedding a table, the gradient arriving through autograd."""
    table, steps = case(dtype, seed)
    embeddings = [nn.Embedding.from_pretrained(t.clone(), freeze=False, sparse=True) for t in table.split(SIZES)]
    optimizer = SPARSE[name]([e.weight for e in embeddings], lr=99.0)
    for (ids, gradient), lr in zip(steps, RATES, strict=True):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        out = torch.stack([e(ids[:, t]) for t, e in enumerate(embeddings)], dim=1)
        (out * gradient).sum().backward()
        optimizer.step()
    return torch.cat([e.weight.detach() for e in embeddings])


def looped(name: str, dtype: torch.dtype, seed: int, decay: float) -> Tensor:
    """Each rule by its formula, row by row; weight decay for each occurrence of a row."""
    table, steps = case(dtype, seed)
    squares, means = torch.zeros_like(table), torch.zeros_like(table)
    for t, ((ids, gradient), lr) in enumerate(zip(steps, RATES, strict=True), 1):
        rows = (ids + torch.tensor([0, SIZES[0]])).flatten().tolist()
        before, sums = table.clone(), {}
        for row, g in zip(rows, gradient.flatten(0, 1), strict=True):
            sums[row] = sums.get(row, 0) + g + decay * before[row]
        for row, g in sums.items():
            if name == "sgd":
                table[row] -= lr * g
            elif name == "adagrad":
                squares[row] += g**2
                table[row] -= lr * g / (squares[row].sqrt() + 1e-10)
            else:
                means[row] = 0.9 * means[row] + 0.1 * g
                squares[row] = 0.999 * squares[row] + 0.001 * g**2
                # SparseAdam corrects the step, not the moments: epsilon stands beside the uncorrected root.
                size = lr * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t)
                table[row] -= size * means[row] / (squares[row].sqrt() + 1e-8)
    return table


@pytest.mark.parametrize("embedding_type", ["multi_table", "joint", "joint_sparse"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NAMES)
def test_tables_as_torchs_sparse_optimisers(name, seed, embedding_type):
    exact = torchs(name, torch.float64, seed)
    torch.testing.assert_close(ours(name, torch.float64, seed, embedding_type), exact, rtol=1e-12, atol=1e-12)
    assert rms(ours(name, torch.float32, seed) - exact) <= 2 * rms(torchs(name, torch.float32, seed) - exact)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", NAMES)
def test_tables_as_the_formulas(name, decay):
    expected = looped(name, torch.float64, 0, decay)
    torch.testing.assert_close(ours(name, torch.float64, 0, weight_decay=decay), expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(
            ours(name, torch.float64, 0, weight_decay=decay + 1e-6), expected, rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("name", ["adagrad", "adam"])
def test_duplicates_are_summed_before_the_square(name):
    """Adding up the squares of the occurrences instead would be another rule."""
    table = torch.zeros(2, 1)
    optimizer = TableOptimizer(TableOptimizerConfig(name=name, lr=1.0), stored(table, sizes=(2,)))
    optimizer.step(torch.tensor([[0], [0]]), torch.tensor([[[1.0]], [[-1.0]]]), 1.0)
    assert table.tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("name", NAMES)
def test_untouched_rows_keep_their_bits(name):
    table, _ = case(torch.float32, 0)
    kept = table.clone()
    optimizer = TableOptimizer(TableOptimizerConfig(name=name, lr=1.0, weight_decay=0.1), stored(table))
    for _ in range(2):
        optimizer.step(torch.tensor([[1, 5 - SIZES[0]]]), torch.ones(1, 2, DIM), 0.1)
    assert (table != kept).any(1).nonzero().flatten().tolist() == [1, 5]


@pytest.mark.parametrize("name", NAMES)
def test_dense_decay_shrinks_every_row_before_the_update(name):
    table, _ = case(torch.float64, 0)
    plain, kept = table.clone(), table.clone()
    rows, gradient = torch.tensor([[1, 5 - SIZES[0]]]), torch.ones(1, 2, DIM, dtype=torch.float64)
    TableOptimizer(TableOptimizerConfig(name=name, lr=1.0, dense_decay=0.5), stored(table)).step(rows, gradient, 0.1)
    TableOptimizer(TableOptimizerConfig(name=name, lr=1.0), stored(plain)).step(rows, gradient, 0.1)
    torch.testing.assert_close(table, plain - 0.1 * 0.5 * kept, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", NAMES)
def test_mlps_as_the_formulas(name, decay):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    gradients = torch.randn(STEPS, 5, 4, generator=generator, dtype=torch.float64)
    parameter = nn.Parameter(start.clone())
    optimizer = build_mlp_optimizer(MlpOptimizerConfig(name=name, lr=99.0, weight_decay=decay), [parameter])
    weight, mean, square = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for t, (raw, lr) in enumerate(zip(gradients, RATES, strict=True), 1):
        for group in optimizer.param_groups:
            group["lr"] = lr
        parameter.grad = raw.clone()
        optimizer.step()
        gradient = raw + decay * weight
        if name == "sgd":
            weight = weight - lr * gradient
        elif name == "adagrad":
            square = square + gradient**2
            weight = weight - lr * gradient / (square.sqrt() + 1e-10)
        else:
            mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
            weight = weight - lr * (mean / (1 - 0.9**t)) / ((square / (1 - 0.999**t)).sqrt() + 1e-8)
    torch.testing.assert_close(parameter.detach(), weight, rtol=1e-12, atol=1e-12)


def test_decoupled_decay_shrinks_weights_but_not_biases():
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(5, 4, generator=generator, dtype=torch.float64), torch.ones(5, dtype=torch.float64)]
    gradients = [torch.randn(5, 4, generator=generator, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)]
    found = []
    for decay in (0.5, 0.0):
        parameters = [nn.Parameter(tensor.clone()) for tensor in start]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        build_mlp_optimizer(MlpOptimizerConfig(name="adam", lr=0.1, decoupled_decay=decay), parameters).step()
        found.append([parameter.detach() for parameter in parameters])
    torch.testing.assert_close(found[0][0], found[1][0] - 0.1 * 0.5 * start[0], rtol=1e-12, atol=1e-12)
    assert found[0][1].equal(found[1][1])


@pytest.mark.parametrize("changes", [{"name": "sgd"}, {"name": "adam", "weight_decay": 0.1}])
def test_decoupled_decay_belongs_to_adam_alone(changes):
    with pytest.raises(ValueError, match="decoupled_decay needs name adam"):
        MlpOptimizerConfig(lr=0.1, decoupled_decay=0.5, **changes)
