"""What the card of a model says of its scores: by run, over the seeds, beside baselines and below the optimum."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from dlrm_core.metrics import Difference, log_loss_difference
from reports.cards.card import Block, Cell, Grid, Words
from reports.dataset.scores import signed
from reports.read.grouping import Group, Model, Variant
from reports.read.predictions import Predictions
from reports.stats.statistics import (
    CONFIDENCE,
    MIN_SEEDS,
    OverSeeds,
    auc_interval,
    compare,
    fraction_of_way,
    over_seeds,
)

COUNTED = ("predicted ÷ observed clicks", "rows")
NO_PREDICTIONS = "no sound predictions beside the record"


def label(variant: Variant, run: Model) -> str:
    """What tells a run from the others of its variant: its seed, and its folder if another run has that seed."""
    return run.name.removeprefix(f"{variant.name}, ")


def merged(variant: Variant, rows: Iterable[tuple[Model, tuple[Cell, ...]]]) -> list[Sequence[Cell]]:
    """Each row once, behind the runs that it belongs to."""
    runs: dict[tuple[Cell, ...], list[str]] = {}
    for run, cells in rows:
        runs.setdefault(cells, []).append(label(variant, run))
    every = len(variant.all_runs)
    return [["all" if len(names) == every > 1 else ", ".join(names), *cells] for cells, names in runs.items()]


def score_blocks(variant: Variant) -> list[Block]:
    """Scores of each run with their intervals, and over the seeds."""
    rows = [_score_row(label(variant, run), run) for run in variant.all_runs]
    head = ["run", "AUC", "AUC, 95 % interval", "log loss [nat]", "log loss, 95 % interval", *COUNTED]
    words = (
        "All scores are of the test part. Intervals by run are for the choice of test rows: DeLong's of the AUC, the normal one "
        "of the mean log loss. Predicted ÷ observed clicks is the calibration ratio, 1 where clicks are as many as predicted."
    )
    chosen = [(run, (run.auc.selection,)) for run in variant.all_runs]
    return [
        Words(words),
        Grid(head, rows, "Scores on the test part", "run.json"),
        Grid(["runs", "chosen by"], merged(variant, chosen), "Which state of the model was scored", "run.json"),
        *_over_seeds(variant),
    ]


def baseline_blocks(group: Group, variant: Variant) -> list[Block]:
    """Verdicts and paired differences with each baseline that was scored on the same rows."""
    found = [comparison for baseline in group.baselines if (comparison := compare(variant, baseline))]
    if not found:
        return [
            Words("No baseline was scored on the same rows with predictions beside its record; nothing is compared.")
        ]
    verdicts: list[Sequence[Cell]] = [[c.baseline.name, c.auc_verdict, c.log_loss_verdict, len(c.pairs)] for c in found]
    pairs = [
        [label(variant, p.run), c.baseline.name, _paired(p.auc), _paired(p.log_loss)] for c in found for p in c.pairs
    ]
    words = (
        "A verdict is clearly better or worse only if, for every seed, the whole 95 % interval of the paired difference lies on "
        "that side of 0; else it is a tie."
    )
    baselines = [[model.name, f"{model.auc.value:.5f}", f"{model.log_loss.value:.5f}"] for model in group.baselines]
    return [
        Grid(
            ["baseline", "verdict by AUC", "verdict by log loss", "seeds"], verdicts, "The model beside each baseline"
        ),
        Words(words),
        Grid(["baseline", "AUC", "log loss [nat]"], baselines, "Scores of the baselines on the test part"),
        Grid(
            ["run", "minus", "AUC difference, 95 % interval", "log loss difference [nat], 95 % interval"],
            pairs,
            "Differences on the same test rows",
        ),
    ]


def limit_blocks(group: Group, variant: Variant) -> list[Block]:
    """How near the runs come to what is attainable, where that is known."""
    best = group.optimum
    if best is None:
        return [Words("What the best possible model would score on these test rows is unknown.")]
    rows: list[Sequence[Cell]] = [["optimum", f"{best.best_auc:.5f}", f"{best.best_log_loss:.5f}", "100.0 %"]]
    for run in variant.all_runs:
        way = f"{100 * fraction_of_way(run.auc.value, best.best_auc):.1f} %"
        rows.append([label(variant, run), f"{run.auc.value:.5f}", f"{run.log_loss.value:.5f}", way])
    words = (
        "The optimum is what the true click probabilities of the planted sample score on these very rows; the way to it is "
        "(AUC − 0.5) / (optimum − 0.5), and luck may carry a model past it."
    )
    return [Grid(["model", "AUC", "log loss [nat]", "way from chance"], rows, "Distance to the optimum"), Words(words)]


def log_loss_interval(predictions: Predictions) -> Difference:
    """Log loss of one model with its normal interval: its difference with p = 1/2, whose loss is ln 2 in every row."""
    logit_B = predictions.logit_B
    more = log_loss_difference(predictions.label_B, logit_B, np.zeros_like(logit_B), CONFIDENCE)
    half = math.log(2)
    return Difference(more.value + half, more.low + half, more.high + half, CONFIDENCE)


def _score_row(name: str, run: Model) -> list[Cell]:
    record, predictions = run.entry.record, run.predictions
    mean, rate, rows = (record.metric(key, "test") for key in ("mean_prediction", "click_rate", "rows"))
    intervals = [NO_PREDICTIONS, NO_PREDICTIONS]
    if predictions is not None:
        intervals = [_range(auc_interval(predictions)), _range(log_loss_interval(predictions))]
    return [
        name,
        f"{run.auc.value:.5f}",
        intervals[0],
        f"{run.log_loss.value:.5f}",
        intervals[1],
        f"{mean.value / rate.value:.3f}" if mean and rate and rate.value else "–",
        f"{rows.value:,.0f}" if rows else "–",
    ]


def _over_seeds(variant: Variant) -> list[Block]:
    if len(variant.runs) == 1:
        return [Words(f"One seed: an interval of the mean over seeds needs {MIN_SEEDS}.")]
    values: dict[str, Iterable[float]] = {
        "AUC": (run.auc.value for run in variant.runs),
        "log loss [nat]": (run.log_loss.value for run in variant.runs),
    }
    rows = [_seeds_row(name, over_seeds(list(each))) for name, each in values.items()]
    head = ["score", "seeds n", "mean", "smallest", "largest", "95 % t-interval of the mean"]
    note = "A run whose seed stands in an earlier run is not counted here."
    return [Grid(head, rows, "Over the seeds"), *([Words(note)] if variant.repeats else [])]


def _seeds_row(name: str, summary: OverSeeds) -> list[Cell]:
    interval = f"too few seeds; {MIN_SEEDS} are needed"
    if summary.interval is not None:
        interval = f"{summary.interval[0]:.5f} to {summary.interval[1]:.5f}"
    numbers = [f"{value:.5f}" for value in (summary.mean, summary.smallest, summary.largest)]
    return [name, summary.n, *numbers, interval]


def _range(interval: Difference) -> str:
    return f"{interval.low:.5f} to {interval.high:.5f}"


def _paired(difference: Difference) -> str:
    return f"{signed(difference.value)}, {signed(difference.low)} to {signed(difference.high)}"
