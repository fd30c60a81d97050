"""A comparison of two runs as plain text: the answer first, then aligned tables no wider than a terminal of 120 columns."""

import textwrap
from collections.abc import Sequence

from dlrm_core.schema.record import RunRecord
from reports.compare.runs import Factor, MetricChange, RunComparison, leaves
from reports.html.markup import listing
from reports.read.collect import MODEL_COMMANDS

WIDTH = 120
GAP = "  "
SHORT = 60  # letters of a value in a sentence
NAMES = 5  # factors that a sentence names; a table has them all


def text(comparison: RunComparison) -> str:
    """The whole comparison, lines of at most 120 letters; the first sentence is the answer."""
    c = comparison
    blocks = [
        _wrap(" ".join([*_states(c), answer(c)])),
        [*_wrap(f"A: {c.a.folder} ({c.a.record.name})"), *_wrap(f"B: {c.b.folder} ({c.b.record.name})")],
        _factor_lines("factor", c.factors),
        _factor_lines("choice", c.choices),
        _metric_lines(c.metrics),
        _paired_lines(c),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def answer(comparison: RunComparison) -> str:
    """What differs, and what the metrics can be put down to, in one sentence."""
    causes = comparison.causes
    if not causes:
        return _same(comparison)
    if len(causes) > 1:
        names = _first([factor.name for factor in causes])
        return (
            f"{len(causes)} factors differ ({names}), so that what each of them did to the metrics cannot be told apart"
            f"{_effect(comparison)}."
        )
    only = causes[0]
    a, b = (textwrap.shorten(value, SHORT, placeholder=" ...") for value in (only.a, only.b))
    change = f"{only.name} ({a} in A, {b} in B)"
    if only.name.rpartition(".")[2] == "seed" or only.name.startswith("seeds."):
        return f"Only the seed differs, {change}: what changed is one sample of the noise between seeds{_effect(comparison)}."
    return (
        f"Only {change} differs, so that what changed can be put down to it, as far as n = 1 run a side tells: how much a "
        f"seed or a repeat changes by itself is not known from two runs{_effect(comparison)}."
    )


def _same(comparison: RunComparison) -> str:
    changed = [f"{m.name} of {m.split}" for m in comparison.changed_scores]
    if changed:
        verb = "do" if len(changed) > 1 else "does"
        return f"No recorded factor differs, but {_first(changed)} {verb}: {_why(comparison.a.record)}."
    both = any(m.difference is not None and not m.is_measured for m in comparison.metrics)
    return f"No factor differs, and {'every score is the same' if both else 'there is no score that both have'}."


def _first(names: Sequence[str]) -> str:
    more = [f"{len(names) - NAMES} more"] if len(names) > NAMES else []
    return listing([*names[:NAMES], *more])


def _why(record: RunRecord) -> str:
    if record.command not in MODEL_COMMANDS:
        return "such figures are measured, and vary from run to run"
    if leaves(record.config).get("train.deterministic") is False:
        return "train.deterministic is false, so that repeats may differ"
    return "the run is not repeatable, or something that is not recorded differs"


def _effect(comparison: RunComparison) -> str:
    """The paired differences, for the end of the sentence; else the plain ones of the test part."""
    if comparison.paired:
        return "; on the test rows " + listing(
            [f"{p.name} changed by {p.difference.value:+.5f} ({p.verdict})" for p in comparison.paired]
        )
    scores = [m for m in comparison.metrics if m.split == "test" and m.name in ("auc", "log_loss")]
    changed = [f"{m.name} changed by {m.difference:+.5f}" for m in scores if m.difference is not None]
    return f"; on the test part {listing(changed)}" if changed else ""


def _states(comparison: RunComparison) -> list[str]:
    found = []
    for side, entry in comparison.unfinished:
        state = {"failed": "failed", "running": "has not finished: it was killed, or it runs at this moment"}
        reason = f": {entry.record.reason}" if entry.record.reason else ""
        found.append(f"{side} {state[entry.record.status]}{reason}.")
    return [*found, "Compared as far as the records go:"] if found else []


def _factor_lines(what: str, factors: Sequence[Factor]) -> list[str]:
    rows = [[f.name if f.counts else f"({f.name})", f.a, f.b] for f in factors]
    if not rows:
        return [f"no {what} differs"]
    lines = _table([what, "A", "B"], rows)
    if any(not factor.counts for factor in factors):
        lines.append("(in brackets: changes nothing by itself, or follows from something else)")
    return lines


def _metric_lines(metrics: Sequence[MetricChange]) -> list[str]:
    both = [m for m in metrics if m.difference is not None]
    alone = [m for m in metrics if m.difference is None]
    lines = []
    if both:
        rows = [[m.name, m.split, m.unit, *_values(m)] for m in both]
        lines += _table(["metric", "split", "unit", "A", "B", "B - A", "B / A"], rows, right=4)
    for side in ("A", "B"):
        names = [f"{m.name} of {m.split}" for m in alone if (m.a if side == "A" else m.b) is not None]
        if names:
            lines += _wrap(f"only in {side}: {', '.join(names)}")
    return lines or ["neither run has a metric"]


def _values(metric: MetricChange) -> list[str]:
    values = [f"{metric.a:,.6g}", f"{metric.b:,.6g}", f"{metric.difference:+,.6g}"]
    return [*values, "" if metric.ratio is None else f"{metric.ratio:.3f}"]


def _paired_lines(comparison: RunComparison) -> list[str]:
    if comparison.unpaired:
        return _wrap(f"no interval of a difference on the same test rows: {comparison.unpaired}")
    rows = []
    for pair in comparison.paired:
        d = pair.difference
        rows.append([pair.name, f"{d.value:+.6f}", f"{d.low:+.6f} to {d.high:+.6f}", pair.verdict])
    return _table(["on the same test rows", "B - A", "95 % interval", "verdict"], rows)


def _wrap(words: str, width: int = WIDTH) -> list[str]:
    return textwrap.wrap(words, width, break_on_hyphens=False) or [""]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: int = 0) -> list[str]:
    """Aligned columns, the last `right` of them to the right; what is too long goes on in the next line of its column."""
    widths = _widths([head, *rows])
    lines = []
    for row in [head, *rows]:
        cells = [_wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
        for line in range(max(map(len, cells))):
            parts = [cell[line] if line < len(cell) else "" for cell in cells]
            padded = [
                part.rjust(width) if column >= len(head) - right else part.ljust(width)
                for column, (part, width) in enumerate(zip(parts, widths, strict=True))
            ]
            lines.append(GAP.join(padded).rstrip())
    return lines


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Each column as wide as its longest cell; the widest gives way until the whole fits."""
    widths = [max(1, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    while sum(widths) + len(GAP) * (len(widths) - 1) > WIDTH:
        widths[widths.index(max(widths))] -= 1
    return widths
