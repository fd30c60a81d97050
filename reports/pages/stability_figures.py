"""How scores spread over the seeds, and what the precision changes, drawn."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from scipy.stats import gaussian_kde

from reports.html.drawing import Drawing, look, panels
from reports.html.svg import INK
from reports.stats.equivalence import Equivalence

MIN_FOR_DENSITY = 5
POINTS = 200


def seed_histogram(scores: Mapping[str, Sequence[float]], what: str) -> Drawing:
    """One panel a set of runs, on a common scale: histogram, kernel density (Scott's rule) and a tick for every seed.

    Parameters
    ----------
    scores : mapping
        AUCs by what the runs are called, at least one each.
    what : str
        Whose runs these are, for the words.
    """
    figure, axes = panels(len(scores), 0.9 + 1.45 * len(scores), sharex=True, sharey=True)
    everything = np.concatenate([np.asarray(values) for values in scores.values()])
    edges = np.histogram_bin_edges(everything, bins="fd" if np.ptp(everything) else 1)
    rows = []
    for number, (name, values) in enumerate(scores.items()):
        _histogram(axes[number], np.asarray(values), edges, look(number).colour)
        axes[number].set_title(f"{name}: {len(values)} seeds, mean {np.mean(values):.6f}", loc="left")
        rows += [[name, f"{value:.6f}"] for value in values]
    axes[-1].set(xlabel="test AUC")
    axes[-1].ticklabel_format(axis="x", useOffset=False)
    axes[-1].locator_params(axis="x", nbins=5)
    for panel in axes:
        panel.set(ylabel="seeds")
    density = f" The line is the kernel density, from {MIN_FOR_DENSITY} seeds on." if len(everything) else ""
    return Drawing(
        figure,
        f"Test AUC over the seeds, {what}: bars count seeds, a tick below the axis is one seed.{density}",
        f"Histograms of the test AUC over the seeds, {what}. "
        + "; ".join(_in_words(*each) for each in scores.items())
        + ".",
        ("runs", "test AUC"),
        rows,
    )


def _histogram(axes: Axes, values: np.ndarray, edges: np.ndarray, colour: str) -> None:
    axes.hist(values, bins=list(edges), color=colour, alpha=0.35)
    axes.plot(
        values, np.full(len(values), -0.02), "|", color=colour, transform=axes.get_xaxis_transform(), clip_on=False
    )
    if len(values) >= MIN_FOR_DENSITY and np.ptp(values):
        reach = 3 * float(np.std(values))
        x = np.linspace(values.min() - reach, values.max() + reach, POINTS)
        axes.plot(x, gaussian_kde(values)(x) * len(values) * (edges[1] - edges[0]), color=colour)


def _in_words(name: str, values: Sequence[float]) -> str:
    return f"{name}: {len(values)} seeds, from {min(values):.6f} to {max(values):.6f}, mean {np.mean(values):.6f}"


def precision_impact(
    seeds: Mapping[str, Sequence[int]],
    differences: Mapping[str, Sequence[float]],
    tests: Mapping[str, Equivalence],
    what: str,
) -> Drawing:
    """Differences to the reference seed by seed, the mean with its 95 % interval, and the margin as a band.

    Parameters
    ----------
    seeds, differences : mapping
        By name of the precision.
    tests : mapping
        Of the same names.
    what : str
        Whose runs these are and what the differences are taken from, for the words.
    """
    figure, (axes,) = panels(1, 1.3 + 0.75 * len(differences))
    margin = max(test.margin for test in tests.values())
    axes.axvspan(-margin, margin, color=INK, alpha=0.07, linewidth=0)
    axes.axvline(0, color=INK, linewidth=1, linestyle=":")
    rows = []
    for number, (name, values) in enumerate(differences.items()):
        test, style = tests[name], look(number)
        axes.plot(
            values, np.full(len(values), -number - 0.16), style.marker, color=style.colour, alpha=0.55, markersize=4
        )
        axes.plot(test.interval, [-number, -number], color=style.colour, linewidth=3, solid_capstyle="butt", label=name)
        axes.plot([test.mean_difference], [-number], style.marker, color=style.colour, markersize=8)
        axes.text(0, -number + 0.12, name, transform=axes.get_yaxis_transform(), fontsize=9)
        rows += [[name, str(seed), f"{value:+.6f}"] for seed, value in zip(seeds[name], values, strict=True)]
    axes.set(yticks=[], ylim=(0.6 - len(differences), 0.75), xlabel="difference of the test AUC")
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)
    spoken = "; ".join(
        f"{name}: mean {t.mean_difference:+.6f}, 95 % interval {t.interval[0]:+.6f} to {t.interval[1]:+.6f}"
        for name, t in tests.items()
    )
    return Drawing(
        figure,
        f"What the precision changes, {what}: small marks are seeds, the large mark their mean, the bar its 95 % interval; "
        f"the grey band is the margin of ±{margin:g}.",
        f"Paired differences of the test AUC, {what}. {spoken}.",
        ("precision", "seed", "AUC difference"),
        rows,
    )
