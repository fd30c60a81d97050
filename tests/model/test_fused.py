"""The written-out gradients against autograd of the definition, with its error as the measure."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dlrm_core.model.dlrm import Dlrm
from dlrm_core.model.fused import SMALL_BATCH, FusedDlrm, Gradients
from dlrm_core.ops.gemm import ROUTES

SHAPE: dict[str, Any] = {
    "cardinalities": (5, 50, 500),
    "num_numerical": 4,
    "embedding_dim": 6,
    "bottom_mlp_sizes": (8, 6),
    "top_mlp_sizes": (10, 7, 1),
}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"interaction_pad": "one_column"},
    {"top_mlp_sizes": (1,)},
    {"bottom_mlp_sizes": (6,)},
    {"cardinalities": (3,)},
    {"cardinalities": tuple(range(1, 27)), "num_numerical": 13, "embedding_dim": 16, "bottom_mlp_sizes": (32, 16)},
    {"hash_indices": True, "max_table_size": 7},
]


def build(**changes: Any) -> Dlrm:
    return Dlrm(**SHAPE | changes, embedding_type="joint_fused", seed=1)


def batch(model: Dlrm, rows: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    numerical = torch.rand(rows, model.bottom[0].in_features, generator=generator)
    ids = torch.stack([torch.randint(n, (rows,), generator=generator) for n in model.cardinalities], dim=1)
    return numerical, ids, (torch.rand(rows, generator=generator) < 0.3).float()


def by_autograd(model: Dlrm, numerical: Tensor, ids: Tensor, label: Tensor) -> Gradients:
    dtype = model.table_VD.dtype
    embeddings = model.gather(model.rows(ids)).requires_grad_()
    logit = model(numerical.to(dtype), embeddings)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, label.to(dtype))
    *mlps, rows = torch.autograd.grad(loss, [*model.parameters(), embeddings])
    return Gradients(loss.detach(), tuple(mlps), rows)


def joined(gradients: Gradients) -> list[Tensor]:
    return [gradients.loss, *gradients.mlps, gradients.embedding_BTD]


def check(found: Gradients, model: Dlrm, data: tuple[Tensor, Tensor, Tensor], dtype: torch.dtype) -> None:
    """Each tensor's error against float64 at most twice that of autograd in the same dtype."""
    model.compute_dtype = None if dtype == torch.float32 else dtype
    plain = by_autograd(model, *data)
    model.compute_dtype = None
    exact = by_autograd(model.double(), *data)
    model.float()
    for ours, theirs, truth in zip(joined(found), joined(plain), joined(exact), strict=True):
        floor = torch.finfo(dtype).eps * truth.abs().max()
        assert ours.shape == truth.shape
        assert (ours.double() - truth).norm() <= 2 * (theirs.double() - truth).norm() + floor * truth.numel() ** 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("rows", [1, 90])
def test_gradients_as_autograds(rows, changes, dtype):
    model = build(**changes)
    data = batch(model, rows)
    found = FusedDlrm(model, dtype, "linear").gradients(*data)
    check(found, model, data, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("route", ROUTES)
def test_both_routes(route, dtype):
    model = build()
    data = batch(model, 90)
    found = FusedDlrm(model, dtype, route).gradients(*data)
    assert {gradient.dtype for gradient in found.mlps} == {torch.float32}
    check(found, model, data, dtype)


WRONG = {
    "loss": lambda g: Gradients(g.loss * 1.01, g.mlps, g.embedding_BTD),
    "a bias": lambda g: Gradients(g.loss, (g.mlps[0], g.mlps[1] * 1.01, *g.mlps[2:]), g.embedding_BTD),
    "embeddings of another table": lambda g: Gradients(g.loss, g.mlps, g.embedding_BTD.flip(1)),
    "summed, not mean": lambda g: Gradients(g.loss, tuple(m * 90 for m in g.mlps), g.embedding_BTD * 90),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_wrong_gradients_are_refused(wrong):
    model = build()
    data = batch(model, 90)
    found = FusedDlrm(model, torch.float32, "linear").gradients(*data)
    with pytest.raises(AssertionError):
        check(wrong(found), model, data, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [0, 1, SMALL_BATCH - 1, SMALL_BATCH, 200])
def test_logits_as_the_definition(rows, dtype):
    model = build()
    numerical, ids, _ = batch(model, rows)
    plain = model.logits(numerical, ids)
    model.fused = FusedDlrm(model, dtype, "linear")
    found = model.logits(numerical, ids)
    assert found.dtype == torch.float32
    exact = model.double()(numerical.double(), model.gather(model.rows(ids)))
    model.float()
    bound = (plain.double() - exact).norm() if dtype == torch.float32 or rows < SMALL_BATCH else 0.02 * exact.norm()
    assert (found.double() - exact).norm() <= 2 * bound + 1e-6 * max(rows, 1)


def test_predicting_first_and_in_larger_batches_does_not_hinder_training():
    model = build()
    fused = FusedDlrm(model, torch.bfloat16, "linear")
    small, large = batch(model, 50), batch(model, 300, seed=1)
    with torch.inference_mode():
        fused.logits(*large[:2])
    first = [t.clone() for t in joined(fused.gradients(*small))]
    with torch.inference_mode():
        fused.logits(*batch(model, 900, seed=2)[:2])
    again = joined(fused.gradients(*small))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_changed_weights_are_taken_over():
    model = build()
    data = batch(model, 90)
    fused = FusedDlrm(model, torch.bfloat16, "linear")
    fused.gradients(*data)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    check(fused.gradients(*data), model, data, torch.bfloat16)


def test_standardized_numericals():
    model = build()
    data = batch(model, 90)
    model.standardize(torch.full((4,), 0.5), torch.full((4,), 0.25))
    found = FusedDlrm(model, torch.float32, "linear").gradients(*data)
    plain = by_autograd(model, *data)
    for ours, theirs in zip(joined(found), joined(plain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_rows_have_no_logits(dtype):
    fused = FusedDlrm(build(), dtype, ROUTES[0])
    assert fused.logits(torch.zeros(0, SHAPE["num_numerical"]), torch.zeros(0, 3, dtype=torch.int64)).shape == (0,)
