import re
import shutil

import numpy as np
import pytest

from dlrm_core.metrics import auc_difference, log_loss_difference
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import Metric
from reports.compare.runs import Paired, compare_runs
from reports.compare.text import WIDTH, answer, text
from tests.reports.conftest import ENVIRONMENT, Runs, measure, sha


def configuration(seed: int = 1, **train) -> dict:
    return {"preset": "tiny", "train": {"seed": seed, "batch_size": 64, "mlps": {"name": "sgd", "lr": 0.5}} | train}


def two(runs: Runs, *, noise: float = 0.5, of_a: int = 1, of_b: int = 1, **fields_of_b):
    """The comparison of two runs of one seed whose predictions are the same unless told otherwise."""
    runs.train(1, logit_B=runs.noisy(0.5, of_a), folder="a", config=configuration())
    defaults = {"config": configuration()}
    runs.train(1, logit_B=runs.noisy(noise, of_b), folder="b", **(defaults | fields_of_b))
    return compare_runs(runs.root / "a", runs.root / "b")


def names(factors) -> list[str]:
    return [factor.name for factor in factors]


# Factors


def test_a_copy_of_a_run_differs_in_nothing(runs):
    runs.train(1, folder="a")
    shutil.copytree(runs.root / "a", runs.root / "b")
    comparison = compare_runs(runs.root / "a", runs.root / "b")
    assert comparison.factors == comparison.choices == comparison.changed_scores == ()
    assert {pair.verdict for pair in comparison.paired} == {"the same"}
    assert answer(comparison) == "No factor differs, and every score is the same."


def test_other_scores_without_another_factor_are_called_not_repeatable(runs):
    comparison = two(runs, of_b=2)
    assert comparison.causes == ()
    assert re.match(
        r"No recorded factor differs, but auc of test, .* do: the run is not repeatable", answer(comparison)
    )
    fast = configuration(deterministic=False)
    runs.train(1, logit_B=runs.noisy(0.5, 1), folder="a", config=fast)
    runs.train(1, logit_B=runs.noisy(0.5, 2), folder="b", config=fast)
    assert "train.deterministic is false" in answer(compare_runs(runs.root / "a", runs.root / "b"))


def test_speeds_alone_do_not_make_a_run_unrepeatable(runs):
    for folder, speed in (("a", 100.0), ("b", 300.0)):
        metrics = measure(runs.label_B, runs.noisy(0.5, 1), "last step")
        rate = Metric(name="throughput", value=speed, unit="rows/s", split="train", selection="all steps")
        runs.train(1, logit_B=runs.noisy(0.5, 1), folder=folder, metrics=(*metrics, rate))
    comparison = compare_runs(runs.root / "a", runs.root / "b")
    assert answer(comparison) == "No factor differs, and every score is the same."
    (change,) = (metric for metric in comparison.metrics if metric.name == "throughput")
    assert (change.difference, change.ratio) == (200.0, 3.0)


def test_one_factor_takes_the_change_upon_itself_with_its_n(runs):
    comparison = two(runs, noise=3.0, config=configuration(mlps={"name": "sgd", "lr": 5.0}))
    assert [(f.name, f.a, f.b) for f in comparison.causes] == [("train.mlps.lr", "0.5", "5.0")]
    said = answer(comparison)
    assert said.startswith(
        "Only train.mlps.lr (0.5 in A, 5.0 in B) differs, so that what changed can be put down to it"
    )
    assert "n = 1 run a side" in said
    assert re.search(r"auc changed by -0\.\d{5} \(differs\)", said)


def test_several_factors_cannot_be_told_apart(runs):
    said = answer(two(runs, config=configuration(batch_size=128, epochs=2)))
    assert said.startswith("2 factors differ (train.batch_size and train.epochs), so that what each of them did")
    assert "cannot be told apart" in said


def test_a_seed_in_configuration_and_record_is_one_factor_and_named_as_chance(runs):
    comparison = two(runs, of_b=2, config=configuration(seed=2), seeds={"model": 2})
    assert names(comparison.causes) == ["train.seed"]
    assert answer(comparison).startswith(
        "Only the seed differs, train.seed (1 in A, 2 in B): what changed is one sample"
    )
    assert names(two(runs, seeds={"model": 7}).causes) == ["seeds.model"]


def test_a_value_that_one_side_lacks_is_shown_as_such(runs):
    comparison = two(runs, config=configuration(epochs=3))
    assert [(f.name, f.a, f.b) for f in comparison.factors] == [("train.epochs", "not there", "3")]


def test_lists_of_mappings_are_told_apart_by_place_and_key(runs):
    for folder, rows in (("a", [64, 128]), ("b", [64, 256])):
        runs.record(folder, "bench", "bench", config={"workloads": [{"rows": n, "seed": 1} for n in rows]})
    assert names(compare_runs(runs.root / "a", runs.root / "b").causes) == ["workloads.1.rows"]


def test_the_name_of_the_preset_is_no_cause_where_the_values_stand_beside_it(runs):
    comparison = two(runs, config=configuration() | {"preset": "copy-of-tiny"})
    assert names(comparison.factors) == ["preset"]
    assert comparison.causes == ()


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"python": "3.12.0"}, "python"),
        ({"packages": {"numpy": "2.4.6", "torch": "2.12.0"}}, "packages.torch"),
        ({"packages": {"numpy": "2.4.6"}}, "packages.torch"),
        ({"processor": "another"}, "processor"),
        ({"cores": 64}, "cores"),
        ({"gpus": ("NVIDIA A100",)}, "GPUs"),
        ({"source_digest": sha("other sources")}, "source digest"),
    ],
)
def test_each_part_of_the_environment_is_a_factor(runs, changes, cause):
    comparison = two(runs, environment=ENVIRONMENT.model_copy(update=changes))
    assert names(comparison.causes) == [cause]


def test_a_commit_alone_is_shown_but_is_no_cause(runs):
    comparison = two(runs, environment=ENVIRONMENT.model_copy(update={"git_commit": None}))
    assert names(comparison.factors) == ["git commit"]
    assert comparison.causes == ()
    assert "(git commit)" in text(comparison)


def test_another_data_set_and_another_command_are_factors(runs):
    assert names(two(runs, dataset_digest=sha("other data")).causes) == ["data set"]
    runs.baseline("logistic", runs.noisy(1.0, 3))
    comparison = compare_runs(runs.root / "a", runs.root / "baselines/logistic")
    assert names(comparison.causes)[0] == "command"


def test_the_data_set_of_synthetic_rows_follows_from_their_configuration(runs):
    for folder, rows in (("a", 10), ("b", 20)):
        config = configuration() | {"synthetic": {"rows": rows, "seed": 1}}
        runs.train(1, folder=folder, config=config, dataset_digest=sha(f"{rows} rows"))
    comparison = compare_runs(runs.root / "a", runs.root / "b")
    assert names(comparison.factors) == ["synthetic.rows", "data set"]
    assert names(comparison.causes) == ["synthetic.rows"]


def test_choices_count_only_where_nothing_else_differs_and_without_their_speeds(runs):
    def choices(step: str, speed: int) -> dict:
        products = f"linear, the fastest of linear {speed} GFLOP/s, convolution {speed - 9} GFLOP/s"
        return {"step": step, "float32 products": products, "selection": f"last step {speed}"}

    runs.train(1, folder="a", config=configuration(), choices=choices("torch", 150))
    runs.train(1, folder="b", config=configuration(), choices=choices("compiled", 151))
    comparison = compare_runs(runs.root / "a", runs.root / "b")
    assert names(comparison.choices) == ["step", "selection"]
    assert names(comparison.causes) == ["step"]
    runs.train(1, folder="b", config=configuration(epochs=2), choices=choices("compiled", 151))
    assert names(compare_runs(runs.root / "a", runs.root / "b").causes) == ["train.epochs"]


# Metrics


def test_metrics_of_one_run_only_are_listed_and_have_no_difference(runs):
    metrics = measure(runs.label_B, runs.noisy(0.5, 1), "last step")
    extra = Metric(name="skipped_steps", value=3, unit="steps", split="train", selection="fp16")
    comparison = two(runs, metrics=(*metrics, extra))
    alone = [(m.name, m.a, m.b) for m in comparison.metrics if m.difference is None]
    assert alone == [("skipped_steps", None, 3.0)]
    assert "only in B: skipped_steps of train" in text(comparison)


def test_metrics_of_another_unit_are_not_subtracted(runs):
    for folder, unit in (("a", "ms"), ("b", "s")):
        step = Metric(name="step", value=2.0, unit=unit, split="train", selection="median")
        runs.record(folder, "bench", "bench", metrics=(step,))
    comparison = compare_runs(runs.root / "a", runs.root / "b")
    assert [(m.unit, m.a, m.b) for m in comparison.metrics] == [("ms", 2.0, None), ("s", None, 2.0)]


def test_paired_differences_are_b_minus_a_on_the_same_rows(runs):
    comparison = two(runs, noise=3.0)
    a, b = runs.noisy(0.5, 1), runs.noisy(3.0, 1)
    assert comparison.paired == (
        Paired("auc", auc_difference(runs.label_B, b, a)),
        Paired("log_loss", log_loss_difference(runs.label_B, b, a)),
    )
    assert [pair.difference.value > 0 for pair in comparison.paired] == [False, True]
    assert [pair.verdict for pair in comparison.paired] == ["differs", "differs"]


def test_a_small_difference_is_within_noise_of_the_test_rows(runs):
    comparison = two(runs, of_b=2)
    assert [pair.verdict for pair in comparison.paired] == ["within noise of the test rows"] * 2
    assert all(metric.difference != 0 for metric in comparison.metrics if metric.name == "auc")


def test_other_test_rows_or_damaged_predictions_are_said_and_not_paired(runs):
    runs.train(1, folder="a")
    other = Runs(runs.root, data_seed=9)
    other.train(1, folder="b")
    comparison = compare_runs(runs.root / "a", runs.root / "b")
    assert comparison.paired == ()
    assert "other test rows" in comparison.unpaired
    runs.train(1, folder="b")
    (runs.root / "b" / "predictions_test.safetensors").write_bytes(b"damaged")
    comparison = compare_runs(runs.root / "a", runs.root / "b")
    assert comparison.unpaired.startswith("B: predictions_test.safetensors is not the file that the record names")
    assert answer(comparison) == "No factor differs, and every score is the same."


# States, refusals, text


def test_failed_and_running_sides_come_first_with_their_reason(runs):
    runs.train(1, folder="a", config=configuration())
    reason = "the training loss is nan at step 10; the model has diverged"
    runs.record("b", "train", "DLRM", status="failed", reason=reason, config=configuration(batch_size=1))
    shown = text(compare_runs(runs.root / "a", runs.root / "b"))
    assert " ".join(shown.split()).startswith(f"B failed: {reason}. Compared as far as the records go: ")
    assert "train.batch_size" in shown
    runs.record("c", "train", "DLRM", status="running", config=configuration())
    assert text(compare_runs(runs.root / "c", runs.root / "a")).startswith(
        "A has not finished: it was killed, or it runs"
    )


def test_the_same_folder_twice_and_folders_without_a_record_are_refused(runs):
    runs.usual()
    folder = runs.root / "dlrm-seed-1"
    with pytest.raises(KitError, match="two different run folders"):
        compare_runs(folder, runs.root / "baselines" / ".." / "dlrm-seed-1")
    with pytest.raises(KitError, match=r"data: holds no run\.json"):
        compare_runs(folder, runs.root / "data")
    runs.write("odd", "run.json", "{")
    with pytest.raises(KitError, match="odd"):
        compare_runs(runs.root / "odd", folder)


def test_the_text_is_aligned_and_no_wider_than_a_terminal(runs):
    long = {"step": "torch and autograd: " + "deterministic is true, " * 12, "digest": 300 * "f"}
    comparison = two(runs, noise=2.0, choices=long, config=configuration(**{f"key_{n}": n for n in range(9)}))
    lines = text(comparison).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert "(train.key_0, train.key_1, train.key_2, train.key_3, train.key_4 and 4 more)" in " ".join(lines[:3])
    assert all(f"train.key_{n}" in text(comparison) for n in range(9))
    head = next(number for number, line in enumerate(lines) if line.startswith("metric"))
    end = lines[head].index("B - A") + len("B - A")
    rows = lines[head + 1 : head + 6]
    assert [line.split()[0] for line in rows] == ["auc", "log_loss", "mean_prediction", "click_rate", "rows"]
    assert all(line[end - 1].isdigit() and line[end - 2] != " " and line[end:].strip() == "" for line in rows)


def test_every_digit_of_a_choice_that_is_too_long_for_a_line_is_there(runs):
    comparison = two(runs, choices={"digest": "".join(np.random.default_rng(1).choice(list("0123456789abcdef"), 300))})
    shown = text(comparison).split("\nchoice ", 1)[1].split("\n\n", 1)[0]
    (choice,) = (choice for choice in comparison.choices if choice.name == "digest")
    assert "".join(re.findall(r"(?m)\b[0-9a-f]+$", shown)) == choice.b
