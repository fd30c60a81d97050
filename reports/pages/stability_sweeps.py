"""What the records of `dlrm sweep` say: seeds by precision, and whether the precisions reach the same score."""

import statistics
from dataclasses import dataclass

from reports.dataset.scores import signed
from reports.html.document import figure
from reports.html.markup import Html, code, join, section, table, tag
from reports.pages.claim import Paired, claim_verdict, equivalence_table, minus, paired
from reports.pages.stability_figures import precision_impact, seed_histogram
from reports.read.collect import Entry
from reports.read.grouping import Group
from reports.stats.comparable import is_published_data
from reports.stats.equivalence import MARGINS, MIN_PAIRS, equivalence
from reports.stats.verdicts import mark

FAILED = "failed: "  # how a choice of the record begins that says why a run has no score


@dataclass(frozen=True)
class Sweep:
    """Test AUCs by precision and seed, the reference first; `missing` are runs without a score, with the reason."""

    entry: Entry
    scores: dict[str, dict[int, float]]
    missing: tuple[tuple[str, str], ...]

    @property
    def reference(self) -> str:
        """What the others are compared with."""
        return next(iter(self.scores))


def read_sweep(entry: Entry) -> Sweep:
    """What the record of a sweep holds; what was never asked for is not missing."""
    record = entry.record
    by_name = {series.name: series for series in record.series if series.split == "test"}
    scores = {}
    for mode in record.config["modes"]:
        series = by_name.get(f"auc, {mode}")
        scores[mode] = {int(x): y for x, y in zip(series.x, series.y, strict=True)} if series else {}
    failed = [(key.removeprefix(FAILED), why) for key, why in record.choices.items() if key.startswith(FAILED)]
    stopped = {
        "running": "not done: the record of the sweep says running, so that it was killed, or it runs at this moment",
        "failed": f"not done: the sweep failed, {record.reason}",
    }
    to_do = record.choices.get("still to do", "")
    left = [(name, stopped.get(record.status, "not done")) for name in to_do.split(", ") if name]
    return Sweep(entry, scores, (*failed, *left))


def sweep_section(sweep: Sweep, group: Group | None, first_figure: int) -> tuple[Html, int]:
    """The section of a sweep, and how many figures it has."""
    modes = [mode for mode in sweep.scores if mode != sweep.reference]
    drawn, tested = [], []
    having = {mode: list(found.values()) for mode, found in sweep.scores.items() if found}
    what = f"{sweep.entry.record.name}"
    if having:
        drawn.append(figure(seed_histogram(having, what), first_figure))
    common = {mode: paired(sweep.scores, mode) for mode in modes}
    enough = {mode: found for mode, found in common.items() if len(found[0]) >= MIN_PAIRS}
    if enough:
        differences = {mode: minus(own, of_reference) for mode, (_, of_reference, own) in enough.items()}
        tests = {mode: equivalence(of, own, MARGINS[0].value) for mode, (_, of, own) in enough.items()}
        seeds = {mode: found[0] for mode, found in enough.items()}
        words = f"{what}, each minus {sweep.reference}"
        drawn.append(figure(precision_impact(seeds, differences, tests, words), first_figure + len(drawn)))
        tested.append(
            equivalence_table([(mode, of, own) for mode, (_, of, own) in enough.items()], sweep.reference, ours=True)
        )
    else:
        tested.append(tag("p", f"Fewer than {MIN_PAIRS} seeds with two precisions: nothing is tested."))
    made = section(
        2, f"Ours: {what}", *_sentences(enough, sweep, group), *drawn, *tested, _scores_table(sweep), *_missing(sweep)
    )
    return made, len(drawn)


def _sentences(enough: dict[str, Paired], sweep: Sweep, group: Group | None) -> list[Html]:
    found = []
    for mode, (seeds, of_reference, own) in enough.items():
        tests = [equivalence(of_reference, own, margin.value) for margin in MARGINS]
        low, high = (signed(bound, 6) for bound in tests[0].interval)
        verdicts = join(
            [join([mark(claim_verdict(test)), f" at a margin of ±{test.margin:g}"], "") for test in tests], ", "
        )
        words = (
            f": “{mode} trains to the same accuracy as {sweep.reference}”, on this data set: mean difference "
            f"{signed(tests[0].mean_difference, 6)}, 95 % interval {low} to {high}, n = {len(seeds)}."
        )
        found.append(tag("p", join([verdicts, words], ""), class_="verdict-line"))
    if group is None or not is_published_data(group.spec, "small"):
        note = "The published AUCs are of other data, and NOT COMPARABLE with the scores below."
        found.append(tag("p", note))
    return [*found, tag("p", join(["Repeat with ", code(sweep.entry.record.repeat), "."], ""))]


def _scores_table(sweep: Sweep) -> Html:
    seeds = sorted(
        {seed for found in sweep.scores.values() for seed in found} | set(sweep.entry.record.config["seeds"])
    )
    gap = "–"
    rows = [[str(s), *(f"{found[s]:.6f}" if s in found else gap for found in sweep.scores.values())] for s in seeds]
    for name, function in (("mean", statistics.mean), ("standard deviation", statistics.stdev)):
        cells = [f"{function(found.values()):.6f}" if len(found) > 1 else "–" for found in sweep.scores.values()]
        rows.append([name, *cells])
    return table(["seed", *sweep.scores], rows, f"Test AUC by seed and precision, {sweep.entry.record.name}")


def _missing(sweep: Sweep) -> list[Html]:
    if not sweep.missing:
        return []
    return [table(["run", "why there is no score"], sweep.missing, "Runs of this sweep without a score")]
