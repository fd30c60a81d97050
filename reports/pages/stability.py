"""The page on stability: how far seeds spread, and whether a lower precision trains to the same score, published and ours."""

from collections.abc import Sequence

from reports.dataset.scores import signed
from reports.html.document import figure
from reports.html.markup import Html, code, join, section, table, tag
from reports.html.svg import drawing
from reports.pages.claim import equivalence_table, minus, paired
from reports.pages.stability_figures import precision_impact, seed_histogram
from reports.pages.stability_sweeps import read_sweep, sweep_section
from reports.published import figures, read_tables
from reports.read.collect import Entry
from reports.read.grouping import Group
from reports.stats.equivalence import MARGINS, Equivalence, equivalence, ks_two_sample

NUM_PUBLISHED_FIGURES = 2
FULL, AMP = "single precision", "AMP"


def published_seeds() -> dict[str, dict[int, float]]:
    """The 16 seeds of the README of June 2020 in both precisions."""
    found: dict[str, dict[int, float]] = {FULL: {}, AMP: {}}
    for each in figures():
        if each.quantity == "auc" and each.seed is not None:
            found[AMP if each.precision == "amp" else FULL][each.seed] = each.value
    return found


def stability_page(sweeps: Sequence[Entry], groups: Sequence[Group]) -> Html:
    """Title, each sweep of ours, and the published seeds."""
    by_digest = {group.digest: group for group in groups}
    with drawing():
        published = _published_section(1)
        number = 1 + NUM_PUBLISHED_FIGURES
        ours = []
        for entry in sweeps:
            made, drawn = sweep_section(read_sweep(entry), by_digest.get(entry.record.dataset_digest), number)
            ours.append(made)
            number += drawn
    if not ours:
        words = ["No record of ", code("dlrm sweep"), " was found; notebook 06_stability makes one."]
        ours = [section(2, "Ours", tag("p", join(words, "")))]
    heads = tag("p", "How far do scores spread over the seeds, and does a lower precision train to the same one?")
    return join([tag("h1", "Stability"), heads, *ours, published])


def _published_section(first_figure: int) -> Html:
    scores = published_seeds()
    seeds, full, amp = paired(scores, AMP)
    tests = [equivalence(full, amp, margin.value) for margin in MARGINS]
    name = f"{AMP} minus {FULL}"
    values = {name: list(values.values()) for name, values in scores.items()}
    impact = precision_impact({name: seeds}, {name: minus(amp, full)}, {name: tests[-1]}, "as published")
    return section(
        2,
        "The published seeds, analysed again",
        tag("p", _in_a_sentence(tests[-1], full, amp)),
        _supports(),
        figure(seed_histogram(values, "as published"), first_figure),
        figure(impact, first_figure + 1),
        equivalence_table([(AMP, full, amp)], FULL, ours=False),
        _printed("seed-stability"),
        _printed("head-stability"),
        _later_readme(),
    )


def _in_a_sentence(test: Equivalence, full: Sequence[float], amp: Sequence[float]) -> Html:
    low, high = (signed(bound, 6) for bound in test.interval)
    ks = ks_two_sample(full, amp)
    words = (
        f" {AMP} minus {FULL}, paired by seed: mean {signed(test.mean_difference, 6)}, 95 % interval {low} to {high}, "
        f"n = {test.n}. Two one-sided tests at a margin of ±{test.margin:g}: p = {test.p_tost:.1e}, so that the means are the "
        f"same within it. Kolmogorov-Smirnov: statistic {ks.statistic:.4f}, exact p = {ks.p_value:.3f}, n = {ks.n_a} and {ks.n_b}."
    )
    return join([tag("strong", "The published seeds support the claim."), words], "")


def _supports() -> Html:
    does = [
        "Under the conditions that these 16 seeds had, whatever they were, the mean test AUC is the same in both precisions "
        "within one unit of the fourth decimal.",
        "One seed spreads by about 0.00005 (a standard deviation): two single runs that differ by less than 0.0001 tell nothing.",
    ]
    does_not = [
        "It says nothing of the code that the README of June 2020 describes: the table stood in the README of April 2020, before "
        "the model was rewritten, and was carried over.",
        "It does not say on which hardware, on how many GPUs, with which model size and batch the seeds ran; of TF32, bfloat16 and "
        "other data it says nothing.",
        "A Kolmogorov-Smirnov test that finds nothing does not show that there is nothing: with 16 seeds each it finds a shift of "
        "half a standard deviation in 19 of 100 cases and of a whole one in 61, if the two sets are independent (4,000 simulated "
        "tables each), and in fewer where pairs go together, as they do here.",
        "Which evaluation of a run each AUC is of is not said; the code keeps the best one, and looks at the test rows for it.",
    ]
    parts = []
    for words, items in (("What it supports:", does), ("What it does not:", does_not)):
        parts += [tag("p", words), tag("ul", join(tag("li", item) for item in items))]
    return join(parts)


def _later_readme() -> Html:
    words = (
        "The later README gives a Kolmogorov-Smirnov statistic for ten seeds each, twice. 0.400 with p = 0.418 is what ten and ten "
        "give. 0.267 with p = 0.787 is not: with ten and ten the statistic is a multiple of 0.1. Of all sizes from 5 to 16, only "
        "nine and ten give both figures, so that one run of that table is probably missing."
    )
    return tag("p", words)


def _printed(name: str) -> Html:
    found = next(each for each in read_tables() if each.id == name)
    notes = tag("p", " ".join(found.caveats), class_="note")
    return join([table(found.head, found.rows, found.title), notes])
