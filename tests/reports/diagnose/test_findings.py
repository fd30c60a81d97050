"""Every sign of a degenerate run is found, with a command that can be given; a model that learnt something shows none."""

import math
import re
import shlex
from itertools import pairwise

import numpy as np
import pytest

from dlrm_core.metrics import roc_auc
from dlrm_core.schema.config import load_preset
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import Metric
from reports.diagnose.findings import DIVERGED, ONE_CLASS, Finding, diagnose, diagnosis_section
from reports.read.collect import Entry, collect
from tests.reports.conftest import ROWS, Runs, measure, series


def found(runs: Runs, folder: str = "run") -> tuple[Finding, ...]:
    collection = collect(runs.root)
    return diagnose(next(entry for entry in collection.entries if entry.folder == folder), collection)


def only(findings: tuple[Finding, ...]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def train(runs: Runs, *overrides: str, preset: str = "tiny", **fields) -> None:
    """A record as `dlrm train --preset PRESET --set OVERRIDE ...` leaves it; 64 steps whose loss falls, good predictions."""
    config = load_preset(preset, overrides).train
    words = "".join(f" --set {shlex.quote(override)}" for override in overrides)
    defaults = {
        "folder": "run",
        "config": {"preset": preset, "train": config.model_dump(mode="json")},
        "repeat": f"dlrm train --data DATA --out RUN --preset {preset}{words}",
        "series": losses(np.linspace(0.63, 0.55, 8), 64),
    }
    runs.train(1, **(defaults | fields))


def losses(loss, steps: int):
    x = np.linspace(steps / len(loss), steps, len(loss))
    return (series("training_loss", "train", x, loss, labels=("step", "log loss [nat]")),)


def failed(runs: Runs, reason: str, *overrides: str, **fields) -> None:
    train(runs, *overrides, status="failed", reason=reason, metrics=(), series=(), **fields)
    (runs.root / "run" / "predictions_test.safetensors").unlink()


def without_predictions(runs: Runs) -> None:
    (runs.root / "run" / "predictions_test.safetensors").unlink()


def resolved(finding: Finding):
    """The configuration that the next step asks for, as the command line would read it."""
    words = shlex.split(finding.next_step)
    assert words[:6] == ["dlrm", "train", "--data", "DATA", "--out", "RUN"]
    return load_preset(words[words.index("--preset") + 1], [b for a, b in pairwise(words) if a == "--set"]).train


def noise(seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).normal(-1.0, 0.3, ROWS).astype(np.float32)


# Healthy


def test_healthy_runs_show_nothing(runs):
    runs.dataset()
    runs.baseline("constant", np.full(ROWS, -1.0, np.float32))
    train(runs)
    train(runs, preset="workshop", folder="workshop", series=losses(np.linspace(0.56, 0.45, 40), 792))
    runs.baseline("trees", runs.noisy(0.7, 4))
    collection = collect(runs.root)
    assert [diagnose(entry, collection) for entry in collection.entries] == [()] * len(collection.entries)
    section = diagnosis_section(collection)
    assert "Nothing found: none of the 4 runs" in section
    assert "<table" not in section


def test_the_published_schedule_is_right_for_the_published_steps(runs):
    train(runs, preset="criteo_1tb_small", series=losses(np.linspace(0.14, 0.125, 10), 128_028))
    train(runs, preset="criteo_1tb_large", folder="large", series=losses(np.linspace(0.14, 0.125, 10), 64_014))
    assert found(runs) == found(runs, "large") == ()


def test_other_commands_and_the_constant_baseline_are_left_alone(runs):
    runs.usual()
    entry = Entry("bench", runs.root, runs.record("bench", "bench", "bench", status="failed", reason=DIVERGED))
    assert diagnose(entry) == ()
    assert found(runs, "baselines/constant") == ()


def test_a_run_that_has_no_scores_yet_shows_nothing(runs):
    runs.usual()
    train(runs, status="running", metrics=(), series=())
    without_predictions(runs)
    assert found(runs) == ()


# Not a number, one class


def test_the_words_that_are_looked_for_are_those_of_the_code():
    from dlrm_core.train.loop import DIVERGED as OF_TRAINING

    assert DIVERGED in OF_TRAINING
    with pytest.raises(KitError, match=DIVERGED):
        roc_auc(np.array([True, False]), np.array([0.0, math.nan]))
    with pytest.raises(KitError, match=ONE_CLASS):
        roc_auc(np.array([True, True]), np.array([0.0, 1.0]))


NAN = f"the training loss is nan at step 10; {DIVERGED}: lower mlps.lr and tables.lr"


def test_nan_with_a_learning_rate_far_above_the_presets_goes_back_to_it(runs):
    runs.usual()
    failed(runs, NAN, "mlps.lr=50", "tables.lr=50")
    finding = only(found(runs))
    assert finding.symptom == "the training loss is nan at step 10"
    assert finding.cause == "mlps.lr 50 is 100 times the 0.5 of preset tiny, too large for these data"
    assert (resolved(finding).mlps.lr, resolved(finding).tables.lr) == (0.5, 0.5)


def test_nan_with_the_published_learning_rate_at_a_small_batch_is_put_down_to_the_other_data_set(runs):
    runs.usual()
    failed(runs, NAN, "batch_size=512", preset="criteo_1tb_small")
    finding = only(found(runs))
    assert (
        "mlps.lr 28 is 64 times the 0.44 that is as much a row, at batch size 512, as the published 28" in finding.cause
    )
    assert resolved(finding).mlps.lr == pytest.approx(28 / 64, rel=0.02)


def test_nan_with_adam_is_measured_against_what_is_usual_for_it(runs):
    runs.usual()
    failed(runs, NAN, "mlps.name=adam", "mlps.lr=1")
    finding = only(found(runs))
    assert "1,000 times the 0.001 that is usual with adam" in finding.cause
    assert (resolved(finding).mlps.lr, resolved(finding).tables.lr) == (0.001, 0.5)


def test_nan_at_a_usual_learning_rate_asks_for_a_tenth(runs):
    runs.usual()
    failed(runs, NAN)
    assert resolved(only(found(runs))).mlps.lr == 0.05


def test_nan_in_fp16_with_a_static_scale_asks_for_a_dynamic_one(runs):
    runs.usual()
    failed(runs, NAN, "precision=fp16")
    finding = only(found(runs))
    assert "fp16" in finding.cause
    assert resolved(finding).loss_scale.kind == "dynamic"


def test_a_failed_evaluation_on_scores_that_are_not_finite_is_found(runs):
    runs.usual()
    failed(runs, f"evaluate on test: 3 of 60 predictions are not finite; {DIVERGED}, lower the learning rate")
    assert only(found(runs)).symptom == "evaluate on test: 3 of 60 predictions are not finite"


def test_one_class_is_found_in_evaluations_baselines_and_click_rates(runs):
    runs.usual()
    failed(runs, f"evaluate on test: all 60 labels are 0; the AUC needs {ONE_CLASS}")
    reason = f"the click rate of the training rows is 1; {ONE_CLASS} are needed"
    runs.record("baselines", "baselines", "baselines", status="failed", reason=reason)
    rate = Metric(name="click_rate", value=1.0, unit="clicks per row", split="validation", selection="last step")
    runs.record("no-click", "train", "DLRM", metrics=(rate,))
    for folder, symptom in (
        ("run", "evaluate on test: all 60 labels are 0"),
        ("baselines", "the click rate of the training rows is 1"),
        ("no-click", "the click rate of the validation part is 1"),
    ):
        finding = only(found(runs, folder))
        assert finding.symptom == symptom
        assert "the same label" in finding.cause
        assert finding.next_step.startswith("dlrm prepare --train")


def test_a_run_that_failed_for_another_reason_is_not_diagnosed(runs):
    runs.usual()
    failed(runs, "interrupted by the user")
    assert found(runs) == ()


# Constant, chance


@pytest.mark.parametrize("spread", [0.0, 1e-8])
def test_constant_scores_are_found_in_the_predictions(runs, spread):
    train(runs, logit_B=(np.full(ROWS, -1.0) + spread * noise()).astype(np.float32))
    finding = only(found(runs))
    assert finding.symptom == "the same score for every row of the test part (AUC 0.5)"
    assert "ReLU" in finding.cause
    assert resolved(finding).mlps.lr == 0.05


def test_scores_that_differ_a_little_are_not_constant(runs):
    truth = (-1.1 + 1e-3 * (runs.truth_B - runs.truth_B.mean())).astype(np.float32)
    train(runs, logit_B=truth)
    assert not any("same score" in finding.symptom for finding in found(runs))


def test_constant_scores_are_found_without_predictions_by_their_auc(runs):
    train(runs, logit_B=np.full(ROWS, -1.0, np.float32))
    without_predictions(runs)
    assert "the same score" in only(found(runs)).symptom


def test_a_baseline_other_than_the_constant_may_not_be_constant(runs):
    runs.baseline("logistic", np.full(ROWS, -1.0, np.float32))
    assert "the same score" in only(found(runs, "baselines/logistic")).symptom


@pytest.mark.parametrize("with_predictions", [True, False])
def test_an_auc_within_noise_of_chance_is_found_with_its_interval(runs, with_predictions):
    train(runs, logit_B=noise())
    if not with_predictions:
        without_predictions(runs)
    finding = only(found(runs))
    auc, low, high = (float(number) for number in re.findall(r"0\.\d{5}", finding.symptom))
    assert low < 0.5 < high
    assert auc == pytest.approx((low + high) / 2, abs=1e-5)
    rng = np.random.default_rng(1)
    by_chance = [roc_auc(runs.label_B, rng.random(ROWS)) for _ in range(400)]
    assert high - low == pytest.approx(2 * 1.96 * np.std(by_chance), rel=0.1)
    assert finding.symptom.endswith("within noise of 0.5")
    assert finding.next_step == "dlrm baselines --data DATA --out DIR"


def test_an_auc_just_above_the_noise_is_no_finding(runs):
    weak = (-1.1 + 0.15 * (runs.truth_B - runs.truth_B.mean()) + noise() + 1.0).astype(np.float32)
    assert 0.54 < roc_auc(runs.label_B, weak) < 0.68
    train(runs, logit_B=weak, metrics=good_metrics(runs, weak))
    assert found(runs) == ()


def good_metrics(runs: Runs, logit_B: np.ndarray) -> tuple[Metric, ...]:
    """The AUC of `logit_B` with a log loss below the constant's, for tests of the AUC alone."""
    return tuple(
        m.model_copy(update={"value": 0.5}) if m.name == "log_loss" else m
        for m in measure(runs.label_B, logit_B, "last step")
    )


def test_chance_on_few_rows_is_put_down_to_them(runs):
    metrics = {"auc": 0.55, "log_loss": 0.5, "click_rate": 0.2, "mean_prediction": 0.2, "rows": 60}
    made = tuple(Metric(name=n, value=v, unit="1", split="test", selection="last") for n, v in metrics.items())
    train(runs, metrics=made)
    without_predictions(runs)
    finding = only(found(runs))
    assert finding.cause == "60 rows with 12 clicks are too few to tell a model from chance"
    assert "--test" in finding.next_step


def test_chance_of_a_learning_rate_far_below_the_presets(runs):
    train(runs, "mlps.lr=1e-6", "tables.lr=1e-6", logit_B=noise())
    finding = only(found(runs))
    assert (
        finding.cause == "mlps.lr 1e-06 is 500,000 times smaller than the 0.5 of preset tiny, too small for these data"
    )
    assert resolved(finding).tables.lr == 0.5


def test_chance_of_a_loss_that_stands_still(runs):
    train(runs, logit_B=noise(), series=losses([0.6931, 0.6929, 0.6932], 64))
    finding = only(found(runs))
    assert "stood still, 0.6931 at first and 0.6932 at last" in finding.cause
    assert resolved(finding).mlps.lr == 5.0


def test_an_auc_below_chance_is_called_turned_round(runs):
    train(runs, logit_B=(-runs.noisy(0.5, 1) - 2.0).astype(np.float32))
    findings = found(runs)
    assert findings[0].symptom.endswith("below chance")
    assert "labels swapped" in findings[0].cause
    assert findings[0].next_step == "dlrm evaluate --run RUN --data DATA --split train"


# Schedule


def test_a_run_within_the_warm_up_of_another_data_set(runs):
    runs.dataset()
    rate = series("learning_rate", "train", [64], [0.28], labels=("step", "learning rate of the MLPs"))
    train(runs, "batch_size=512", preset="criteo_1tb_small", series=(*losses([0.6, 0.55], 64), rate))
    finding = only(found(runs))
    assert finding.symptom == "its 64 steps end within the warm-up of 6,400: the learning rate reached 0.28 of 28"
    assert "its schedule was made for another data set" in finding.cause
    assert "it plans 144,000 steps, this run has 64 on 9,000 training rows" in finding.cause
    new = resolved(finding)
    assert (new.schedule.warmup_steps, new.schedule.decay_start_step, new.schedule.decay_steps) == (3, 28, 36)
    assert new.mlps.lr == pytest.approx(28 / 64, rel=0.02)  # or the mended schedule would diverge


def test_a_run_that_ends_before_the_decay(runs):
    train(runs, "max_steps=30", series=losses([0.6, 0.55], 30))
    finding = only(found(runs))
    assert finding.symptom == "its 30 steps end before the decay of the learning rate begins, after step 60"
    assert finding.cause.startswith("max_steps 30 ends the run")
    assert resolved(finding).schedule.decay_start_step == 18


def test_a_schedule_that_is_over_long_before_the_run(runs):
    train(runs, series=losses(np.linspace(0.6, 0.55, 10), 1000))
    finding = only(found(runs))
    assert finding.symptom == "the learning rate was all but 0 for 90 % of its 1,000 steps, after step 100"
    assert resolved(finding).schedule.decay_steps == 400


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        ((), 61),  # the decay has begun
        ((), 200),  # twice as long as the schedule, no longer
        (("schedule.decay_end_lr=0.1",), 1000),  # goes on at a fifth
        (("schedule.warmup_steps=0", "schedule.decay_start_step=null", "schedule.decay_steps=0"), 5),  # constant
    ],
)
def test_schedules_that_fit_are_no_finding(runs, overrides, steps):
    train(runs, *overrides, series=losses(np.linspace(0.6, 0.55, 10), steps))
    assert found(runs) == ()


def test_a_run_that_its_stopping_rule_ended_early_was_planned_longer(runs):
    choices = {"selection": "best_log_loss on the last tenth, step 32 of 90"}
    train(runs, series=losses([0.6, 0.55], 48), choices=choices)
    assert found(runs) == ()


def test_chance_within_the_warm_up_has_the_schedule_as_its_cause(runs):
    train(runs, "batch_size=512", preset="criteo_1tb_small", logit_B=noise())
    schedule, chance = found(runs)
    assert "warm-up" in schedule.symptom
    assert chance.symptom.endswith("within noise of 0.5")
    assert chance.cause == schedule.cause


# Loss, level, loader


def test_a_training_loss_that_rose(runs):
    train(runs, series=losses([0.6, 0.8, 2.0, 5.0], 64))
    finding = only(found(runs))
    assert finding.symptom == "its training loss rose from 0.6000 to 5.0000"
    assert resolved(finding).mlps.lr == 0.05
    train(runs, series=losses([0.56, 0.6, 0.55, 0.62], 64))
    assert found(runs) == ()


def test_a_log_loss_above_the_constants_though_the_rows_are_ranked(runs):
    loud = (6.0 * (runs.truth_B + 1.0) - 1.0).astype(np.float32)
    train(runs, logit_B=loud)
    finding = only(found(runs))
    rate = runs.label_B.mean()
    limit = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
    assert finding.symptom.endswith(f"not below the {limit:.5f} of the click rate alone")
    assert "by heart" in finding.cause
    assert resolved(finding).stopping.rule == "best_log_loss"
    runs.baseline("logistic", loud)
    finding = only(found(runs, "baselines/logistic"))
    assert "regularised too little" in finding.cause


def test_validation_scores_are_judged_where_there_are_no_test_scores(runs):
    metrics = tuple(m.model_copy(update={"split": "validation"}) for m in measure(runs.label_B, noise(), "last step"))
    train(runs, metrics=metrics)
    without_predictions(runs)
    assert only(found(runs)).symptom.startswith("validation AUC 0.5")


@pytest.mark.parametrize(("mean", "is_found"), [(0.15, True), (0.16, False), (0.63, False), (0.65, True)])
def test_a_mean_prediction_far_from_the_click_rate(runs, mean, is_found):
    metrics = {"auc": 0.75, "log_loss": 0.5, "click_rate": 0.32, "mean_prediction": mean, "rows": 1500}
    made = tuple(Metric(name=n, value=v, unit="1", split="test", selection="last") for n, v in metrics.items())
    train(runs, metrics=made)
    without_predictions(runs)
    symptoms = [finding.symptom for finding in found(runs)]
    assert symptoms == (
        [f"mean prediction {mean:.4f}, {mean / 0.32:.3g} times the click rate of the test part, 0.3200"] * is_found
    )


@pytest.mark.parametrize(("waited", "spent", "is_found"), [(5.0, 12.0, True), (5.0, 20.0, False), (0.9, 1.0, False)])
def test_a_loader_that_starves_the_steps(runs, waited, spent, is_found):
    wait = Metric(name="loader_wait", value=waited, unit="s", split="train", selection="all steps of the training")
    metrics = (*measure(runs.label_B, runs.noisy(0.5, 1), "last step"), wait)
    train(runs, metrics=metrics, timings_s={"train": spent, "total": 30.0})
    findings = found(runs)
    assert [finding.symptom for finding in findings] == [
        "the steps waited 5.0 s of 12.0 s for their batches"
    ] * is_found
    assert [finding.next_step for finding in findings] == ["dlrm bench loader --data DATA --out DIR"] * is_found


def test_damaged_predictions_are_said_instead_of_passed_over(runs):
    train(runs)
    (runs.root / "run" / "predictions_test.safetensors").write_bytes(b"damaged")
    finding = only(found(runs))
    assert finding.symptom == "its predictions cannot be judged"
    assert "SHA-256" in finding.cause


# The page


def test_the_section_has_a_line_for_each_finding_without_a_place_of_this_machine(runs):
    runs.usual()
    failed(runs, f"{runs.root}/data/train: {NAN}")
    train(runs, logit_B=noise(), folder="<chance>")
    section = diagnosis_section(collect(runs.root))
    assert '<h2 id="diagnosis">Diagnosis</h2>' in section
    assert (
        section.count('<th scope="row">') == 3
    )  # the noisy logistic regression of the usual runs is too sure of itself
    assert "<code>dlrm baselines --data DATA --out DIR</code>" in section
    assert "&lt;chance&gt;" in section
    assert "<chance>" not in section
    assert str(runs.root) not in section
