"""Rows of tables against plain Python loops, and the same bits for any number of threads."""

import pytest
import torch
from torch import Tensor

from dlrm_core.ops.rows import add_rows_, gather_rows, sum_by_row
from tests.train.builders import torch_threads

NUM_ROWS, NUM_UPDATES, DIM = 997, 50_000, 7


def case(num_rows: int, shape: tuple[int, int], dim: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(num_rows, dim, generator=generator)
    # Squared: a few rows take most of the updates.
    rows = (torch.rand(shape, generator=generator) ** 2 * num_rows).long()
    return table, rows, torch.randn(*shape, dim, generator=generator)


def looped_add(table: Tensor, rows: Tensor, update: Tensor, alpha: float) -> Tensor:
    """One occurrence after the other."""
    out = table.clone()
    for row, change in zip(rows.reshape(-1).tolist(), update.reshape(-1, table.shape[1]), strict=True):
        out[row] += alpha * change
    return out


def overwritten(table: Tensor, rows: Tensor, update: Tensor, alpha: float) -> Tensor:
    """The classic mistake: only the last occurrence counts."""
    out = table.clone()
    out[rows.reshape(-1)] += alpha * update.reshape(-1, table.shape[1])
    return out


def test_gather_is_indexing():
    table, rows, _ = case(11, (6, 3), 4)
    assert torch.equal(gather_rows(table, rows), table[rows])
    assert gather_rows(table, rows[:0]).shape == (0, 3, 4)


@pytest.mark.parametrize("seed", range(3))
def test_duplicates_are_added_in_order_of_occurrence(seed):
    table, rows, update = case(5, (40, 3), 4, seed)
    alpha = -0.5  # a power of two, so that the product is exact and the order of additions decides every bit
    expected = looped_add(table, rows, update, alpha)
    assert not torch.equal(expected, overwritten(table, rows, update, alpha))
    assert not torch.equal(expected, looped_add(table, rows.flip(0), update.flip(0), alpha))
    add_rows_(table, rows, update, alpha)
    assert torch.equal(table, expected)


def test_any_factor_to_twice_the_error_of_the_loop():
    table, rows, update = case(5, (200, 3), 4)
    exact = looped_add(table.double(), rows, update.double(), -0.013)
    loop_error = (looped_add(table, rows, update, -0.013).double() - exact).abs().max()
    add_rows_(table, rows, update, -0.013)
    assert (table.double() - exact).abs().max() <= 2 * loop_error


def test_only_named_rows_change():
    table, _, update = case(9, (2, 2), 3)
    kept = table.clone()
    add_rows_(table, torch.tensor([[1, 4], [4, 7]]), update, 1.0)
    assert (table != kept).any(1).nonzero().flatten().tolist() == [1, 4, 7]


def test_no_updates():
    table, rows, update = case(9, (0, 2), 3)
    kept = table.clone()
    add_rows_(table, rows, update, 1.0)
    unique, sums = sum_by_row(rows, update)
    assert torch.equal(table, kept)
    assert (unique.shape, sums.shape) == ((0,), (0, 3))


@pytest.mark.parametrize("seed", range(3))
def test_sum_by_row_is_the_loop(seed):
    _, rows, update = case(6, (30, 2), 4, seed)
    unique, sums = sum_by_row(rows, update)
    assert unique.tolist() == sorted(set(rows.flatten().tolist()))
    expected = looped_add(torch.zeros(6, 4), rows, update, 1.0)
    assert torch.equal(sums, expected[unique])


@pytest.mark.parametrize("alpha", [1.0, -0.37])
@pytest.mark.parametrize("dim", [1, DIM, 64])
def test_threads_do_not_change_a_bit(dim, alpha):
    table, rows, update = case(NUM_ROWS, (NUM_UPDATES // 2, 2), dim)
    tables, sums = [], []
    for threads in (1, 2, 4, 4):
        with torch_threads(threads):
            changed = table.clone()
            add_rows_(changed, rows, update, alpha)
            tables.append(changed)
            sums.append(sum_by_row(rows, update)[1])
    assert all(torch.equal(tables[0], other) for other in tables)
    assert all(torch.equal(sums[0], other) for other in sums)
    exact = torch.zeros(NUM_ROWS, dim, dtype=torch.float64).index_add_(0, rows.flatten(), update.double().flatten(0, 1))
    # A sum of n terms in sequence errs by at most n eps times the sum of magnitudes.
    size = torch.zeros_like(exact).index_add_(0, rows.flatten(), update.double().abs().flatten(0, 1))
    most = int(rows.flatten().bincount().max())
    touched = rows.unique()
    assert ((sums[0].double() - exact[touched]).abs() <= most * torch.finfo(torch.float32).eps * size[touched]).all()
