"""One step and thirty: against plain autograd, and the same bits for any number of threads."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from dlrm_core.data import Batch, open_training_parts
from dlrm_core.schema.config import TrainConfig
from dlrm_core.train.checkpoint import build_model
from dlrm_core.train.schedule import learning_rate
from dlrm_core.train.shards import Shards
from dlrm_core.train.step import TrainStep, WeightAverage
from tests.train.builders import CARDINALITIES, NUM_NUMERICAL, DoublePart, PlainDlrm, rms, tiny_config, torch_threads

STEPS = 30


def weights_of(model: PlainDlrm) -> list[Tensor]:
    layers = [*model.bottom, *model.top]
    return [
        *(t for layer in layers for t in (layer.weight.detach(), layer.bias.detach())),
        torch.cat([table.weight.detach() for table in model.tables]),
    ]


def plain_training(model: PlainDlrm, config: TrainConfig, batches: list[Batch], **wrong: bool) -> list[float]:
    """The whole training as a textbook would write it; returns the losses."""
    mlps = [*model.bottom.parameters(), *model.top.parameters()]
    optimizer = torch.optim.SGD([{"params": mlps}, {"params": model.tables.parameters()}], lr=1.0)
    losses = []
    for step, batch in enumerate(batches, 1):
        shown = step - 1 if wrong.get("schedule_from_zero") else step
        for group, base in zip(optimizer.param_groups, (config.mlps.lr, config.tables.lr), strict=True):
            group["lr"] = learning_rate(shown, base, config.schedule)
        rows = 64 if wrong.get("divide_by_full_batch") else len(batch)
        loss = binary_cross_entropy_with_logits(model(batch.numerical_BN, batch.ids_BT), batch.label_B, reduction="sum")
        loss = loss / rows
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def first_batches(data: Any, dtype: torch.dtype) -> list[Batch]:
    part = open_training_parts(data).fit
    reader = DoublePart(data, part.spec, "train", stop=len(part)) if dtype == torch.float64 else part
    epoch = list(reader.batches(64))
    assert len(epoch[-1]) == 207 - 3 * 64  # a short one
    return (epoch * STEPS)[:STEPS]


def our_training(data: Any, config: TrainConfig, dtype: torch.dtype) -> tuple[list[Tensor], list[float], PlainDlrm]:
    model = build_model(config.model, open_training_parts(data).fit.spec, config.seed).to(dtype)
    plain = PlainDlrm(model)
    with Shards(deterministic=config.deterministic) as shards:
        step = TrainStep(model, config, shards)
        losses = [float(step.run(batch)) for batch in first_batches(data, dtype)]
    return [p.detach() for p in model.parameters()] + [model.table_VD], losses, plain


@pytest.mark.parametrize("interaction", ["dot", "cat"])
@pytest.mark.parametrize("deterministic", [True, False])
def test_thirty_steps_as_plain_autograd(data, deterministic, interaction):
    model = {"embedding_dim": 6, "bottom_mlp_sizes": [8, 6], "top_mlp_sizes": [10, 5, 1], "interaction": interaction}
    config = tiny_config(deterministic=deterministic, model=model)
    ours, losses, plain = our_training(data, config, torch.float64)
    expected = plain_training(plain, config, first_batches(data, torch.float64))
    assert losses == pytest.approx(expected, rel=1e-10)
    for mine, theirs in zip(ours, weights_of(plain), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
    assert expected[-1] < expected[0]


def test_thirty_steps_in_float32_to_twice_the_error_of_plain_autograd(data):
    config = tiny_config()
    exact, _, _ = our_training(data, config, torch.float64)
    ours, _, plain = our_training(data, config, torch.float32)
    plain_training(plain, config, first_batches(data, torch.float32))
    joined, exact_joined, plain_joined = (torch.cat([t.flatten() for t in w]) for w in (ours, exact, weights_of(plain)))
    assert rms(joined.double() - exact_joined) <= 2 * rms(plain_joined.double() - exact_joined)


@pytest.mark.parametrize("wrong", ["schedule_from_zero", "divide_by_full_batch"])
def test_wrong_loops_are_refused(data, wrong):
    config = tiny_config()
    ours, _, plain = our_training(data, config, torch.float64)
    plain_training(plain, config, first_batches(data, torch.float64), **{wrong: True})
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ours, weights_of(plain), rtol=1e-10, atol=1e-12)


def big_steps(name: str, threads: int) -> list[Tensor]:
    """Three steps of a model whose weights are many enough, and odd enough, that torch would split the work unevenly."""
    torch_cardinalities = (30_011, 77)
    config = tiny_config(
        model={"embedding_dim": 15, "bottom_mlp_sizes": [301, 15], "top_mlp_sizes": [303, 351, 1], "dropout": 0.1},
        mlps={"name": name, "lr": 0.01, "weight_decay": 1e-3},
        tables={"name": name, "lr": 0.01, "weight_decay": 1e-3},
        average_decay=0.9,
    )
    generator = torch.Generator().manual_seed(0)
    with torch_threads(threads), Shards(deterministic=True) as shards:
        model = build_model_of(torch_cardinalities, config)
        step = TrainStep(model, config, shards)
        losses = []
        for rows in (5001, 5001, 703):
            ids = torch.stack([(torch.rand(rows, generator=generator) * n).long() for n in torch_cardinalities], dim=1)
            numerical = torch.rand(rows, NUM_NUMERICAL, generator=generator)
            losses.append(step.run(Batch(numerical, ids, (numerical[:, 0] > 0.5).float())))
        assert step.average is not None
        live = [*(p.detach().clone() for p in model.parameters()), model.table_VD.clone()]
        step.average.swap()
        return [*losses, *live, *(p.detach() for p in model.parameters()), model.table_VD]


def build_model_of(cardinalities: tuple[int, ...], config: TrainConfig) -> Any:
    from dlrm_core.model.dlrm import Dlrm

    return Dlrm(cardinalities=cardinalities, num_numerical=NUM_NUMERICAL, seed=config.seed, **config.model.model_dump())


@pytest.mark.parametrize("name", ["sgd", "adagrad", "adam"])
def test_threads_do_not_change_a_bit(name):
    first = big_steps(name, 1)
    for threads in (1, 2, 4):
        again = big_steps(name, threads)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


# Weight average


def test_weight_average_as_its_slow_twin():
    config = tiny_config()
    model = build_model_of(CARDINALITIES, config).double()
    average = WeightAverage(model, 0.5)
    live = [*(p.detach() for p in model.parameters()), model.table_VD]
    twins = [t.tolist() for t in (x.flatten() for x in live)]
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 15):
        with torch.no_grad():
            for tensor in live:
                tensor += torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))  # below 0.5 for the first seven steps
        for twin, tensor in zip(twins, live, strict=True):
            for i, weight in enumerate(tensor.flatten().tolist()):
                twin[i] = decay * twin[i] + (1 - decay) * weight
    kept = [t.clone() for t in live]
    average.swap()
    for twin, tensor in zip(twins, live, strict=True):
        torch.testing.assert_close(tensor.flatten(), torch.tensor(twin, dtype=torch.float64), rtol=1e-12, atol=1e-12)
    average.swap()
    assert all(torch.equal(a, b) for a, b in zip(kept, live, strict=True))


def test_average_leaves_training_as_it_is(data):
    plain, with_average = (our_training(data, tiny_config(average_decay=d), torch.float32)[0] for d in (0.0, 0.9))
    assert all(torch.equal(a, b) for a, b in zip(plain, with_average, strict=True))


# Dropout


def test_dropout_depends_on_seed_and_step_alone(data):
    model = {"embedding_dim": 6, "bottom_mlp_sizes": [8, 6], "top_mlp_sizes": [40, 1], "dropout": 0.5}
    runs = []
    for seed, threads in ((1, 1), (1, 4), (2, 1)):
        torch.manual_seed(threads)
        with torch_threads(threads):
            runs.append(our_training(data, tiny_config(seed=seed, model=model), torch.float32))
    assert runs[0][1] == runs[1][1]
    assert runs[0][1] != runs[2][1]
    without = our_training(data, tiny_config(model=model | {"dropout": 0.0}), torch.float32)
    assert runs[0][1] != without[1]


def test_dropout_masks_differ_from_step_to_step_and_shard_to_shard(data):
    config = tiny_config(
        model={"embedding_dim": 6, "bottom_mlp_sizes": [8, 6], "top_mlp_sizes": [500, 1], "dropout": 0.5}
    )
    parts = open_training_parts(data)
    model = build_model(config.model, parts.fit.spec, 1)
    with torch.no_grad():  # no activation is zero but for dropout
        model.top[0].bias.fill_(1000.0)
    masks = []
    model.top[-1].register_forward_hook(lambda _m, args, _o: masks.append(args[0].detach()[:10] != 0))
    with Shards(deterministic=True, threads=1) as shards:
        step = TrainStep(model, config, shards)
        for batch in list(parts.fit.batches(64))[:2]:
            step.run(batch)
    assert len(masks) == 8
    # Two independent masks agree on half of the 5,000 cells (one standard error is 0.7 %), equal ones on all.
    for i, first in enumerate(masks):
        assert abs(float(first.double().mean()) - 0.5) < 0.05
        for second in masks[:i]:
            assert abs(float((first == second).double().mean()) - 0.5) < 0.05
