"""The learning rate by step: the vectors of the specification and the published function, written once more."""

import pytest

from dlrm_core.schema.config import ScheduleConfig
from dlrm_core.schema.errors import KitError
from dlrm_core.train.schedule import learning_rate

PUBLISHED = ScheduleConfig()


def published(t: int, base: float, schedule: ScheduleConfig) -> float:
    """June 2020, as the specification's 2.1 tells it; power 2 and floor 1e-7 are fixed there."""
    warmup, steps = schedule.warmup_steps, schedule.decay_steps
    start = warmup if schedule.decay_start_step is None else schedule.decay_start_step
    rate = base
    if t <= warmup:
        rate = base * (1 - (warmup - t) / (warmup * 2**schedule.warmup_factor))
    if steps != 0 and t > start:
        k = min(t - start, steps)
        rate = max(1e-7, base * ((steps - k) / steps) ** 2)
    return rate


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (1, 0.004375),
        (201, 0.879375),
        (2201, 9.629375),
        (6400, 28.0),
        (6401, 28.0),
        (64000, 28.0),
        (64001, 27.9993000),
        (128001, 1.1198600),
        (144000, 1e-7),
        (144001, 1e-7),
        (10**9, 1e-7),
    ],
)
def test_vectors_of_the_specification(step, rate):
    assert learning_rate(step, 28.0, PUBLISHED) == pytest.approx(rate, rel=1e-7)
    # One step off, up or down, is another number wherever the rate changes at all.
    if step in (1, 201, 2201, 64001, 128001):
        assert learning_rate(step + 1, 28.0, PUBLISHED) != pytest.approx(rate, rel=1e-7)
        assert learning_rate(step - 1, 28.0, PUBLISHED) != pytest.approx(rate, rel=1e-7)


def test_warmup_factor():
    assert learning_rate(3200, 28.0, ScheduleConfig(warmup_factor=2)) == pytest.approx(24.5)


SCHEDULES = [
    {},
    {"warmup_steps": 7, "decay_start_step": 7, "decay_steps": 5},
    {"warmup_steps": 7, "decay_start_step": 9, "decay_steps": 1, "warmup_factor": 1},
    {"warmup_steps": 0, "decay_start_step": None, "decay_steps": 10},
    {"warmup_steps": 0, "decay_start_step": 0, "decay_steps": 10},
    {"warmup_steps": 10, "decay_start_step": None, "decay_steps": 4, "warmup_factor": 3},
    {"warmup_steps": 10, "decay_start_step": 12, "decay_steps": 0},
    {"warmup_steps": 0, "decay_start_step": None, "decay_steps": 0},
]


@pytest.mark.parametrize("values", SCHEDULES, ids=str)
@pytest.mark.parametrize("base", [28.0, 0.01])
def test_as_published_at_every_step(values, base):
    schedule = ScheduleConfig(**values)
    for step in range(1, 40):
        assert learning_rate(step, base, schedule) == pytest.approx(published(step, base, schedule), rel=1e-12)


def test_no_decay_steps_means_no_decay():
    """Not the distributed code's zero (quirk 4)."""
    schedule = ScheduleConfig(warmup_steps=2, decay_start_step=4, decay_steps=0)
    assert [learning_rate(t, 8.0, schedule) for t in (1, 2, 4, 5, 1000)] == [4.0, 8.0, 8.0, 8.0, 8.0]


def test_power_and_floor_are_obeyed():
    schedule = ScheduleConfig(warmup_steps=0, decay_start_step=0, decay_steps=4, decay_power=1.0, decay_end_lr=0.5)
    assert [learning_rate(t, 8.0, schedule) for t in range(1, 7)] == [6.0, 4.0, 2.0, 0.5, 0.5, 0.5]
    to_zero = ScheduleConfig(warmup_steps=0, decay_start_step=0, decay_steps=4, decay_end_lr=0.0)
    assert learning_rate(4, 8.0, to_zero) == 0.0


def test_decay_before_the_end_of_the_warm_up_is_refused():
    with pytest.raises(KitError, match=r"5.*6"):
        ScheduleConfig.from_dict({"warmup_steps": 6, "decay_start_step": 5}, source="here")
