"""What a notebook shows while it works: one output, updated in place, that stays when the notebook is saved.

An updated display leaves exactly one output behind, needs no widget and no network, and survives papermill and
nbconvert. The runner follows along through a file named by DLRM_PROGRESS_FILE.
"""

import html
import os
import time
from collections.abc import Sequence
from pathlib import Path

from IPython.display import HTML, DisplayHandle, display

from dlrm_core.train.loop import TrainEvent
from reports.html import markup
from reports.html.document import figure as framed
from reports.html.drawing import Drawing
from reports.html.svg import drawing

SECONDS_BETWEEN_UPDATES = 0.5
WIDTH, HEIGHT, MARGIN = 560, 200, 36
MOST_ROWS = 25


class Bar:
    """A progress bar; a :data:`dlrm_core.schema.progress.Progress`."""

    def __init__(self) -> None:
        self._handle = _handle()
        self._last = 0.0
        self._finished: dict[str, int] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show how far `what` is."""
        self._finished[what] = done
        if done < total and time.monotonic() - self._last < SECONDS_BETWEEN_UPDATES:
            return
        self._last = time.monotonic()
        _tell(f"{what}: {done:,}" + (f" of {total:,}" if total else ""))
        self._handle.update(HTML(_bar(what, done, total)))

    def finish(self, text: str) -> None:
        """Leave a last line in place of the bar."""
        self._handle.update(HTML(f"<p>{html.escape(text)}</p>"))


class LossCurve:
    """The training loss as it falls, with the validation log loss; a training listener."""

    def __init__(self) -> None:
        self._handle = _handle()
        self._last = 0.0
        self._loss: list[tuple[float, float]] = []
        self._validation: list[tuple[float, float]] = []

    def __call__(self, event: TrainEvent) -> None:
        """Add the event's point, and redraw at most twice a second and at the end."""
        if self._loss and event.step < self._loss[-1][0]:
            self._loss, self._validation = [], []
        if event.log_loss is None:
            self._loss.append((event.step, event.loss))
        else:
            self._validation.append((event.step, event.log_loss))
        if event.step == event.steps or time.monotonic() - self._last > SECONDS_BETWEEN_UPDATES:
            self._last = time.monotonic()
            _tell(
                f"{event.phase}: step {event.step} of {event.steps}, loss {event.loss:.4f}, {event.seconds_left:.0f} s left"
            )
            self._handle.update(HTML(self._page(event)))

    def _page(self, event: TrainEvent) -> str:
        line = (
            f"{event.phase}: step {event.step} of {event.steps}, training loss {event.loss:.4f}, "
            f"{event.samples_per_s:,.0f} rows/s, {event.seconds_left:.0f} s left"
        )
        numbers = self._numbers() if event.step == event.steps else ""
        return f"<div>{_bar(line, event.step, event.steps)}{_svg(self._loss, self._validation, event.steps)}{numbers}</div>"

    def _numbers(self) -> str:
        """Some points of the curves as a table, the first and the last among them."""
        rows: list[list[object]] = []
        for name, points in (("training loss", self._loss), ("held-back log loss", self._validation)):
            every = max(1, len(points) // MOST_ROWS)
            kept = [*points[:-1][::every], *points[-1:]]
            rows += [[name, f"{step:.0f}", f"{value:.5f}"] for step, value in kept]
        made = table(["curve", "step", "log loss [nat]"], rows, caption="Some points of the curves")
        return f"<details><summary>Numbers of the curve</summary>{made.data}</details>"


def figure(made: Drawing, *, number: int) -> HTML:
    """A drawing of the report with its caption and a table of its numbers, readable in light and dark, in Lab and in HTML."""
    with drawing():
        return HTML(framed(made, number))


def table(header: Sequence[str], rows: Sequence[Sequence[object]], *, caption: str) -> HTML:
    """Rows as the report shows them, with header cells, a caption, and the same as CSV and JSON."""
    return HTML(markup.table(header, rows, caption))


def _handle() -> DisplayHandle:
    handle = display(HTML("<p>starting</p>"), display_id=True)
    assert handle is not None
    return handle


def _tell(line: str) -> None:
    target = os.environ.get("DLRM_PROGRESS_FILE")
    if target:
        Path(target).write_text(line + "\n")


def _bar(text: str, done: int, total: int) -> str:
    label = html.escape(text)
    value = f'value="{done}" max="{total}"' if total else ""
    count = "" if "step" in text else f" {done:,}" + (f" of {total:,}" if total else "")
    return f'<p><progress aria-label="{label}" {value} style="width:20em"></progress> {label}{count}</p>'


def _svg(loss: list[tuple[float, float]], validation: list[tuple[float, float]], steps: int) -> str:
    values = [y for _, y in loss + validation]
    if not values:
        return ""
    low, high = min(values), max(values)
    span = high - low or 1.0

    def place(point: tuple[float, float]) -> str:
        x = MARGIN + (WIDTH - 2 * MARGIN) * point[0] / steps
        y = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (point[1] - low) / span
        return f"{x:.1f},{y:.1f}"

    dots = "".join(
        '<circle r="4" fill="#D55E00" cx="{}" cy="{}"/>'.format(*place(point).split(",")) for point in validation
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" style="max-width:100%" '
        f'aria-label="Training loss by step, last {loss[-1][1]:.4f} nat">'
        f'<polyline fill="none" stroke="#0072B2" stroke-width="2" points="{" ".join(map(place, loss))}"/>{dots}'
        f'<g fill="currentColor" font-size="12"><text x="{MARGIN}" y="14">{high:.4f} nat</text>'
        f'<text x="{MARGIN}" y="{HEIGHT - MARGIN + 14}">{low:.4f} nat</text>'
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 6}" text-anchor="end">step {steps}</text>'
        f'<text x="{MARGIN + 110}" y="14" fill="#0072B2">— training loss</text>'
        f'<text x="{MARGIN + 230}" y="14" fill="#D55E00">● validation log loss</text></g></svg>'
    )
