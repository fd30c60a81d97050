"""Progress of long work as text lines on standard error, a few a minute."""

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlrm_core.train.loop import TrainEvent

SECONDS_BETWEEN_LINES = 2.0


class ConsoleProgress:
    """A :data:`dlrm_core.schema.progress.Progress` and a training listener that write throttled lines."""

    def __init__(self, seconds_between_lines: float = SECONDS_BETWEEN_LINES) -> None:
        self._pause = seconds_between_lines
        self._last_line = 0.0
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say how far `what` is; the first and the last call for each `what` always write."""
        if what != self._what or done == total or self._due():
            self._what = what
            share = f" of {total:,} ({done / total:.0%})" if total else ""
            self._write(f"{what}: {done:,}{share}")

    def train_event(self, event: "TrainEvent") -> None:
        """Say where training is, in the shape of the published log."""
        if event.auc is not None:
            self._write(
                f"{event.phase}: [{event.step}/{event.steps}]  validation AUC {event.auc:.6f}, log loss {event.log_loss:.6f}"
            )
        elif event.step == event.steps or self._due():
            self._write(
                f"{event.phase}: [{event.step}/{event.steps}]  eta: {event.seconds_left:.0f} s  loss: {event.loss:.4f}  "
                f"lr: {event.learning_rate:.4f}  {event.samples_per_s:,.0f} rows/s"
            )

    def _due(self) -> bool:
        return time.monotonic() - self._last_line >= self._pause

    def _write(self, line: str) -> None:
        self._last_line = time.monotonic()
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
