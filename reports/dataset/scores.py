"""How good the models of a data set are: one sentence, then the tables behind it."""

from collections.abc import Sequence

from dlrm_core.metrics import Difference
from reports.html.markup import Html, details, join, listing, table, tag
from reports.read.grouping import Group, Model, Variant
from reports.stats.statistics import MIN_SEEDS, Comparison, OverSeeds, Verdict, compare, fraction_of_way, over_seeds

VERDICTS: tuple[Verdict, ...] = ("clearly better", "tie", "worse")


def comparisons(group: Group) -> list[Comparison]:
    """Each variant beside each baseline, as far as both have predictions of the same rows."""
    pairs = (compare(variant, baseline) for variant in group.variants for baseline in group.baselines)
    return [pair for pair in pairs if pair is not None]


def verdict_sentences(group: Group, compared: Sequence[Comparison]) -> list[Html]:
    """For each variant of the DLRM what it scored and how it stands beside the baselines."""
    if not group.variants:
        return [Html("No finished and scored DLRM run on this data set.")]
    return [_sentence(group, variant, [c for c in compared if c.variant is variant]) for variant in group.variants]


def scores(group: Group, compared: Sequence[Comparison]) -> Html:
    """The tables of scores, of seeds and of paired differences."""
    if not group.models:
        return tag("p", "No model was finished and scored on this data set.")
    parts = [_scores_table(group), _click_note(group)]
    if group.variants:
        parts.append(_seeds_table(group))
    if compared:
        parts += [
            *(_verdict_table([c for c in compared if c.variant is v]) for v in _variants(compared)),
            details("Paired differences, seed by seed", _pairs_table(compared)),
            _reading(),
        ]
    elif group.variants:
        parts.append(tag("p", "No baseline was scored on the same rows, so that nothing is compared."))
    return join(parts)


def _sentence(group: Group, variant: Variant, compared: Sequence[Comparison]) -> Html:
    auc = over_seeds([run.auc.value for run in variant.runs])
    scored = f"test AUC {auc.mean:.5f}" if auc.n == 1 else f"mean test AUC {auc.mean:.5f} over {auc.n} seeds"
    if group.optimum is not None:
        way = fraction_of_way(auc.mean, group.optimum.best_auc)
        scored += f", {_percent(way)} of the way from chance to the best attainable AUC"
    return join([tag("strong", variant.name), f": {scored}; ", _standing(compared), "."], "")


def _standing(compared: Sequence[Comparison]) -> Html:
    if not compared:
        return Html("there is no baseline on the same rows to compare it with")
    parts = []
    for word in VERDICTS:
        names = [_with_dissent(c, word) for c in compared if c.auc_verdict == word]
        joint = {"clearly better": "than", "tie": "with", "worse": "than"}[word]
        if names:
            parts.append(join([mark(word), f" {joint} {listing(names)}"], ""))
    return join(parts, ", ")


def _with_dissent(comparison: Comparison, word: Verdict) -> str:
    other = comparison.log_loss_verdict
    return comparison.baseline.name + ("" if other == word else f" (by log loss: {other})")


def mark(word: Verdict) -> Html:
    """A verdict: always a word, the colour only helps."""
    return tag("span", word, class_=f"verdict {word.replace(' ', '-')}")


def _scores_table(group: Group) -> Html:
    best = group.optimum
    rows: list[list[object]] = [_score_row(model, group) for model in group.models]
    if best is not None:
        rows.append(["optimum", f"{best.best_auc:.5f}", f"{best.best_log_loss:.5f}", "100.0 %", "", ""])
    head = ["model", "AUC", "log loss [nat]", "way to the optimum", "predicted ÷ observed clicks", "seconds"]
    if best is None:
        head.pop(3)
    return table(head, rows, "Scores on the test part, the same rows for all")


def _score_row(model: Model, group: Group) -> list[object]:
    record = model.entry.record
    mean, rate = record.metric("mean_prediction", "test"), record.metric("click_rate", "test")
    ratio = f"{mean.value / rate.value:.3f}" if mean and rate and rate.value else "–"
    seconds = f"{record.timings_s['total']:.1f}" if "total" in record.timings_s else "–"
    row: list[object] = [model.name, f"{model.auc.value:.5f}", f"{model.log_loss.value:.5f}", ratio, seconds]
    if group.optimum is not None:
        row.insert(3, _percent(fraction_of_way(model.auc.value, group.optimum.best_auc)))
    return row


def _click_note(group: Group) -> Html:
    note = "Seconds are the wall time of a run's command, its looks at held-back rows included."
    if group.optimum is not None:
        note += (
            " The optimum is what the true click probabilities of the planted sample score on these very rows; the way to it "
            "is (AUC − 0.5) / (optimum − 0.5), and luck may carry a model past it."
        )
    return tag("p", note, class_="note")


def _seeds_table(group: Group) -> Html:
    if all(len(variant.runs) == 1 for variant in group.variants):
        words = f"One seed each: how much the seed matters cannot be said (an interval of the mean needs {MIN_SEEDS})."
        return tag("p", words, class_="note")
    rows = []
    for variant in group.variants:
        for name, values in (
            ("AUC", [run.auc.value for run in variant.runs]),
            ("log loss [nat]", [run.log_loss.value for run in variant.runs]),
        ):
            rows.append([variant.name, name, *_over_seeds_cells(over_seeds(values))])
    made = table(
        ["model", "score", "seeds n", "mean", "smallest to largest", "95 % t-interval of the mean"],
        rows,
        "Over the seeds",
    )
    repeats = [run.entry.folder for variant in group.variants for run in variant.repeats]
    note = f"Not counted here, since their seed stands in another run: {listing(repeats)}." if repeats else ""
    return join([made, tag("p", note, class_="note")]) if note else made


def _over_seeds_cells(summary: OverSeeds) -> list[str]:
    interval = f"too few seeds; {MIN_SEEDS} are needed"
    if summary.interval is not None:
        interval = f"{summary.interval[0]:.5f} to {summary.interval[1]:.5f}"
    return [str(summary.n), f"{summary.mean:.5f}", f"{summary.smallest:.5f} to {summary.largest:.5f}", interval]


def _variants(compared: Sequence[Comparison]) -> list[Variant]:
    return list({c.variant.name: c.variant for c in compared}.values())


def _verdict_table(compared: Sequence[Comparison]) -> Html:
    rows = []
    for c in compared:
        name = c.baseline.name
        rows.append([name, "AUC", mark(c.auc_verdict), *_verdict_cells([pair.auc for pair in c.pairs])])
        losses = [pair.log_loss for pair in c.pairs]
        rows.append([name, "log loss [nat]", mark(c.log_loss_verdict), *_verdict_cells(losses)])
    head = ["minus", "score", "verdict", "mean difference", "how sure"]
    return table(head, rows, f"{compared[0].variant.name}, minus each baseline on the same test rows")


def _verdict_cells(differences: Sequence[Difference]) -> list[object]:
    """The mean difference, and beside it the row interval of the only seed or how the seeds spread."""
    summary = over_seeds([difference.value for difference in differences])
    if summary.n == 1:
        only = differences[0]
        return [signed(summary.mean), f"95 % interval: {signed(only.low)} to {signed(only.high)}"]
    away = sum(difference.low > 0 or difference.high < 0 for difference in differences)
    lines = [f"seeds: {signed(summary.smallest)} to {signed(summary.largest)}"]
    if summary.interval is not None:
        low, high = summary.interval
        lines.append(f"t-interval, n = {summary.n}: {signed(low)} to {signed(high)}")
    lines.append(f"intervals without 0: {away} of {summary.n}")
    return [signed(summary.mean), join(lines, "<br>")]


def _pairs_table(compared: Sequence[Comparison]) -> Html:
    rows = [
        [p.run.name, c.baseline.name, _with_interval(p.auc), _with_interval(p.log_loss)]
        for c in compared
        for p in c.pairs
    ]
    head = ["model", "beside", "AUC difference, 95 % interval", "log loss difference [nat], 95 % interval"]
    return table(head, rows, "Differences on the same test rows, by seed")


def _reading() -> Html:
    text = (
        "A verdict is “clearly better” or “worse” only if, for every seed, the whole 95 % interval of the difference "
        "lies on that side of 0; else it is a “tie”. The intervals are for the choice of test rows: DeLong’s for paired "
        "AUCs, the normal one of the mean difference by row for log loss; the 95 % "
        "t-interval of the mean is for the choice of seeds alone. "
        "Of AUC more is better, of log loss less."
    )
    return tag("p", text, class_="note")


def signed(value: float, digits: int = 5) -> str:
    """A number of decimals with a sign.

    >>> signed(-0.25)
    '−0.25000'
    """
    return f"{value:+.{digits}f}".replace("-", "−")


def _with_interval(difference: Difference) -> str:
    return f"{signed(difference.value)} [{signed(difference.low)}, {signed(difference.high)}]"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %".replace("-", "−")
