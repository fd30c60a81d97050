"""The figures of a data set: AUC beside the optimum, how training went, ROC, calibration. No pyplot, no global state."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dlrm_core.schema.record import Series
from reports.html.drawing import (
    MAX_CURVES,
    Drawing,
    Look,
    find_series,
    having,
    legend_below,
    look,
    looks,
    panels,
    shortened,
    thinned,
)
from reports.html.svg import INK
from reports.read.grouping import Group, Model
from reports.stats.statistics import auc_interval


def drawings(group: Group) -> list[Drawing]:
    """Every figure that the records of a data set have numbers for."""
    made = (_auc_dots(group), _learning(group), _roc(group), _calibration(group))
    return [drawing for drawing in made if drawing is not None]


def _auc_dots(group: Group) -> Drawing | None:
    models, best = group.models, group.optimum
    if not models:
        return None
    figure, (axes,) = panels(1, 0.7 + 0.45 * len(models))
    looked = looks(group)
    rows = [_dot(axes, -y, model, looked[model.name]) for y, model in enumerate(models)]
    if best is not None:
        axes.axvline(best.best_auc, color=INK, linestyle="--", linewidth=1.2)
        rows.append(["optimum of the planted data", f"{best.best_auc:.5f}", "", ""])
    axes.margins(x=0.08)
    axes.set(xlabel="test AUC", ylim=(0.6 - len(models), 0.75), yticks=[])
    axes.spines["left"].set_visible(False)
    dashed = " The dashed line is the best attainable AUC." if best else ""
    return Drawing(
        figure,
        f"Test AUC of each model; the bar is the 95 % interval for the choice of test rows (DeLong).{dashed}",
        f"Test AUC by model: {_values(models)}" + (f"; optimum {best.best_auc:.5f}." if best else "."),
        ("model", "AUC", "low", "high"),
        rows,
    )


def _dot(axes: Axes, y: float, model: Model, style: Look) -> list[str]:
    value = model.auc.value
    axes.plot([value], [y], style.marker, color=style.colour, markersize=7)
    label = f"{shortened(model.name)}: {value:.5f}"
    axes.text(0.0, y + 0.22, label, transform=axes.get_yaxis_transform(), fontsize=9, va="bottom")
    if model.predictions is None:
        return [model.name, f"{value:.5f}", "", ""]
    interval = auc_interval(model.predictions)
    axes.plot([interval.low, interval.high], [y, y], color=style.colour, linewidth=3, solid_capstyle="butt")
    return [model.name, f"{value:.5f}", f"{interval.low:.5f}", f"{interval.high:.5f}"]


def _learning(group: Group) -> Drawing | None:
    everything = [run for variant in group.variants for run in variant.all_runs]
    runs = [run for run, _ in having(everything, "training_loss", "train")][:MAX_CURVES]
    if not runs:
        return None
    has_auc = bool(having(runs, "auc_by_step", "validation"))
    figure, axes = panels(1 + has_auc, (5.2 if has_auc else 3.2) + 0.35 * len(runs), sharex=True)
    rows = [row for number, run in enumerate(runs) for row in _learning_curves(axes, run, look(number))]
    axes[0].set(ylabel="log loss [nat]")
    axes[-1].set(xlabel="step")
    axes[-1].xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if has_auc:
        axes[1].set(ylabel="ROC AUC")
    legend_below(figure, axes[0])
    return Drawing(
        figure,
        "How training went: log loss of the training batches (line), log loss and AUC of held-back rows (markers)."
        + _more(len(everything) - len(runs)),
        "Training and held-back scores by step. " + " ".join(_from_to(run) for run in runs),
        ("curve", "step", "value"),
        rows,
    )


def _learning_curves(axes: Sequence[Axes], run: Model, style: Look) -> list[list[str]]:
    rows = []
    for name, split, panel, label in (
        ("training_loss", "train", axes[0], f"training: {run.name}"),
        ("log_loss_by_step", "validation", axes[0], f"held back: {run.name}"),
        ("auc_by_step", "validation", axes[-1], f"held back, AUC: {run.name}"),
    ):
        series = find_series(run, name, split)
        if series is not None and split == "train":
            panel.plot(series.x, series.y, color=style.colour, label=shortened(label), linewidth=1.0)
        elif series is not None:
            panel.plot(series.x, series.y, "--", color=style.colour, label=shortened(label), marker=style.marker)
        rows += thinned(label, series, digits=0) if series is not None else []
    return rows


def _roc(group: Group) -> Drawing | None:
    found, note = _one_each(group, "roc")
    if not found:
        return None
    figure, rows = _curves(found, looks(group), marked=False)
    return Drawing(
        figure,
        f"ROC curves on the test rows; the dotted diagonal is chance.{note}",
        f"ROC curves on the test rows. Area under the curve: {_values([model for model, _ in found])}.",
        ("model", "false positive rate", "true positive rate"),
        rows,
    )


def _calibration(group: Group) -> Drawing | None:
    found, note = _one_each(group, "calibration")
    if not found:
        return None
    figure, rows = _curves(found, looks(group), marked=True)
    return Drawing(
        figure,
        "Calibration on the test rows, in groups of equal size by rising prediction; on the dotted diagonal, predicted and "
        f"observed click rates agree.{note}",
        "Observed click rate against mean predicted probability. " + " ".join(_off(*each) for each in found),
        ("model", "mean predicted probability", "observed click rate"),
        rows,
    )


def _curves(
    found: Sequence[tuple[Model, Series]], looked: dict[str, Look], *, marked: bool
) -> tuple[Figure, list[list[str]]]:
    figure, (axes,) = panels(1, 4.3 + 0.2 * len(found))
    rows: list[list[str]] = []
    for model, series in found:
        style = looked[model.name]
        marker, size = (style.marker, 4.5) if marked else ("", 0.0)
        axes.plot(
            series.x,
            series.y,
            style.line,
            color=style.colour,
            marker=marker,
            markersize=size,
            label=shortened(model.name),
        )
        axes.set(xlabel=series.x_label, ylabel=series.y_label)
        rows += thinned(model.name, series)
    end = 1.02 * max(max(*series.x, *series.y) for _, series in found)
    axes.axline((0, 0), slope=1, color=INK, linestyle=":", linewidth=1.0)
    axes.set(xlim=(0, end), ylim=(0, end), aspect="equal")
    legend_below(figure, axes)
    return figure, rows


def _one_each(group: Group, name: str) -> tuple[list[tuple[Model, Series]], str]:
    """A test series of the first seed of each variant and of each baseline, and a note on what is left out."""
    found = having([variant.runs[0] for variant in group.variants] + list(group.baselines), name, "test")
    several = any(len(variant.all_runs) > 1 for variant in group.variants)
    note = " Of several seeds the lowest is drawn." if several else ""
    return found[:MAX_CURVES], note + _more(len(found) - MAX_CURVES)


def _more(left_out: int) -> str:
    return f" Not drawn, to keep the figure readable: {left_out} more." if left_out > 0 else ""


def _values(models: Sequence[Model]) -> str:
    return ", ".join(f"{model.name} {model.auc.value:.5f}" for model in models)


def _from_to(run: Model) -> str:
    series = find_series(run, "training_loss", "train")
    assert series is not None, "only runs with a training loss are drawn"
    return f"{run.name}: training loss from {series.y[0]:.4f} to {series.y[-1]:.4f} nat by step {series.x[-1]:g}."


def _off(model: Model, series: Series) -> str:
    distance = max(abs(x - y) for x, y in zip(series.x, series.y, strict=True))
    return f"{model.name}: largest distance from the diagonal {distance:.4f}."
