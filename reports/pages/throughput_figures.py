"""Speed drawn: beside other implementations and their limits, beside the published tables, and latency against throughput."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.html.drawing import Drawing, Look, legend_below, look, panels, plain_ticks, short
from reports.html.svg import INK

OURS, THEIRS = look(0), look(1)


@dataclass(frozen=True)
class Bar:
    """One speed [samples/s]; `low` and `high` are the range of its rounds, and `text` its digits as printed, if it has them."""

    name: str
    value: float
    ours: bool
    low: float | None = None
    high: float | None = None
    text: str = ""


@dataclass(frozen=True)
class Curve:
    """Throughput [samples/s] and latency [ms] by batch size."""

    name: str
    ours: bool
    batch_sizes: tuple[int, ...]
    throughput: tuple[float, ...]
    latency_ms: tuple[float, ...]


def speed_bars(bars: Sequence[Bar], limits: Mapping[str, float], what: str, *, logarithmic: bool = False) -> Drawing:
    """Horizontal bars, ours in another colour and hatch, with the limits of the same run as dashed lines."""
    figure, (axes,) = panels(1, 1.1 + 0.46 * len(bars))
    for number, bar in enumerate(bars):
        style = OURS if bar.ours else THEIRS
        hatch = "" if bar.ours else "//"
        axes.barh(
            -number, bar.value, height=0.42, color=style.colour, alpha=0.85, hatch=hatch, edgecolor=INK, linewidth=0
        )
        if bar.low is not None and bar.high is not None:
            axes.plot([bar.low, bar.high], [-number, -number], color=INK, linewidth=1.2)
        axes.text(
            0,
            -number + 0.25,
            f"{bar.name}: {short(bar.value)}",
            transform=axes.get_yaxis_transform(),
            fontsize=8.5,
            va="bottom",
        )
    for name, value in limits.items():
        axes.axvline(value, color=INK, linestyle="--", linewidth=1, alpha=0.45, zorder=0)
        axes.text(
            *(value, 1.0, f" {name}"),
            transform=axes.get_xaxis_transform(),
            fontsize=8,
            ha="right",
            va="bottom",
            rotation=0,
        )
    if logarithmic:  # from a power of ten on, since such bars have no zero
        axes.set(xscale="log", xlim=(10 ** math.floor(math.log10(min(bar.value for bar in bars)) - 0.1), None))
    axes.set(yticks=[], ylim=(-len(bars) + 0.55, 0.75), xlabel="samples/s")
    axes.spines["left"].set_visible(False)
    plain_ticks(axes.xaxis)
    if not logarithmic:
        axes.locator_params(axis="x", nbins=5)
    lines = f" Dashed: {', '.join(limits)}." if limits else ""
    ranges = " A thin line is the range of the rounds." if any(bar.low is not None for bar in bars) else ""
    rows = [
        [
            bar.name,
            bar.text or f"{bar.value:.0f}",
            *(f"{end:.0f}" if end is not None else "" for end in (bar.low, bar.high)),
        ]
        for bar in bars
    ]
    return Drawing(
        figure,
        f"{what}. Plain bars are ours, hatched ones others'.{lines}{ranges}",
        f"{what}: " + ", ".join(f"{bar.name} {short(bar.value)} samples/s" for bar in bars) + ".",
        ("implementation", "samples/s", "low", "high"),
        rows + [[f"limit: {name}", f"{value:.0f}", "", ""] for name, value in limits.items()],
    )


def part_marks(speeds: Mapping[str, Mapping[str, float]], what: str) -> Drawing:
    """One line a case, and on it a mark for each of its parts [samples/s]."""
    figure, (axes,) = panels(1, 1.6 + 0.42 * len(speeds))
    for number, (case, parts) in enumerate(speeds.items()):
        axes.plot([min(parts.values()), max(parts.values())], [-number, -number], color=INK, alpha=0.3, linewidth=1)
        axes.text(0, -number + 0.14, case, transform=axes.get_yaxis_transform(), fontsize=8.5, va="bottom")
        for place, (part, value) in enumerate(parts.items()):
            style = look(place)
            label = part if number == 0 else None
            axes.plot([value], [-number], style.marker, color=style.colour, markersize=7, alpha=0.8, label=label)
    axes.set(xscale="log", yticks=[], ylim=(-len(speeds) + 0.5, 0.8), xlabel="samples/s")
    axes.spines["left"].set_visible(False)
    plain_ticks(axes.xaxis)
    legend_below(figure, axes)
    spoken = "; ".join(
        f"{case}: " + ", ".join(f"{part} {short(value)}" for part, value in parts.items())
        for case, parts in speeds.items()
    )
    return Drawing(
        figure,
        f"{what}. The further left of compute and loader is what holds the whole back.",
        f"{what}, in samples a second. {spoken}.",
        ("case", "part", "samples/s"),
        [[case, part, f"{value:.0f}"] for case, parts in speeds.items() for part, value in parts.items()],
    )


def latency_against_throughput(curves: Sequence[Curve], what: str) -> Drawing:
    """Both on logarithmic scales, a marker for every batch size."""
    figure, (axes,) = panels(1, 4.2 + 0.2 * len(curves))
    rows = []
    for number, curve in enumerate(curves):
        style = look(number)
        axes.plot(
            curve.throughput,
            curve.latency_ms,
            style.line,
            color=style.colour,
            marker=style.marker,
            markersize=7 if curve.ours else 4,
            label=curve.name,
        )
        rows += [
            [curve.name, str(batch), f"{rate:.0f}", f"{latency:.3f}"]
            for batch, rate, latency in zip(curve.batch_sizes, curve.throughput, curve.latency_ms, strict=True)
        ]
    axes.set(xscale="log", yscale="log", xlabel="throughput [samples/s]", ylabel="latency of a batch [ms]")
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)
    legend_below(figure, axes)
    spoken = "; ".join(
        f"{c.name}: {c.latency_ms[0]:.3g} ms at batch {c.batch_sizes[0]} to {c.latency_ms[-1]:.3g} ms at {c.batch_sizes[-1]}"
        for c in curves
    )
    return Drawing(
        figure,
        f"{what}; right and below is better. One marker a batch size, large ones are ours.",
        f"Latency against throughput: {spoken}.",
        ("curve", "batch size", "samples/s", "latency [ms]"),
        rows,
    )


@dataclass(frozen=True)
class Point:
    """A training step on the roofline: operations a byte, and operations a second."""

    name: str
    intensity: float
    flop_per_s: float


def roofline(points: Sequence[Point], bytes_per_s: float, peaks: Mapping[str, float], what: str) -> Drawing:
    """The roofs of memory and of matrix products, measured in the same run, and each step below them."""
    figure, (axes,) = panels(1, 4.0 + 0.2 * len(points))
    top = max(peaks.values())
    left = min(min(p.intensity for p in points), top / bytes_per_s) / 4
    right = max(max(p.intensity for p in points), top / bytes_per_s) * 4
    for name, peak in peaks.items():
        ridge = peak / bytes_per_s
        axes.plot([ridge, right], [peak, peak], color=INK, linewidth=1.2)
        axes.text(right, peak * 1.08, f"{name} {peak / 1e9:.0f} GFLOP/s", fontsize=8, ha="right")
    axes.plot([left, top / bytes_per_s], [left * bytes_per_s, top], color=INK, linewidth=1.2)
    axes.text(left * 1.1, left * bytes_per_s * 1.6, f"copy {bytes_per_s / 1e9:.0f} GB/s", fontsize=8)
    for number, point in enumerate(points):
        style = look(number)
        axes.plot(
            [point.intensity], [point.flop_per_s], style.marker, color=style.colour, label=point.name, markersize=8
        )
    axes.set(xscale="log", yscale="log", xlabel="FLOP a byte of compulsory traffic", ylabel="FLOP/s")
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)
    legend_below(figure, axes)
    rows = [[p.name, f"{p.intensity:.2f}", f"{p.flop_per_s / 1e9:.2f}"] for p in points]
    rows += [["roof: memory copy [GB/s]", "", f"{bytes_per_s / 1e9:.2f}"]]
    rows += [[f"roof: {name}", "", f"{peak / 1e9:.2f}"] for name, peak in peaks.items()]
    return Drawing(
        figure,
        f"Roofline, {what}: no step can lie above the sloped roof (memory) or the level one of its precision (matrix products).",
        "Roofline. "
        + "; ".join(f"{p.name}: {p.flop_per_s / 1e9:.0f} GFLOP/s at {p.intensity:.1f} FLOP a byte" for p in points)
        + ".",
        ("step", "FLOP a byte", "GFLOP/s"),
        rows,
    )


def step_times(times_ms: Mapping[str, Sequence[float]], what: str) -> Drawing:
    """How single steps spread: the share of steps that took at most so long."""
    figure, (axes,) = panels(1, 3.4 + 0.2 * len(times_ms))
    rows = []
    for number, (name, values) in enumerate(times_ms.items()):
        style: Look = look(number)
        ordered = sorted(values)
        share = [(i + 1) / len(ordered) for i in range(len(ordered))]
        axes.step(ordered, share, style.line, where="post", color=style.colour, label=f"{name} (n = {len(ordered)})")
        rows += [[name, f"{value:.3f}"] for value in ordered]
    axes.set(xscale="log", xlabel="step [ms]", ylabel="share of the steps", ylim=(0, 1.02))
    plain_ticks(axes.xaxis)
    legend_below(figure, axes)
    spoken = "; ".join(
        f"{name}: median {sorted(v)[len(v) // 2]:.3g} ms, longest {max(v):.3g} ms" for name, v in times_ms.items()
    )
    return Drawing(
        figure,
        f"Step times, {what}: the share of steps that took no longer.",
        f"Distribution of step times. {spoken}.",
        ("case", "step [ms]"),
        rows,
    )
