"""Verdicts on published numbers, from records that agree with the number in all or in all but one thing."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from dlrm_core.schema.config import load_preset
from dlrm_core.schema.dataset import Preparation
from dlrm_core.schema.record import Metric, RunRecord
from reports.published import figures
from reports.read.collect import Entry, FoundDataset
from reports.read.grouping import Group, Model, Variant
from reports.stats import verdicts
from reports.stats.comparable import TEST_ROWS, TRAINING_ROWS, Ours, gpu_pattern
from reports.stats.verdicts import VERDICTS, find_tolerance, judge
from tests.reports.conftest import ENVIRONMENT, Runs


def published(table: str, quantity: str, precision: str, row: int = 1):
    return next(
        f
        for f in figures()
        if f.table == table and f.quantity == quantity and f.precision == precision and f.row == row
    )


AUC = published("seed-accuracy-dgx-a100-40gb", "auc", "amp")
SPEED = published("seed-throughput-dgx-a100-40gb", "throughput", "amp")
TIME = published("seed-accuracy-dgx-a100-40gb", "time_to_train", "amp")


PUBLISHED = load_preset("criteo_1tb_small").train.model_dump(mode="json")


@pytest.fixture
def spec(tmp_path):
    """Criteo 1TB with frequency limit 15, as far as a description says."""
    made = Runs(tmp_path).dataset()
    rows = {"train": TRAINING_ROWS, "test": TEST_ROWS}
    splits = {name: made.splits[name].model_copy(update={"rows": count}) for name, count in rows.items()}
    numerical = tuple(f"I{number}" for number in range(1, 14))
    first = made.categorical[0]
    categorical = tuple(first.model_copy(update={"name": f"C{number}"}) for number in range(1, 27))
    preparation = Preparation(vocabulary="all")
    columns = {"numerical": numerical, "categorical": categorical, "preparation": preparation}
    return made.model_copy(update={"splits": made.splits | splits} | columns)


def run(
    auc=0.8036,
    rate=4.09e6,
    seconds=1047.0,
    seed=1,
    batch=32768,
    precision="fp16",
    gpus=("NVIDIA A100-SXM4-40GB",),
    **changes,
):
    metrics = (
        Metric(name="auc", value=auc, unit="1", split="test", selection="best"),
        Metric(name="throughput", value=rate, unit="rows/s", split="train", selection="whole run"),
    )
    return RunRecord(
        command="train",
        name=f"DLRM, seed {seed}",
        status="finished",
        repeat="dlrm train --preset criteo_1tb_small",
        config={"train": PUBLISHED | {"batch_size": batch, "precision": precision} | changes},
        choices={"precision": f"{precision}, as asked for"},
        seeds={"model": seed},
        environment=ENVIRONMENT.model_copy(update={"gpus": gpus}),
        metrics=metrics,
        timings_s={"total": seconds},
    )


def group_of(spec, *records):
    models = []
    for record in records:
        auc = record.metric("auc", "test")
        models.append(Model(record.name, Entry("run", Path("run"), record), auc, auc, None))
    found = FoundDataset("data", Path("data"), spec)
    return [Group("digest", (found,), None, (Variant("DLRM", tuple(models), ()),), (), ())]


@pytest.mark.parametrize(
    ("aucs", "verdict"),
    [
        ((0.80360, 0.80361, 0.80362), "REPRODUCED"),
        ((0.80340, 0.80360, 0.80380), "WITHIN NOISE"),
        ((0.80260, 0.80261, 0.80262), "NOT REPRODUCED"),
        ((0.80560, 0.80561, 0.80562), "NOT REPRODUCED"),  # a score that is too good is another one, too
        ((0.80353,), "WITHIN NOISE"),  # one seed spreads as far as the published ones
        ((0.80360,), "REPRODUCED"),
    ],
)
def test_scores(spec, aucs, verdict):
    found = judge(AUC, group_of(spec, *(run(auc=auc, seed=seed) for seed, auc in enumerate(aucs))))
    assert found.verdict == verdict, found.because
    assert found.interval is not None
    assert f"n = {len(aucs)}" in found.because


@pytest.mark.parametrize(
    ("figure", "change", "verdict"),
    [
        (SPEED, {"rate": 4.1e6}, "REPRODUCED"),
        (SPEED, {"rate": 9.0e6}, "REPRODUCED"),
        (SPEED, {"rate": 4.0e6}, "WITHIN NOISE"),  # one run has no interval of its own
        (SPEED, {"rate": 3.5e6}, "NOT REPRODUCED"),
        (TIME, {"seconds": 1040.0}, "REPRODUCED"),
        (TIME, {"seconds": 100.0}, "REPRODUCED"),
        (TIME, {"seconds": 1100.0}, "WITHIN NOISE"),
        (TIME, {"seconds": 1200.0}, "NOT REPRODUCED"),
    ],
)
def test_speeds_may_be_better_than_published(spec, figure, change, verdict):
    assert judge(figure, group_of(spec, run(**change))).verdict == verdict


def test_three_alike_runs_have_an_interval_of_their_own(spec):
    runs = [run(rate=rate, seed=seed) for seed, rate in enumerate((4.00e6, 4.01e6, 4.02e6))]
    found = judge(SPEED, group_of(spec, *runs))
    assert (found.verdict, found.because) == ("REPRODUCED", "our interval lies within the tolerance, n = 3")


def test_runs_on_other_hardware_are_not_pooled(spec):
    gpus = (("NVIDIA A100-SXM4-40GB",), (), ("NVIDIA H100",))
    runs = [run(seconds=1047.0 + seed, seed=seed, gpus=names) for seed, names in enumerate(gpus)]
    assert len(judge(TIME, group_of(spec, *runs)).ours.values) == 1


def test_a_copy_of_a_run_is_no_run_of_its_own(spec):
    group = group_of(spec, run())[0]
    (variant,) = group.variants
    copied = replace(group, variants=(replace(variant, repeats=variant.runs * 3),))
    assert len(judge(AUC, [copied]).ours.values) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"numerical": ("I1",)}, "other data"),
        ({"preparation": Preparation()}, "other data"),  # ids counted in the training rows alone
        ({"preparation": Preparation(vocabulary="all", frequency_limit=3)}, "other data"),
    ],
)
def test_data_prepared_otherwise_are_other_data(spec, change, words):
    assert judge(AUC, group_of(spec.model_copy(update=change), run())).because.startswith(words)


@pytest.mark.parametrize(
    ("quantity", "reason"), [("speedup", "the ratio of two numbers"), ("log_loss", "is not published")]
)
def test_what_has_no_tolerance_has_no_verdict(spec, quantity, reason):
    figure = next(f for f in figures() if f.quantity == quantity)
    loss = Metric(name="log_loss", value=0.125, unit="nat", split="test", selection="last")
    record = run()
    found = judge(figure, group_of(spec, record.model_copy(update={"metrics": (*record.metrics, loss)})))
    assert found.verdict == "NOT COMPARABLE"
    assert reason in found.because


def test_three_runs_that_straddle_the_edge_are_within_noise(spec):
    runs = [run(rate=rate, seed=seed) for seed, rate in enumerate((3.7e6, 3.9e6, 4.1e6))]
    assert judge(SPEED, group_of(spec, *runs)).verdict == "WITHIN NOISE"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"batch": 2048}, "other batch: 2048, not 32,768 rows"),
        ({"precision": "bf16"}, "other precision: bf16, not amp"),
        ({"gpus": ()}, "other hardware: a CPU (a processor), not 1 GPU of DGX A100"),
        ({"gpus": ("NVIDIA H100",)}, "other hardware: NVIDIA H100, not DGX A100"),
        ({"gpus": ("NVIDIA A100-SXM4-80GB",)}, "other hardware: NVIDIA A100-SXM4-80GB"),
        ({"gpus": ("NVIDIA A100-SXM4-40GB",) * 8}, "other hardware: 8 GPUs, not 1"),
    ],
)
def test_one_difference_makes_a_speed_not_comparable(spec, change, reason):
    found = judge(SPEED, group_of(spec, run(**change)))
    assert found.verdict == "NOT COMPARABLE"
    assert reason in found.because
    assert found.ours is not None
    assert found.tolerance is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mlps": PUBLISHED["mlps"] | {"lr": 0.1}}, "other mlps: "),
        ({"epochs": 2}, "other epochs: 2, not 1"),
        ({"max_steps": 1000}, "other max_steps: 1000, not None"),
        ({"model": PUBLISHED["model"] | {"embedding_dim": 16}}, "other model.embedding_dim: 16, not 128"),
    ],
)
def test_other_settings_make_a_score_not_comparable(spec, change, reason):
    found = judge(AUC, group_of(spec, run(**change)))
    assert (found.verdict, found.because.startswith(reason)) == ("NOT COMPARABLE", True), found.because


def test_a_speed_does_not_depend_on_the_learning_rate_but_on_the_layers(spec):
    rate = PUBLISHED["mlps"] | {"lr": 0.1}
    assert judge(SPEED, group_of(spec, run(mlps=rate))).verdict == "REPRODUCED"
    small = PUBLISHED["model"] | {"top_mlp_sizes": [64, 1]}
    assert judge(SPEED, group_of(spec, run(model=small))).verdict == "NOT COMPARABLE"


def test_other_test_rows_are_other_data(spec):
    half = spec.splits["test"].model_copy(update={"rows": 178_274_637})
    other = spec.model_copy(update={"splits": spec.splits | {"test": half}})
    assert "178,274,637 to test on" in judge(AUC, group_of(other, run())).because


def test_hardware_does_not_matter_to_a_score(spec):
    assert judge(AUC, group_of(spec, run(gpus=()))).verdict != "NOT COMPARABLE"


def test_other_data_are_not_comparable(tmp_path):
    found = judge(AUC, group_of(Runs(tmp_path).dataset(), run()))
    assert found.verdict == "NOT COMPARABLE"
    assert (
        "9,000 rows to train on, 1,500 to test on, not the 4,195,197,692 and 89,137,318 of Criteo 1TB (small)"
        in found.because
    )


def test_the_published_table_alone_reproduces_nothing():
    assert {judge(figure, []).verdict for figure in figures()} == {"NOT COMPARABLE"}
    assert judge(AUC, []).because == "no run record of ours measures this"


def test_of_several_variants_the_nearest_is_shown(spec, tmp_path):
    near, far = group_of(spec, run(gpus=())), group_of(Runs(tmp_path / "far").dataset(), run(gpus=(), batch=1))
    found = judge(SPEED, [*far, *near])
    assert len(found.ours.differences) == 1


def bench(batch=4096, gpus=()):
    metrics = [
        Metric(name=f"ours:{mode} {what}", value=value, unit=unit, split=f"N, batch {batch}", selection="median")
        for mode in ("auto", "fp32")
        for what, value, unit in (("throughput", 5e5, "samples/s"), ("call", 8.0, "ms"))
    ]
    changed = {"command": "bench", "name": "bench inference, N", "metrics": tuple(metrics)}
    return Entry("bench", Path("bench"), run(gpus=gpus).model_copy(update=changed))


@pytest.mark.parametrize(("quantity", "value"), [("throughput", 5e5), ("latency_mean", 0.008)])
def test_inference_stands_beside_the_benchmark_of_inference(spec, quantity, value):
    figure = next(
        f
        for f in figures()
        if f.table == "head-inference-a100-80gb"
        and f.quantity == quantity
        and f.batch_size == 4096
        and f.precision == "tf32"
    )
    found = judge(figure, group_of(spec, run()), [bench()])
    assert found.verdict == "NOT COMPARABLE"
    assert "tables of at most 100,000 rows" in found.because
    assert found.ours.values == (value,)
    assert judge(figure, group_of(spec, run()), [bench(batch=64)]).ours is None


def test_the_tolerance_of_speeds_is_the_largest_gap_in_the_seed_s_own_tables():
    gaps = []
    for accuracy in ("seed-accuracy-dgx-a100-40gb", "seed-accuracy-dgx1-v100-32gb"):
        times = [f for f in figures() if f.table == accuracy and f.quantity == "time_to_train"]
        rates = [
            f for f in figures() if f.table == accuracy.replace("accuracy", "throughput") and f.quantity == "throughput"
        ]
        for time in times:
            rate = next(r for r in rates if (r.num_gpus, r.precision) == (time.num_gpus, time.precision))
            gaps.append(time.in_base_unit()[0] / (TRAINING_ROWS / rate.value) - 1)
    assert len(gaps) == 8
    assert round(max(gaps), 3) == 0.058
    assert max(gaps) < verdicts.RELATIVE < 1.2 * max(gaps)


def test_tolerances_name_their_origin():
    assert "the 16 published seeds" in find_tolerance(AUC).origin
    assert 1.1e-4 < find_tolerance(AUC).value < 2.5e-4
    assert find_tolerance(SPEED).value == pytest.approx(0.06 * SPEED.value)
    assert find_tolerance(TIME).value == pytest.approx(0.06 * 60 * TIME.value)


def test_verdict_words():
    assert VERDICTS == ("REPRODUCED", "WITHIN NOISE", "NOT REPRODUCED", "NOT COMPARABLE")
    assert str(verdicts.mark("NOT REPRODUCED")) == '<strong class="verdict not-reproduced">NOT REPRODUCED</strong>'
    assert Ours((1.0, 3.0), (), ()).mean == 2.0


@pytest.mark.parametrize(
    ("hardware", "gpu", "same"),
    [
        ("DGX A100 (8x A100 40GB)", "NVIDIA A100-SXM4-40GB", True),
        ("DGX A100 (8x A100 40GB)", "NVIDIA A100-SXM4-80GB", False),
        ("DGX-1 (8x V100 32GB)", "Tesla V100-SXM2-32GB", True),
        ("DGX-1 (8x V100 32GB)", "Tesla V100-SXM2-16GB", False),
        ("not stated", "NVIDIA A100-SXM4-40GB", False),
    ],
)
def test_names_of_gpus(hardware, gpu, same):
    assert bool(re.search(gpu_pattern(hardware), gpu)) is same
