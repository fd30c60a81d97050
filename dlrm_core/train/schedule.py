"""Learning rate by step."""

from dlrm_core.schema.config import ScheduleConfig


def learning_rate(step: int, base: float, schedule: ScheduleConfig) -> float:
    """Learning rate of optimisation step `step`, counted from 1 (June 2020 ``scripts/utils.py:151-172``).

    With W warm-up steps, warm-up factor w, decay start d0 (W if None), T decay steps and power p:
    ``base (1 - (W - t) / (W 2^w))`` up to W; ``base`` up to d0; then ``max(end, base ((T - min(t - d0, T)) / T)^p)``,
    or no decay at all if T is 0.

    Examples
    --------
    >>> published = ScheduleConfig()
    >>> [round(learning_rate(t, 28.0, published), 6) for t in (1, 201, 6400, 64000, 64001, 128001)]
    [0.004375, 0.879375, 28.0, 28.0, 27.9993, 1.11986]
    """
    warmup, start = schedule.warmup_steps, schedule.decay_start_step
    start = warmup if start is None else start
    if schedule.decay_steps and step > start:
        left = schedule.decay_steps - min(step - start, schedule.decay_steps)
        return max(schedule.decay_end_lr, base * (left / schedule.decay_steps) ** schedule.decay_power)
    if step <= warmup:
        return base * (1 - (warmup - step) / (warmup * 2**schedule.warmup_factor))
    return base
