"""Where a training step goes: torch's profiler over some steps, its trace, and a table by part of the step."""

from contextlib import AbstractContextManager
from pathlib import Path

from torch.profiler import ProfilerActivity, profile, record_function

from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import write_atomic
from dlrm_core.schema.record import Metric

PREFIX = "dlrm: "  # of the parts' names in the trace
WARMUP = 5  # steps before the profiled ones: compiling, first touch of the memory
TRACE, TABLE = "profile/trace.json", "profile/table.txt"


def named(part: str) -> AbstractContextManager[object]:
    """A part of the step, under its name in the trace."""
    return record_function(PREFIX + part)


class StepProfiler:
    """Profiles the `steps` steps after a warm-up.

    Parameters
    ----------
    steps : int

    Attributes
    ----------
    metrics : tuple of Metric
        Milliseconds a step of each part, once :meth:`write` was called.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.metrics: tuple[Metric, ...] = ()
        self._done = 0
        self._profile = profile(activities=[ProfilerActivity.CPU])
        self._running = False

    def step(self) -> None:
        """A step has ended."""
        self._done += 1
        if self._done == WARMUP:
            self._profile.start()
            self._running = True
        elif self._done == WARMUP + self.steps:
            self.stop()

    def stop(self) -> None:
        """End the profile, if it runs."""
        if self._running:
            self._profile.stop()
            self._running = False

    def write(self, folder: Path) -> None:
        """Write the trace, for chrome://tracing or Perfetto, and the table."""
        self.stop()
        steps = min(self.steps, self._done - WARMUP)
        if steps < 1:
            raise KitError(
                f"the run stopped after {self._done} steps, profiling begins after {WARMUP}; stop it later, or leave --profile out"
            )
        (folder / TRACE).parent.mkdir(parents=True, exist_ok=True)
        self._profile.export_chrome_trace(str(folder / TRACE))
        events = self._profile.key_averages()
        parts = sorted(
            ((e.key.removeprefix(PREFIX), e.cpu_time_total / 1000 / steps) for e in events if e.key.startswith(PREFIX)),
            key=lambda part: -part[1],
        )
        whole = sum(ms for _, ms in parts)
        lines = [f"{name:<28}{ms:>10.3f} ms a step{ms / whole:>8.1%}" for name, ms in parts]
        table = "\n".join(
            [f"{steps} steps after {WARMUP}", *lines, "", events.table(sort_by="self_cpu_time_total", row_limit=25)]
        )
        write_atomic(folder / TABLE, table + "\n")
        self.metrics = tuple(
            Metric(
                name=f"step: {name}", value=ms, unit="ms", split="train", selection=f"mean of {steps} profiled steps"
            )
            for name, ms in parts
        )
