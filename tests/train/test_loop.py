"""The loop: how many steps, which rows, when it looks, when it stops, and which weights it leaves."""

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dlrm_core.data import Part, open_training_parts
from dlrm_core.metrics import log_loss, roc_auc
from dlrm_core.schema.config import TrainConfig
from dlrm_core.schema.errors import KitError
from dlrm_core.train import loop
from dlrm_core.train.checkpoint import build_model
from dlrm_core.train.evaluate import predict
from dlrm_core.train.loop import Fit, TrainEvent
from dlrm_core.train.schedule import learning_rate
from dlrm_core.train.shards import Shards
from dlrm_core.train.step import TrainStep
from tests.train.builders import tiny_config, write_dataset


class Watched:
    """A fit, what its listener heard, the rows of each step, and the weights at each evaluation."""

    def __init__(self, data: Path, config: TrainConfig, max_steps: int | None = None, *, look: bool = True) -> None:
        parts = open_training_parts(data)
        self.events: list[TrainEvent] = []
        self.batches: list[int] = []
        self.snapshots: dict[int, dict[str, Tensor]] = {}
        self.model = build_model(config.model, parts.fit.spec, config.seed)
        per_epoch = math.ceil(len(parts.fit) / config.batch_size)
        self.max_steps = config.epochs * per_epoch if max_steps is None else max_steps
        with Shards(deterministic=True, threads=1) as shards:
            self.fit = Fit(self.model, config, shards, self._hear, "train")
            self._step = self.fit._step
            run = self._step.run
            self._step.run = lambda batch: self._count(run, batch)  # type: ignore[method-assign]
            self.fit.run(parts.fit, parts.stop if look else None, self.max_steps)

    def _count(self, run: Any, batch: Any) -> Tensor:
        self.batches.append(len(batch))
        return run(batch)

    def _hear(self, event: TrainEvent) -> None:
        self.events.append(event)
        if event.auc is not None:
            if self._step.average is not None:
                self._step.average.swap()
            self.snapshots[event.step] = {n: t.detach().clone() for n, t in self.model.state_dict().items()}
            if self._step.average is not None:
                self._step.average.swap()

    @property
    def looks(self) -> list[int]:
        """Steps at which the model was evaluated."""
        return [event.step for event in self.events if event.auc is not None]

    def keeps(self, step: int) -> bool:
        """Whether the model holds the weights that were evaluated after `step`."""
        state = self.model.state_dict()
        return all(torch.equal(state[name], kept) for name, kept in self.snapshots[step].items())


def script(monkeypatch: pytest.MonkeyPatch, **scores: Sequence[float]) -> None:
    """Let the evaluations find these scores, one after the other."""
    for name, values in scores.items():
        queue: Iterator[float] = iter(values)
        monkeypatch.setattr(loop, name, lambda _label, _logit, queue=queue: next(queue))


# How many steps, which rows


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("batch_size", [1000, 207, 69, 64, 50])
def test_every_row_of_every_epoch_in_order_and_no_step_more(data, epochs, batch_size):
    seen = Watched(data, tiny_config(epochs=epochs, batch_size=batch_size), look=False)
    full, rest = divmod(207, batch_size)
    assert seen.batches == ([batch_size] * full + [rest] * bool(rest)) * epochs
    assert seen.events[-1].step == seen.events[-1].steps == len(seen.batches) == epochs * math.ceil(207 / batch_size)


@pytest.mark.parametrize("max_steps", [0, 1, 3, 4, 5])
def test_no_step_beyond_the_asked_number(data, max_steps):
    """Quirk 6: the published loop takes one more."""
    seen = Watched(data, tiny_config(epochs=9), max_steps, look=False)
    assert len(seen.batches) == max_steps
    assert [event.step for event in seen.events][-1:] == [max_steps][: bool(max_steps)]


def test_rows_on_disk_decide_and_not_the_order_of_epochs(data):
    """The second epoch takes the same batches again."""
    once = Watched(data, tiny_config(epochs=2), look=False)
    again = Watched(data, tiny_config(epochs=1), 8, look=False)
    assert all(torch.equal(a, b) for a, b in zip(once.model.parameters(), again.model.parameters(), strict=True))


# What the listener hears


def test_history_and_events(data):
    config = tiny_config(epochs=3, print_freq=5)
    seen = Watched(data, config, look=False)
    assert [event.step for event in seen.events] == [5, 10, 12]
    assert [step for step, _ in seen.fit.history.loss] == [5, 10, 12]
    for step, lr in seen.fit.history.learning_rate:
        assert lr == learning_rate(step, config.mlps.lr, config.schedule)
    for event in seen.events:
        assert (event.phase, event.steps, event.auc, event.log_loss) == ("train", 12, None, None)
        assert event.samples_per_s > 0
        assert event.seconds_left >= 0
    assert seen.events[-1].seconds_left == 0
    assert seen.fit.history.auc == seen.fit.history.log_loss == []


def test_logged_loss_is_the_mean_of_its_window(data):
    config = tiny_config(epochs=2, print_freq=3)
    every = Watched(data, tiny_config(epochs=2, print_freq=1), look=False).fit.history.loss
    windows = Watched(data, config, look=False).fit.history.loss
    losses = [loss for _, loss in every]
    assert [step for step, _ in windows] == [3, 6, 8]
    expected = [sum(losses[0:3]) / 3, sum(losses[3:6]) / 3, sum(losses[6:8]) / 2]
    assert [loss for _, loss in windows] == pytest.approx(expected, rel=1e-6)


def test_evaluation_is_heard_and_right(data):
    config = tiny_config(epochs=2)
    seen = Watched(data, config)
    assert seen.looks == [4, 8]
    stop = open_training_parts(data).stop
    with Shards(deterministic=True, threads=1) as shards:
        logit = predict(seen.model, stop, 7, shards)
    last = [event for event in seen.events if event.auc is not None][-1]
    assert last.auc == pytest.approx(roc_auc(stop.labels(), logit), abs=1e-6)
    assert last.log_loss == pytest.approx(log_loss(stop.labels(), logit), rel=1e-6)
    assert seen.fit.history.auc[-1] == (8, last.auc)
    assert seen.fit.history.log_loss[-1] == (8, last.log_loss)


def test_an_evaluation_does_not_change_the_speed_that_is_told(data, monkeypatch):
    """Rate and time left are those of training, not of the evaluation that came between."""
    monkeypatch.setattr(loop, "predict", lambda *arguments: _slowly(predict, arguments))
    seen = Watched(data, tiny_config(epochs=3, print_freq=1))
    for before, event in zip(seen.events, seen.events[1:], strict=False):
        if event.auc is not None:
            assert event.samples_per_s == pytest.approx(before.samples_per_s, rel=1e-6)
            assert event.seconds_left == pytest.approx(before.seconds_left, rel=1e-6)


def _slowly(function: Any, arguments: Any) -> Any:
    time.sleep(0.05)
    return function(*arguments)


@pytest.mark.parametrize(
    ("evaluations", "epochs", "steps"),
    [
        (1, 2, [4, 8]),
        (2, 2, [2, 4, 6, 8]),
        (3, 1, [1, 3, 4]),
        (4, 1, [1, 2, 3, 4]),
        (9, 1, [1, 2, 3, 4]),  # more often than there are steps
    ],
)
def test_when_it_looks(data, evaluations, epochs, steps):
    config = tiny_config(epochs=epochs, print_freq=1000, stopping={"evaluations_per_epoch": evaluations})
    assert Watched(data, config).looks == steps


def test_looking_does_not_change_training(data):
    quiet = Watched(data, tiny_config(epochs=3), look=False)
    looked_at = Watched(data, tiny_config(epochs=3, stopping={"evaluations_per_epoch": 4}))
    assert all(torch.equal(a, b) for a, b in zip(quiet.model.parameters(), looked_at.model.parameters(), strict=True))
    assert torch.equal(quiet.model.table_VD, looked_at.model.table_VD)


# Which state is kept


AUC, LOSS = "roc_auc", "log_loss"
FLAT = [0.5] * 20


def test_last_keeps_the_last(data, monkeypatch):
    script(monkeypatch, roc_auc=[0.9, 0.1, 0.1, 0.1, 0.1, 0.1], log_loss=[0.1, 0.9, 0.9, 0.9, 0.9, 0.9])
    seen = Watched(data, tiny_config(epochs=6, stopping={"rule": "last", "patience": 1}))
    assert seen.looks == [4, 8, 12, 16, 20, 24]
    assert seen.keeps(24)
    assert seen.fit.best is None


@pytest.mark.parametrize(
    ("rule", "scores", "kept", "stopped"),
    [
        ("best_auc", {AUC: [0.6, 0.7, 0.65, 0.64, 0.9, 0.9], LOSS: FLAT}, 8, 16),
        ("best_log_loss", {LOSS: [0.6, 0.5, 0.55, 0.54, 0.1, 0.1], AUC: FLAT}, 8, 16),
        ("best_auc", {AUC: [0.6, 0.6, 0.6, 0.9], LOSS: FLAT}, 4, 12),  # as good is not better
        ("best_auc", {AUC: [0.6, 0.5, 0.7, 0.6, 0.8, 0.7], LOSS: FLAT}, 20, 24),  # a better one resets the count
        ("best_log_loss", {LOSS: [0.6, 0.5, 0.4, 0.3, 0.2, 0.1], AUC: FLAT}, 24, 24),
        ("best_auc", {AUC: [0.9, 0.1, 0.1, 0.1], LOSS: FLAT}, 4, 12),
    ],
)
def test_best_keeps_the_best_and_stops_after_patience(data, monkeypatch, rule, scores, kept, stopped):
    script(monkeypatch, **scores)
    seen = Watched(data, tiny_config(epochs=6, stopping={"rule": rule, "patience": 2}))
    assert seen.looks[-1] == len(seen.batches) == stopped
    assert seen.fit.best is not None
    assert seen.fit.best.step == kept
    assert seen.keeps(kept)
    assert all(kept == other or not seen.keeps(other) for other in seen.looks)


@pytest.mark.parametrize("rule", ["last", "best_log_loss"])
def test_averaged_weights_are_looked_at_and_kept(data, monkeypatch, rule):
    script(monkeypatch, roc_auc=FLAT, log_loss=[0.6, 0.5, 0.55, 0.56])
    config = tiny_config(epochs=4, average_decay=0.9, stopping={"rule": rule, "patience": 9})
    seen = Watched(data, config)
    kept = 16 if rule == "last" else 8
    assert seen.keeps(kept)
    script(monkeypatch, roc_auc=FLAT, log_loss=FLAT)
    plain = Watched(data, tiny_config(epochs=4))
    assert not torch.equal(plain.snapshots[kept]["embeddings.weight_0"], seen.model.table_VD)
    # Between evaluations the live weights train on as if there were no average.
    assert [loss for _, loss in plain.fit.history.loss] == [loss for _, loss in seen.fit.history.loss]


def test_average_is_of_all_steps(data):
    """Averaging by hand after each step gives the weights that the fit leaves."""
    config = tiny_config(epochs=2, average_decay=0.7)
    seen = Watched(data, config)
    parts = open_training_parts(data)
    model = build_model(config.model, parts.fit.spec, config.seed)
    live = [*model.parameters(), model.table_VD]
    twin = [t.detach().double().clone() for t in live]
    with Shards(deterministic=True, threads=1) as shards:
        step = TrainStep(model, tiny_config(epochs=2), shards)
        for batch in [*parts.fit.batches(64), *parts.fit.batches(64)]:
            step.run(batch)
            decay = min(0.7, (1 + step.step) / (10 + step.step))
            twin = [decay * a + (1 - decay) * t.detach().double() for a, t in zip(twin, live, strict=True)]
    for ours, theirs in zip([*seen.model.parameters(), seen.model.table_VD], twin, strict=True):
        torch.testing.assert_close(ours.detach().double(), theirs, rtol=1e-5, atol=1e-6)


# What goes wrong


@pytest.mark.parametrize("print_freq", [1, 100])
def test_divergence_is_an_error_that_names_step_and_cure(data, print_freq):
    config = tiny_config(
        mlps={"lr": 1e30}, tables={"lr": 1e30}, epochs=3, print_freq=print_freq, stopping={"evaluations_per_epoch": 1}
    )
    with pytest.raises(KitError, match=r"loss is (nan|inf) at step \d+.*mlps\.lr"):
        Watched(data, config)


def test_weights_that_the_last_update_spoils_are_an_error(data):
    """The loss is that before the update, and nobody looks at the model afterwards."""
    config = tiny_config(mlps={"lr": 1e38, "weight_decay": 1e6}, batch_size=207, schedule={"warmup_steps": 0})
    with pytest.raises(KitError, match=r"weight is not finite after step 1.*mlps\.lr"):
        Watched(data, config, 1, look=False)


def test_a_part_without_rows_ends(tmp_path):
    write_dataset(tmp_path / "DATA", train=0)
    parts = open_training_parts(tmp_path / "DATA")

    class Counted(Part):
        asked = 0

        def batches(self, batch_size: int) -> Any:
            self.asked += 1
            if self.asked > 10:
                raise AssertionError("asked eleven times for the batches of a part that has none")
            return super().batches(batch_size)

    config = tiny_config()
    empty = Counted(tmp_path / "DATA", parts.fit.spec, "train")
    with Shards(deterministic=True, threads=1) as shards:
        fit = Fit(build_model(config.model, parts.fit.spec, 1), config, shards, lambda _e: None, "train")
        with contextlib.suppress(KitError):
            fit.run(empty, None, 3)


def rows_of_epochs(data: Path, **changes: Any) -> list[list[tuple[float, ...]]]:
    """The numericals of each row that a fit of two epochs trained on, in order, by epoch."""
    part, seen = open_training_parts(data).fit, []
    config = tiny_config(epochs=2, **changes)
    with Shards(deterministic=True, threads=1) as shards:
        fit = Fit(build_model(config.model, part.spec, config.seed), config, shards, lambda _: None, "train")
        per_epoch = math.ceil(len(part) / config.batch_size)
        for batch in fit._batches(part, 2 * per_epoch):
            seen += [tuple(row) for row in batch.numerical_BN.tolist()]
    return [seen[: len(part)], seen[len(part) :]]


def test_reshuffle_gives_each_epoch_an_order_of_its_own(tmp_path):
    write_dataset(tmp_path)
    on_disk = rows_of_epochs(tmp_path)[0]
    first, second = rows_of_epochs(tmp_path, reshuffle=True)
    assert sorted(first) == sorted(second) == sorted(on_disk)
    assert on_disk != first != second
    assert rows_of_epochs(tmp_path, reshuffle=True) == [first, second]
    assert rows_of_epochs(tmp_path, reshuffle=True, seed=2)[0] != first
    assert rows_of_epochs(tmp_path)[1] == on_disk


def test_standardising_is_folded_into_the_first_layer(tmp_path):
    """The model that is left takes plain numericals and says what the standardised one said."""
    write_dataset(tmp_path)
    parts, config = open_training_parts(tmp_path), tiny_config(standardize=True)
    model = build_model(config.model, parts.fit.spec, config.seed)
    told = []
    with Shards(deterministic=True, threads=1) as shards:
        fit = Fit(model, config, shards, lambda event: told.append(event.log_loss), "train")
        fit.run(parts.fit, parts.stop, 4)
        assert model.numerical_mean_N is None
        after = log_loss(parts.stop.labels(), predict(model, parts.stop, 50, shards))
    assert after == pytest.approx(told[-1], abs=1e-6)
    plain = Watched(tmp_path, tiny_config(), 4)
    assert not torch.allclose(plain.model.bottom[0].weight, model.bottom[0].weight)


def test_mean_and_deviation_are_numpys(tmp_path):
    write_dataset(tmp_path)
    part = open_training_parts(tmp_path).fit
    mean, deviation = loop._mean_and_deviation(part, 64)
    numerical = part.columns()[0].astype("f8")
    assert mean.numpy() == pytest.approx(numerical.mean(0), rel=1e-6)
    assert deviation.numpy() == pytest.approx(numerical.std(0), rel=1e-6)


# Batches that come in time


def test_only_the_first_batch_is_waited_for_where_steps_take_longer(data, monkeypatch):
    """One batch ahead of the one in use is enough; without, each is waited for."""
    for owner, name, seconds in ((Part, "read", 0.01), (TrainStep, "run", 0.02)):
        monkeypatch.setattr(owner, name, _slowed(getattr(owner, name), seconds))
    fits = {depth: Watched(data, tiny_config(epochs=2, prefetch_depth=depth), look=False) for depth in (0, 1, 10)}
    waited_s = {depth: fit.fit.speed.waited_s for depth, fit in fits.items()}
    assert len(fits[0].batches) == 8
    assert waited_s[0] >= 8 * 0.01
    assert 0.01 <= waited_s[1] < waited_s[0] / 2
    assert 0.01 <= waited_s[10] < waited_s[0] / 2


def _slowed(function: Any, seconds: float) -> Any:
    def slow(*arguments: Any) -> Any:
        time.sleep(seconds)
        return function(*arguments)

    return slow


# The options of June 2020


@pytest.mark.parametrize(
    ("test_freq", "test_after", "looks"),
    [(3, 0.0, [3, 6, 8]), (8, 0.0, [8]), (1, 1.5, [6, 7, 8]), (3, 1.0, [6, 8]), (100, 0.0, [8]), (2, 9.0, [8])],
)
def test_test_freq_and_test_after(data, test_freq, test_after, looks):
    config = tiny_config(epochs=2, print_freq=1000, test_freq=test_freq, test_after=test_after)
    assert Watched(data, config).looks == looks


def test_auc_threshold_ends_the_training_at_once(data, monkeypatch):
    script(monkeypatch, roc_auc=[0.5, 0.69, 0.7, 0.9], log_loss=FLAT)
    seen = Watched(data, tiny_config(epochs=4, auc_threshold=0.7))
    assert seen.looks == [4, 8, 12]
    assert len(seen.batches) == 12
    assert seen.fit.reached is not None
    assert seen.fit.reached.step == 12
    assert 0 < seen.fit.reached.seconds < 60
    assert seen.keeps(12)


def test_auc_threshold_out_of_reach(data, monkeypatch):
    script(monkeypatch, roc_auc=FLAT, log_loss=FLAT)
    seen = Watched(data, tiny_config(epochs=2, auc_threshold=0.7))
    assert (seen.fit.reached, len(seen.batches)) == (None, 8)


def test_batches_come_in_a_new_order_each_epoch(data):
    """Quirk 9: the published shuffle deadlocks or mixes up its prefetched batches."""
    orders = []
    for depth in (0, 1, 3, 100):
        seen = Watched(data, tiny_config(epochs=6, shuffle_batch_order=True, prefetch_depth=depth), look=False)
        epochs = [tuple(seen.batches[4 * e : 4 * e + 4]) for e in range(6)]
        assert all(sorted(epoch) == [15, 64, 64, 64] for epoch in epochs)
        assert len({epoch.index(15) for epoch in epochs}) > 1  # the short one is not always the last
        orders.append((epochs, [p.detach().clone() for p in seen.model.parameters()]))
    for epochs, weights in orders[1:]:
        assert epochs == orders[0][0]
        assert all(torch.equal(a, b) for a, b in zip(weights, orders[0][1], strict=True))


def test_warm_up_is_left_out_of_the_speed(data):
    full = Watched(data, tiny_config(epochs=2), look=False).fit.speed
    warm = Watched(data, tiny_config(epochs=2, benchmark_warmup_steps=5), look=False).fit.speed
    assert full.rows == 2 * 207
    assert warm.rows == 64 + 64 + 15  # steps 6 to 8
    assert 0 < warm.seconds < full.seconds + 60
    with pytest.raises(KitError, match="benchmark_warmup_steps is 8 and the run has 8 steps"):
        Watched(data, tiny_config(epochs=2, benchmark_warmup_steps=8), look=False)


def test_evaluations_are_left_out_of_the_speed(data, monkeypatch):
    def slow(*arguments: Any) -> Any:
        time.sleep(0.5)
        return predict(*arguments)

    monkeypatch.setattr(loop, "predict", slow)
    assert Watched(data, tiny_config(epochs=2)).fit.speed.seconds < 0.5
