"""The compiled kernels against plain torch, in float32 and bfloat16, for any number of threads."""

import pytest
import torch
from torch import Tensor

from dlrm_core.ops import cpu
from tests.train.builders import torch_threads

SIZES = torch.tensor([5, 40, 1, 300])
FIRST, LAST = SIZES.cumsum(0) - SIZES, SIZES.cumsum(0) - 1
DTYPES = [torch.float32, torch.bfloat16]


def case(rows: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(int(SIZES.sum()), dim, generator=generator)
    # Squared: a few rows take most of the occurrences.
    return table, (torch.rand(rows, len(SIZES), generator=generator) ** 2 * SIZES).long()


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "dim"), [(0, 4), (1, 1), (7, 16), (50, 130)])
def test_lookup_is_indexing_and_rounding(rows, dim, dtype, threads):
    table, ids = case(rows, dim)
    x = torch.full((rows, len(SIZES) + 1, dim), 7.0, dtype=dtype)
    with torch_threads(threads):
        cpu.lookup_(table, ids, FIRST, LAST, x)
    assert torch.equal(x[:, 1:], table[ids + FIRST].to(dtype))
    assert (x[:, 0] == 7).all()


def test_rounding_is_to_even_and_keeps_what_is_no_number():
    special = [1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, 3.4e38, -3.4e38, float("inf"), -float("inf"), 1e-45, -0.0]
    table = torch.tensor([[*special, float("nan")]])
    bits = table.view(torch.int32)
    bits[0, -1] = 0x7FFFFFFF  # the carry of a plain rounding would make it -0
    x = torch.empty(1, 2, table.shape[1], dtype=torch.bfloat16)
    cpu.lookup_(table, torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1).long(), torch.zeros(1).long(), x)
    expected = table.to(torch.bfloat16)
    assert torch.equal(x[0, 1, :-1].view(torch.int16), expected[0, :-1].view(torch.int16))
    assert bool(x[0, 1, -1].isnan())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("column", "wrong"), [(0, -1), (0, 5), (3, 300), (2, 2**40)])
def test_ids_outside_their_table_are_refused(column, wrong, dtype):
    table, ids = case(9, 4)
    ids[4, column] = wrong
    with pytest.raises(IndexError, match="1 ids lie outside their tables"):
        cpu.lookup_(table, ids, FIRST, LAST, torch.empty(9, 5, 4, dtype=dtype))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_added_to_in_order_of_occurrence(dtype, threads):
    table, ids = case(60, 6)
    update = torch.randn(60, len(SIZES), 6, generator=torch.Generator().manual_seed(1)).to(dtype)
    expected, alpha = table.clone(), -0.5  # a power of two: the product is exact and the order decides every bit
    for b in range(60):
        for t in range(len(SIZES)):
            expected[ids[b, t] + FIRST[t]] += alpha * update[b, t].float()
    wrong = table.clone()
    wrong[(ids + FIRST).flatten()] += alpha * update.float().flatten(0, 1)
    with torch_threads(threads):
        cpu.add_rows_(table, ids, FIRST, cpu.balanced(SIZES), update, alpha)
    assert torch.equal(table, expected)
    assert not torch.equal(table, wrong)  # the classic mistake: only the last occurrence counts


def test_updates_that_lie_in_a_larger_tensor():
    table, ids = case(20, 6)
    whole = torch.randn(20, len(SIZES) + 1, 6, generator=torch.Generator().manual_seed(1))
    one, other = table.clone(), table.clone()
    cpu.add_rows_(one, ids, FIRST, cpu.balanced(SIZES), whole[:, 1:], 1.0)
    cpu.add_rows_(other, ids, FIRST, cpu.balanced(SIZES), whole[:, 1:].contiguous(), 1.0)
    assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (37, 33), (400, 8)])
def test_relu_and_its_gradient(shape, dtype):
    generator = torch.Generator().manual_seed(0)
    x, bias = torch.randn(*shape, generator=generator).to(dtype), torch.randn(shape[1], generator=generator)
    expected = torch.relu(x.float() + bias).to(dtype)
    cpu.bias_relu_(x, bias)
    assert torch.equal(x, expected)
    gradient = torch.randn(*shape, generator=generator).to(dtype)
    masked = torch.where(x > 0, gradient, torch.zeros_like(gradient))
    total = cpu.relu_backward_(gradient, x)
    assert torch.equal(gradient, masked)
    exact = masked.double().sum(0)
    size = masked.double().abs().sum(0)
    assert ((total.double() - exact).abs() <= shape[0] * torch.finfo(torch.float32).eps * size).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_keeps_what_is_no_number(dtype):
    x = torch.tensor([[float("nan"), float("inf"), -float("inf"), -1.0]], dtype=dtype)
    cpu.bias_relu_(x, torch.zeros(4))
    assert bool(x[0, 0].isnan())
    assert x[0, 1:].tolist() == [float("inf"), 0.0, 0.0]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_a_bit(threads):
    generator = torch.Generator().manual_seed(0)
    x = torch.relu(torch.randn(1001, 77, generator=generator))
    gradient = torch.randn(1001, 77, generator=generator)
    with torch_threads(1):
        expected = cpu.relu_backward_(gradient.clone(), x)
    with torch_threads(threads):
        assert torch.equal(cpu.relu_backward_(gradient, x), expected)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_each_run_of_tables_has_its_share_of_the_large_ones(threads):
    sizes = torch.tensor([3, 1000, 5, 900, 7, 800, 2, 700])
    with torch_threads(threads):
        order = cpu.balanced(sizes)
    assert sorted(order.tolist()) == list(range(8))
    if threads == 2:
        assert [int(sizes[half].sum()) for half in (order[:4], order[4:])] == [1000 + 800 + 7 + 3, 900 + 700 + 5 + 2]


@pytest.mark.parametrize(
    "call",
    [
        lambda: cpu.lookup_(torch.zeros(4, 2).half(), *[torch.zeros(1, 1).long()] * 3, torch.zeros(1, 2, 2)),
        lambda: cpu.lookup_(torch.zeros(4, 2), *[torch.zeros(1, 1).long()] * 3, torch.zeros(1, 3, 2)),
        lambda: cpu.pack_pairs(torch.zeros(1, 2), torch.zeros(1, 3, 3).half(), torch.zeros(1, 8)),
        lambda: cpu.bias_relu_(torch.zeros(3, 4), torch.zeros(3)),
        lambda: cpu.relu_backward_(torch.zeros(3, 4), torch.zeros(3, 4).bfloat16()),
    ],
)
def test_what_does_not_fit_is_refused(call):
    with pytest.raises(ValueError, match="is needed"):
        call()


def test_without_numba_the_error_names_the_install_command(monkeypatch):
    cpu.kernels.cache_clear()
    monkeypatch.setattr(cpu, "available", lambda: False)
    with pytest.raises(ImportError, match="pip install numba"):
        cpu.kernels()
    cpu.kernels.cache_clear()


def test_pairs_that_do_not_fit_are_refused_before_anything_is_written():
    """The kernels look at no bound: what they would write beyond the end is somebody else's."""
    gram, z = torch.zeros(2, 4, 4), torch.zeros(2, 3 + 6)
    with pytest.raises(ValueError, match="a batch of 2"):
        cpu.pack_pairs(torch.zeros(3, 3), gram, z)
    with pytest.raises(ValueError, match=r"shape \(B, 9 or more\)"):
        cpu.pack_pairs(torch.zeros(2, 3), gram, z[:, :8].contiguous())
    with pytest.raises(ValueError, match=r"shape \(B, F, F\)"):
        cpu.pack_pairs(torch.zeros(2, 3), torch.zeros(2, 4, 5), z)
    with pytest.raises(ValueError, match=r"shape \(B, 10 or more\)"):
        cpu.unpack_pairs(z, gram, 4)
    with pytest.raises(ValueError, match="a batch of 2"):
        cpu.unpack_pairs(torch.zeros(1, 9), gram, 3)
