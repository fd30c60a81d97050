"""“Mixed precision trains to the same accuracy”: what paired seeds say of it."""

from collections.abc import Sequence

from reports.dataset.scores import signed
from reports.html.markup import Html, join, table, tag
from reports.stats.equivalence import MARGINS, Equivalence, equivalence, ks_two_sample
from reports.stats.verdicts import Verdict, mark

Paired = tuple[list[int], list[float], list[float]]  # seeds, scores of the reference, its own


def paired(scores: dict[str, dict[int, float]], mode: str) -> Paired:
    """Seeds that both have, and the reference's and the mode's scores."""
    reference = scores[next(iter(scores))]
    seeds = sorted(reference.keys() & scores[mode].keys())
    return seeds, [reference[seed] for seed in seeds], [scores[mode][seed] for seed in seeds]


def claim_verdict(test: Equivalence) -> Verdict:
    """What one set of paired seeds says of the claim, at the margin of the test.

    REPRODUCED: shown to be the same within the margin. NOT REPRODUCED: the whole 95 % interval lies outside of it. WITHIN
    NOISE: neither; more seeds are needed.
    """
    low, high = test.interval
    if test.equivalent:
        return "REPRODUCED"
    return "NOT REPRODUCED" if low > test.margin or high < -test.margin else "WITHIN NOISE"


def equivalence_table(
    pairs: Sequence[tuple[str, Sequence[float], Sequence[float]]], reference: str, *, ours: bool
) -> Html:
    """Equivalence at every margin and Kolmogorov-Smirnov, of (name, the reference's scores, its own) each.

    A verdict is given on runs of `ours` alone.
    """
    rows: list[list[object]] = []
    for name, of_reference, own in pairs:
        ks = ks_two_sample(of_reference, own)
        for margin in MARGINS:
            test = equivalence(of_reference, own, margin.value)
            low, high = test.interval
            interval = f"{signed(low, 6)} to {signed(high, 6)}"
            said = mark(claim_verdict(test)) if ours else ("yes" if test.equivalent else "not shown")
            tested = [f"±{margin.value:g}", f"{test.p_tost:.2g}", said]
            rows.append(
                [
                    f"{name} minus {reference}",
                    test.n,
                    signed(test.mean_difference, 6),
                    interval,
                    *tested,
                    f"{ks.p_value:.3f}",
                ]
            )
    head = [
        "precision",
        "seeds n",
        "mean AUC difference",
        "95 % interval",
        "margin",
        "p (TOST)",
        "verdict" if ours else "the same within it?",
        "p (exact KS)",
    ]
    notes = [tag("li", f"±{margin.value:g}: {margin.origin}.") for margin in MARGINS]
    reading = tag(
        "p",
        "REPRODUCED: shown to be the same within the margin (p of the two one-sided tests below 0.05). NOT REPRODUCED: the whole "
        "95 % interval lies outside of it. WITHIN NOISE: neither; more seeds would tell.",
        class_="note",
    )
    made = table(head, rows, f"The same accuracy as {reference}? Paired by seed")
    origin = tag("p", "Where the margins come from:", class_="note")
    return join([made, origin, tag("ul", join(notes), class_="note"), reading if ours else Html("")])


def minus(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """Differences value by value."""
    return [x - y for x, y in zip(a, b, strict=True)]
