"""Dot interaction: the layout by hand, and a slow twin that any implementation is held against."""

import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dlrm_core.ops.interaction import MOST_DIM, MOST_FEATURES, dot_interaction, dot_interaction_op
from dlrm_core.ops.layout import dot_width, pad_width

SHAPES = [(5, 2, 4), (3, 4, 32), (7, 5, 3), (4, 9, 64), (2, 27, 16), (2, 32, 8), (3, 27, 128)]
PADS = ["multiple_of_8", "one_column"]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def looped(x_BFD: Tensor, pad: str) -> Tensor:
    """The definition, pair by pair."""
    columns = [x_BFD[:, 0, d] for d in range(x_BFD.shape[2])]
    for i in range(x_BFD.shape[1]):
        for j in range(i):
            columns.append((x_BFD[:, i].unsqueeze(1) @ x_BFD[:, j].unsqueeze(2)).reshape(-1))
    zeros = 1 if pad == "one_column" else math.ceil(len(columns) / 8) * 8 - len(columns)
    columns += [torch.zeros_like(columns[0])] * zeros
    return torch.stack(columns, dim=1)


def check(
    implementation: Callable[[Tensor, str], Tensor],
    shape: tuple[int, int, int],
    pad: str,
    low: torch.dtype = torch.float32,
) -> None:
    """Values and gradients: error against float64 at most twice that of the loop in the same dtype."""
    x, upstream = random(*shape).to(low), random(shape[0], dot_width(*shape[1:], pad), seed=1).to(low)
    results = {}
    for name, function, dtype in (
        ("exact", looped, torch.float64),
        ("loop", looped, low),
        ("tested", implementation, low),
    ):
        leaf = x.to(dtype, copy=True).requires_grad_()
        out = function(leaf, pad)
        assert out.shape == upstream.shape
        (gradient,) = torch.autograd.grad(out, leaf, upstream.to(dtype))
        results[name] = (out.detach().double(), gradient.double())
    for exact, loop, tested in zip(results["exact"], results["loop"], results["tested"], strict=True):
        # Below a rounding of the largest value the loop may be exact by luck (D = 3: a handful of sums).
        floor = torch.finfo(low).eps * exact.abs().max()
        assert (tested - exact).abs().max() <= 2 * (loop - exact).abs().max() + floor
    width = shape[2] + shape[1] * (shape[1] - 1) // 2
    assert torch.equal(results["tested"][0][:, width:], torch.zeros(shape[0], upstream.shape[1] - width).double())


def test_three_vectors_by_hand():
    x = torch.tensor([[[1.0, 2.0], [3.0, 5.0], [7.0, 11.0]]])
    # x0; x1.x0 = 3 + 10; x2.x0 = 7 + 22; x2.x1 = 21 + 55; pad
    assert dot_interaction(x).tolist() == [[1, 2, 13, 29, 76, 0, 0, 0]]
    assert dot_interaction(x, "one_column").tolist() == [[1, 2, 13, 29, 76, 0]]


def test_pair_stands_at_its_place():
    count, dim = 6, 2
    for i in range(count):
        for j in range(i):
            x = torch.zeros(1, count, dim)
            x[0, i, 1] = x[0, j, 1] = 1.0
            out = dot_interaction(x)[0]
            out[:dim] = 0.0
            assert out.nonzero().flatten().tolist() == [dim + i * (i - 1) // 2 + j]


@pytest.mark.parametrize("pad", PADS)
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_as_the_loop(shape, pad):
    check(dot_interaction, shape, pad)


def _upper(x: Tensor, pad: str) -> Tensor:
    row, column = torch.triu_indices(x.shape[1], x.shape[1], offset=1)
    return torch.cat([x[:, 0], torch.bmm(x, x.mT)[:, row, column], _zeros(x, pad)], dim=1)


def _column_major(x: Tensor, pad: str) -> Tensor:
    pairs = [(i, j) for j in range(x.shape[1]) for i in range(j + 1, x.shape[1])]
    gram = torch.bmm(x, x.mT)
    return torch.cat([x[:, 0], torch.stack([gram[:, i, j] for i, j in pairs], 1), _zeros(x, pad)], dim=1)


def _zeros(x: Tensor, pad: str) -> Tensor:
    raw = x.shape[2] + x.shape[1] * (x.shape[1] - 1) // 2
    return x.new_zeros(len(x), dot_width(*x.shape[1:], pad) - raw)


WRONG: dict[str, Callable[[Tensor, str], Tensor]] = {
    "upper triangle, row by row": _upper,
    "lower triangle, column by column": _column_major,
    "without pad": lambda x, pad: dot_interaction(x, pad)[:, : x.shape[2] + x.shape[1] * (x.shape[1] - 1) // 2],
    "pad in front": lambda x, pad: dot_interaction(x, pad).roll(1, 1),
    "pad of ones": lambda x, pad: torch.cat([dot_interaction(x, pad)[:, :-1], x.new_ones(len(x), 1)], dim=1),
    "last vector first": lambda x, pad: torch.cat([x[:, -1], dot_interaction(x, pad)[:, x.shape[2] :]], dim=1),
    "first vector without gradient": lambda x, pad: torch.cat(
        [x[:, 0].detach(), dot_interaction(x, pad)[:, x.shape[2] :]], dim=1
    ),
    "gradient to the lower one of each pair only": lambda x, pad: torch.cat(
        [x[:, 0], (dot_interaction(x, pad) + dot_interaction(x.detach(), pad))[:, x.shape[2] :] / 2], dim=1
    ),
    "half precision inside": lambda x, pad: dot_interaction(x.half(), pad).float(),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("pad", PADS)
def test_wrong_implementations_are_refused(name, pad):
    shape = (3, 4, 5)  # raw width 11: both pad rules give pad columns
    check(dot_interaction, shape, pad)
    with pytest.raises(AssertionError):
        check(WRONG[name], shape, pad)


@pytest.mark.parametrize("pad", PADS)
def test_gradcheck(pad):
    x = random(2, 4, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: dot_interaction(t, pad), (x,))
    assert torch.autograd.gradgradcheck(lambda t: dot_interaction(t, pad), (x,))


def test_gradient_formula():
    """dX = G X with G symmetric and zero on its diagonal; dm = the first D entries; the pad's are dropped."""
    batch, count, dim = 3, 5, 4
    x = random(batch, count, dim, dtype=torch.float64).requires_grad_()
    upstream = random(batch, dot_width(count, dim, "multiple_of_8"), seed=2, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(dot_interaction(x), x, upstream)
    expected = torch.zeros_like(gradient)
    for b in range(batch):
        for i in range(count):
            for j in range(i):
                weight = upstream[b, dim + i * (i - 1) // 2 + j]
                expected[b, i] += weight * x.detach()[b, j]
                expected[b, j] += weight * x.detach()[b, i]
        expected[b, 0] += upstream[b, :dim]
    assert torch.allclose(gradient, expected, rtol=1e-13, atol=1e-13)


def test_widths():
    assert dot_width(27, 128, "multiple_of_8") == dot_width(27, 128, "one_column") == 480
    for raw in range(1, 40):
        assert (raw + pad_width(raw, "multiple_of_8")) % 8 == 0
        assert 0 <= pad_width(raw, "multiple_of_8") < 8
        assert pad_width(raw, "one_column") == 1
    # 5 + 3 pairs = 8 columns: nothing to add at HEAD, one in June 2020
    assert (dot_width(3, 5, "multiple_of_8"), dot_width(3, 5, "one_column")) == (8, 9)


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("pad", PADS)
def test_small_batches(batch, pad):
    x = random(batch, 4, 3).requires_grad_()
    out = dot_interaction(x, pad)
    assert out.shape == (batch, dot_width(4, 3, pad))
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape


def test_one_vector_has_no_pairs():
    x = random(3, 1, 8)
    assert torch.equal(dot_interaction(x), x[:, 0])


def test_strided_input_and_untouched_input():
    x = random(4, 6, 10)[:, ::2, ::2]
    kept = x.clone()
    assert torch.equal(dot_interaction(x), dot_interaction(x.contiguous()))
    assert torch.equal(x, kept)


@pytest.mark.parametrize("shape", [(4,), (4, 3), (2, 3, 4, 5), (4, 0, 3)])
def test_bad_shapes_are_refused_with_the_shape(shape):
    with pytest.raises(ValueError, match=str(tuple(shape)).replace("(", r"\(").replace(")", r"\)")):
        dot_interaction(torch.zeros(shape))


@pytest.mark.parametrize(
    "call", [lambda pad: dot_interaction(torch.zeros(2, 3, 4), pad), lambda pad: pad_width(7, pad)]
)
def test_unknown_pad_is_refused(call):
    with pytest.raises(ValueError, match="none"):
        call("none")


# The op


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("pad", PADS)
@pytest.mark.parametrize("shape", [*SHAPES, (1, 27, 16), (2, MOST_FEATURES, 5), (2, 3, MOST_DIM), (3, 1, 8)])
def test_op_as_the_loop(shape, pad, dtype):
    check(dot_interaction_op, shape, pad, dtype)


@pytest.mark.parametrize("pad", PADS)
@pytest.mark.parametrize("shape", [(0, 4, 3), (1, 1, 1), (2, 4, 3), (3, 9, 5)])
def test_op_is_registered_as_torch_wants_it(shape, pad):
    x = random(*shape, dtype=torch.float64).requires_grad_()
    torch.library.opcheck(dot_interaction_op, (x, pad))
    torch.library.opcheck(
        torch.ops.dlrm.dot_interaction_backward.default, (dot_interaction_op(x, pad).detach(), x.detach())
    )
    if shape[0]:
        assert torch.autograd.gradcheck(lambda t: dot_interaction_op(t, pad), (x,))


def test_op_is_traced_by_export():
    class Model(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ops.dlrm.dot_interaction(x, "multiple_of_8").relu()

    x = random(4, 5, 3)
    program = torch.export.export(Model(), (x,), dynamic_shapes={"x": {0: torch.export.Dim("batch", min=2)}})
    assert any("dlrm.dot_interaction" in str(node.target) for node in program.graph.nodes)
    for rows in (2, 9):
        other = random(rows, 5, 3, seed=rows)
        assert torch.equal(program.module()(other), dot_interaction_op(other, "multiple_of_8").relu())


def test_op_is_traced_by_compile_as_one_graph():
    x = random(4, 5, 3).requires_grad_()
    compiled = torch.compile(lambda t: dot_interaction_op(t, "multiple_of_8") * 2, backend="aot_eager", fullgraph=True)
    (gradient,) = torch.autograd.grad(compiled(x).sum(), x)
    (expected,) = torch.autograd.grad((dot_interaction_op(x, "multiple_of_8") * 2).sum(), x)
    assert torch.equal(gradient, expected)


def test_op_takes_strides_and_leaves_its_input():
    x = random(4, 6, 10)[:, ::2, ::2]
    kept = x.clone()
    assert torch.equal(dot_interaction_op(x, "multiple_of_8"), dot_interaction_op(x.contiguous(), "multiple_of_8"))
    assert torch.equal(x, kept)


@pytest.mark.parametrize("function", [dot_interaction, dot_interaction_op])
@pytest.mark.parametrize("shape", [(2, MOST_FEATURES + 1, 4), (2, 3, MOST_DIM + 1), (2, 0, 4), (2, 3, 0), (3, 4)])
def test_beyond_the_limits_both_refuse(function, shape):
    with pytest.raises(ValueError, match="F of 1 to 40 and D of 1 to 256"):
        function(torch.zeros(shape), "multiple_of_8")


@pytest.mark.parametrize("shape", [(2, 41, 4), (2, 3, 257)])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_limits_hold_on_shapes_alone_too(shape, device):
    with pytest.raises(ValueError, match="is needed"):
        dot_interaction_op(torch.empty(shape, device=device), "multiple_of_8")


@pytest.mark.parametrize(
    ("gradient", "words"),
    [
        (torch.zeros(3, 8), "(2, 7 or more) is needed"),
        (torch.zeros(2, 6), "(2, 7 or more) is needed"),
        (torch.zeros(2), "(2, 7 or more) is needed"),
        (torch.zeros(2, 8, dtype=torch.float64), "torch.float32 is needed"),
    ],
)
def test_a_gradient_that_does_not_fit_is_refused(gradient, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        torch.ops.dlrm.dot_interaction_backward(gradient, torch.zeros(2, 3, 4))


def test_whole_numbers_are_refused():
    with pytest.raises(ValueError, match="a floating-point tensor is needed"):
        dot_interaction_op(torch.zeros(2, 3, 4, dtype=torch.int8), "multiple_of_8")
