"""What the figures share: one look for each model, the numbers behind a curve, and the figure with its words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from dlrm_core.schema.record import Series
from reports.read.grouping import Group, Model

# Okabe and Ito's colours in an order of falling contrast with white; black and yellow would vanish on one of the two papers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P")
WIDTH = 4.8  # inches: narrow, so that the letters can be read on a phone
MAX_CURVES = 8
TABLE_POINTS = 25
MAX_LETTERS = 48


@dataclass(frozen=True)
class Drawing:
    """A figure with its caption, its alternative text, and a table of what it plots."""

    figure: Figure
    caption: str
    alt: str
    head: tuple[str, ...]
    rows: list[list[str]]


@dataclass(frozen=True)
class Look:
    """Colour, line and marker: each alone tells models apart."""

    colour: str
    line: str
    marker: str


def look(number: int) -> Look:
    """The look of the n-th thing in a figure."""
    turn = number + number // len(COLOURS)  # so that no two of the first 24 share both
    return Look(COLOURS[number % len(COLOURS)], LINES[turn % len(LINES)], MARKERS[turn % len(MARKERS)])


def looks(group: Group) -> dict[str, Look]:
    """A look for each model by name, the same in every figure; the seeds of a variant share theirs."""
    families: list[tuple[Model, ...]] = [variant.all_runs for variant in group.variants]
    families += [(baseline,) for baseline in group.baselines]
    return {model.name: look(number) for number, family in enumerate(families) for model in family}


def find_series(model: Model, name: str, split: str) -> Series | None:
    """The series of that name and split, if the record has one with points in it."""
    return next((s for s in model.entry.record.series if s.name == name and s.split == split and s.x), None)


def having(models: Sequence[Model], name: str, split: str) -> list[tuple[Model, Series]]:
    """The models that have a series, with it."""
    return [(m, series) for m, series in ((m, find_series(m, name, split)) for m in models) if series is not None]


def thinned(label: str, series: Series, digits: int = 5) -> list[list[str]]:
    """Rows of a table: the label, x (with `digits` decimals) and y of some points, the first and the last among them."""
    keep = np.unique(np.linspace(0, len(series.x) - 1, TABLE_POINTS).round().astype(int))
    return [[label, f"{series.x[i]:.{digits}f}", f"{series.y[i]:.5f}"] for i in keep]


def shortened(name: str) -> str:
    """A name that fits into a figure: whole parts between commas, the first ones and the last, where the seed stands.

    >>> shortened("DLRM, preset tiny, epochs=24, standardize=true, schedule.decay_steps=396, seed 3")
    'DLRM, preset tiny, epochs=24, …, seed 3'
    """
    parts = name.split(", ")
    kept = len(parts) - 1
    while len(name) > MAX_LETTERS and kept > 1:
        kept -= 1
        name = ", ".join([*parts[:kept], "…", parts[-1]])
    return name


def panels(rows: int, height: float, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure with panels one below the other."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False, **shared)
    return figure, list(axes[:, 0])


def legend_below(figure: Figure, axes: Axes) -> None:
    """A legend outside the axes, one entry a line, where long names hide nothing."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=1)


def plain_ticks(axis: Axis) -> None:
    """Tick labels as :func:`short` writes them, on logarithmic axes too, whose own labels would be formulae."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    if axis.get_scale() == "log":
        low, high = axis.get_view_interval()
        few = high / low < 30  # less than one and a half decades: powers of ten alone would leave one tick or none
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
        axis.set_minor_formatter(NullFormatter())


def log_axes(axes: Axes, *, y: bool = True) -> None:
    """Logarithmic scales, of x and, unless `y` is false, of y, with plain tick labels."""
    axes.set_xscale("log")
    plain_ticks(axes.xaxis)
    if y:
        axes.set_yscale("log")
        plain_ticks(axes.yaxis)


def short(value: float) -> str:
    """A number with k, M, G or T.

    >>> short(57609.6), short(14796024), short(923.2)
    ('57.6k', '14.8M', '923')
    """
    for limit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:.3g}"
