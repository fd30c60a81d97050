"""The DLRM: shapes and initialisation as published, and its logits against a textbook PyTorch model."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dlrm_core.model.dlrm import Dlrm
from dlrm_core.schema.config import ModelConfig
from tests.train.builders import PlainDlrm, rms, torch_threads

SMALL: dict[str, Any] = {
    "cardinalities": (5, 50, 500),
    "num_numerical": 4,
    "embedding_dim": 6,
    "bottom_mlp_sizes": (8, 6),
    "top_mlp_sizes": (10, 7, 1),
}


def default_model(**changes: Any) -> Dlrm:
    """The default configuration on 26 small tables."""
    shape: dict[str, Any] = {"cardinalities": range(3, 29), "num_numerical": 13}
    return Dlrm(**shape | ModelConfig().model_dump() | changes)


def inputs(model: Dlrm, rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    numerical = torch.rand(rows, model.bottom[0].in_features, generator=generator)
    ids = [torch.randint(n, (rows,), generator=generator) for n in model.cardinalities]
    return numerical, torch.stack(ids, dim=1)


def logits(model: Dlrm, numerical: Tensor, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return model(numerical, model.gather(model.rows(ids)))


# Shapes


def test_layers_of_the_default_configuration():
    model = default_model()
    assert [(x.in_features, x.out_features) for x in model.bottom] == [(13, 512), (512, 256), (256, 128)]
    assert [(x.in_features, x.out_features) for x in model.top] == [
        (480, 1024),
        (1024, 1024),
        (1024, 512),
        (512, 256),
        (256, 1),
    ]
    assert all(layer.bias is not None for layer in [*model.bottom, *model.top])
    assert [tuple(t.shape) for t in model.tables()] == [(n, 128) for n in range(3, 29)]
    assert {p.dtype for p in model.parameters()} | {model.table_VD.dtype} == {torch.float32}


@pytest.mark.parametrize(
    ("changes", "width"),
    [
        ({}, 480),
        ({"interaction_pad": "one_column"}, 480),
        ({"interaction": "cat"}, 27 * 128),
        ({"embedding_dim": 16, "bottom_mlp_sizes": (16,)}, 368),
        ({"embedding_dim": 17, "bottom_mlp_sizes": (17,)}, 368),
        ({"embedding_dim": 17, "bottom_mlp_sizes": (17,), "interaction_pad": "one_column"}, 369),
    ],
)
def test_width_of_the_interaction(changes, width):
    assert default_model(top_mlp_sizes=(1,), **changes).top[0].in_features == width


def test_tables_stand_one_after_the_other():
    model = Dlrm(**SMALL)
    ids = torch.tensor([[0, 0, 0], [4, 49, 499]])
    assert model.rows(ids).tolist() == [[0, 5, 55], [4, 54, 554]]
    gathered = model.gather(model.rows(ids))
    for t, table in enumerate(model.tables()):
        assert torch.equal(gathered[:, t], table[ids[:, t]])
        table.fill_(t)
    assert model.table_VD[:, 0].long().bincount().tolist() == [5, 50, 500]


def test_tables_are_no_parameters_but_part_of_the_state():
    model = Dlrm(**SMALL)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"bottom", "top"}
    assert torch.equal(model.state_dict()["embeddings.weight_0"], model.table_VD)


# Initialisation


def check_normal(x: Tensor, std: float) -> None:
    """Mean, spread and share within one standard deviation, each within five standard errors."""
    x = x.detach().double().flatten() / std
    n = len(x)
    assert abs(float(x.mean())) <= 5 / math.sqrt(n)
    assert abs(float(x.square().mean()) - 1) <= 5 * math.sqrt(2 / n)
    inside = math.erf(1 / math.sqrt(2))
    assert abs(float((x.abs() < 1).double().mean()) - inside) <= 5 * math.sqrt(inside * (1 - inside) / n)


def check_uniform(x: Tensor, bound: float) -> None:
    """Within the bound, reaching it, and mean and spread within five standard errors."""
    x = x.detach().double().flatten() / bound
    n = len(x)
    assert float(x.abs().max()) <= 1 + torch.finfo(torch.float32).eps
    assert float(x.abs().max()) >= 1 - 20 / n
    assert abs(float(x.mean())) <= 5 / math.sqrt(3 * n)
    assert abs(float(x.square().mean()) - 1 / 3) <= 5 * math.sqrt(4 / 45 / n)


def test_hidden_layers_are_normal():
    seeds = range(4)
    models = [default_model(seed=seed) for seed in seeds]
    for part, hidden in (("bottom", 3), ("top", 4)):
        for place in range(hidden):
            layers = [getattr(model, part)[place] for model in models]
            inputs_, outputs = layers[0].in_features, layers[0].out_features
            used = 479 if inputs_ == 480 else inputs_
            std = math.sqrt(2 / (inputs_ + outputs))
            weights = torch.stack([layer.weight[:, :used] for layer in layers])
            biases = torch.stack([layer.bias for layer in layers])
            check_normal(weights, std)
            check_normal(biases, math.sqrt(1 / outputs))
            wrong = math.sqrt(1 / inputs_) if inputs_ != outputs else math.sqrt(2 / inputs_)  # LeCun's, He's
            with pytest.raises(AssertionError):
                check_normal(weights, wrong)
            with pytest.raises(AssertionError):
                check_normal((torch.rand_like(weights) - 0.5) * std * math.sqrt(12), std)


def test_last_layer_is_uniform_or_normal():
    size = 64
    last = {
        init: [Dlrm(**SMALL | {"top_mlp_sizes": (size, 1)}, output_init=init, seed=s).top[-1] for s in range(200)]
        for init in ("uniform", "normal")
    }
    check_uniform(torch.stack([x.weight for x in last["uniform"]]), 1 / math.sqrt(size))
    check_uniform(torch.stack([x.bias for x in last["uniform"]]), 1 / math.sqrt(size))
    check_normal(torch.stack([x.weight for x in last["normal"]]), math.sqrt(2 / (size + 1)))
    check_normal(torch.stack([x.bias for x in last["normal"]]), 1.0)
    with pytest.raises(AssertionError):
        check_uniform(torch.stack([x.weight for x in last["normal"]]), 1 / math.sqrt(size))


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_each_table_is_uniform_within_its_own_bound(scale):
    model = Dlrm(**SMALL | {"embedding_dim": 64, "bottom_mlp_sizes": (64,)}, embedding_init_scale=scale)
    for rows, table in zip(SMALL["cardinalities"], model.tables(), strict=True):
        check_uniform(table, scale * math.sqrt(1 / rows))
        with pytest.raises(AssertionError):
            check_uniform(table, scale * math.sqrt(1 / sum(SMALL["cardinalities"])))
        with pytest.raises(AssertionError):
            check_uniform(table, scale * math.sqrt(1 / (rows + 1) ** 2))


@pytest.mark.parametrize(
    ("changes", "pads"),
    [
        ({}, 4),  # 6 + 6 pairs
        ({"interaction_pad": "one_column"}, 1),
        ({"embedding_dim": 10, "bottom_mlp_sizes": (10,)}, 0),  # 10 + 6 = 16: the last column is a real one
        ({"interaction": "cat"}, 0),  # quirk 18
        ({"top_mlp_sizes": (1,)}, 4),  # the first top layer is the last one too
    ],
)
def test_pad_columns_alone_are_zero(changes, pads):
    first = Dlrm(**SMALL | changes).top[0].weight
    zero = (first == 0).all(dim=0)
    assert zero.nonzero().flatten().tolist() == list(range(first.shape[1] - pads, first.shape[1]))


def test_initialisation_depends_on_the_seed_alone():
    torch.manual_seed(1)
    with torch_threads(1):
        first = Dlrm(**SMALL, seed=3).state_dict()
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    with torch_threads(4):
        again = Dlrm(**SMALL, seed=3).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    assert list(first) == list(again)
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = Dlrm(**SMALL, seed=4).state_dict()
    assert all((first[name] != other[name]).any() for name in first)


# Forward


def check_forward(model: Dlrm, **wrong: bool) -> None:
    """Error against float64 at most twice that of the textbook model in float32."""
    numerical, ids = inputs(model, 200)
    with torch.no_grad():
        exact = PlainDlrm(model, **wrong).double()(numerical.double(), ids)
        plain = PlainDlrm(model, **wrong)(numerical, ids)
    assert rms(logits(model, numerical, ids).double() - exact) <= 2 * rms(plain.double() - exact)


VARIANTS = [
    {},
    {"interaction": "cat"},
    {"interaction_pad": "one_column"},
    {"embedding_dim": 10, "bottom_mlp_sizes": (10,)},
    {"top_mlp_sizes": (1,)},
    {"output_init": "normal", "embedding_init_scale": 0.5},
    {"dropout": 0.5},  # none of it outside of training
    {"cardinalities": (3,)},
    {"cardinalities": tuple(range(1, 27)), "num_numerical": 13},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("seed", range(2))
def test_logits_as_the_textbook_model(changes, seed):
    check_forward(Dlrm(**SMALL | changes, seed=seed))


@pytest.mark.parametrize("wrong", ["relu_after_last_bottom", "relu_after_logit", "upper_triangle", "swap_tables"])
def test_wrong_models_are_refused(wrong):
    model = Dlrm(**SMALL)
    with torch.no_grad():  # logits of both signs
        model.top[-1].bias -= logits(model, *inputs(model, 200)).median()
    check_forward(model)
    value = wrong != "relu_after_last_bottom"
    with pytest.raises(AssertionError):
        check_forward(model, **{wrong: value})


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_shape_of_small_batches(rows):
    model = Dlrm(**SMALL)
    assert logits(model, *inputs(model, rows)).shape == (rows,)


def test_gradients_as_the_textbook_model():
    model = Dlrm(**SMALL).double()
    plain = PlainDlrm(model)
    numerical, ids = inputs(model, 50)
    rows = model.rows(ids)
    embeddings = model.gather(rows).requires_grad_()
    model(numerical.double(), embeddings).square().sum().backward()
    plain(numerical.double(), ids).square().sum().backward()
    for ours, theirs in zip([*model.bottom, *model.top], [*plain.bottom, *plain.top], strict=True):
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, rtol=1e-11, atol=1e-13)
    summed = torch.zeros_like(model.table_VD).index_add_(0, rows.flatten(), embeddings.grad.flatten(0, 1))
    for ours, theirs in zip(summed.split(model.cardinalities), plain.tables, strict=True):
        torch.testing.assert_close(ours, theirs.weight.grad, rtol=1e-11, atol=1e-13)
    pads = model.top[0].weight.grad[:, 12:]
    assert pads.shape[1] == 4
    assert (pads == 0).all()


def test_dropout_zeroes_a_share_and_keeps_the_mean():
    rate = 0.25
    model = Dlrm(**SMALL | {"top_mlp_sizes": (400, 1)}, dropout=rate)
    numerical, ids = inputs(model, 50)
    seen = []
    model.top[-1].register_forward_hook(lambda _m, args, _o: seen.append(args[0]))
    with torch.no_grad():
        embeddings = model.gather(model.rows(ids))
        model(numerical, embeddings)
        model(numerical, embeddings, torch.Generator().manual_seed(5))
        model(numerical, embeddings, torch.Generator().manual_seed(5))
    full, dropped, again = seen
    assert torch.equal(dropped, again)
    alive = full > 0
    n = int(alive.sum())
    assert abs(float((dropped[alive] == 0).double().mean()) - rate) <= 5 * math.sqrt(rate * (1 - rate) / n)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], full[kept] / (1 - rate))


# Impossible requests


@pytest.mark.parametrize("name", ["interaction", "interaction_pad", "output_init"])
def test_unknown_alternative_is_refused(name):
    with pytest.raises(ValueError, match="dott"):
        Dlrm(**SMALL | {name: "dott"})


@pytest.mark.parametrize("changes", [{"bottom_mlp_sizes": (8, 5)}, {"top_mlp_sizes": (10, 2)}])
def test_layers_that_do_not_fit_are_refused(changes):
    with pytest.raises(ValueError, match=r"5|2"):
        Dlrm(**SMALL | changes)
