"""Training speeds: the formulas by hand, the request, and the command with real processes at a tiny size."""

from dataclasses import replace

import pytest

from dlrm_core.bench import throughput
from dlrm_core.bench.cost import bytes_a_sample, flop_a_sample, layer_flop_a_sample
from dlrm_core.bench.figures import Measured
from dlrm_core.bench.rounds import Rounds
from dlrm_core.bench.step_parts import PARTS, Side, side_config
from dlrm_core.bench.throughput import _choices, _Group, _metrics, bench_throughput
from dlrm_core.bench.throughput_request import Asked, Case
from dlrm_core.bench.workload import CARDINALITIES, CONFIGS, NUM_NUMERICAL
from dlrm_core.data import open_part
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import read_record
from dlrm_core.synthetic import write_synthetic
from tests.train.builders import write_dataset

ASKED = Asked(["S"], [64], ["fp32", "fp16"], ["fast"], rounds=2, steps=3)
RAN, REFUSED = "S, batch 64, fp32, fast", "S, batch 64, fp16, fast"


# What a step costs


def test_flop_of_a_row_layer_by_layer():
    bottom = [(13, 512), (512, 256), (256, 64), (64, 16)]
    top = [(16 + 351, 512), (512, 256), (256, 1)]
    by_layer = [4 * 13 * 512, *(6 * i * o for i, o in [*bottom[1:], *top])]
    assert layer_flop_a_sample(CONFIGS["S"]) == sum(by_layer)
    assert flop_a_sample(CONFIGS["S"]) == sum(by_layer) + 6 * 351 * 16


def test_bytes_of_a_row_tensor_by_tensor():
    """The smallest model: one layer a side, dimension 2, batch 10, bfloat16."""
    tiny = replace(CONFIGS["S"], embedding_dim=2, bottom_mlp_sizes=(2,), top_mlp_sizes=(1,))
    tables, features, pairs = 26, 27, 351
    read = 13 * 4 + tables * 8 + 4 + tables * 8
    look_up, update = tables * 2 * (4 + 2), tables * 2 * (2 + 4 + 4)
    z = 2 + pairs
    interaction = 2 * (features * 2 + z) + 2 * (z + features * 2 + features * 2)
    bottom, top = 2 * 2 * (13 + 2), 3 * 2 * (z + 1)
    # float32 gradient written and read, weight read and written, rounded from 4 to 2 bytes, read by one product or two
    weights = (13 * 2 + 2) * (8 + 8 + 6 + 2) + (z + 1) * (8 + 8 + 6 + 4)
    assert bytes_a_sample(tiny, 10, 2) == pytest.approx(
        read + look_up + update + interaction + bottom + top + weights / 10
    )


def test_weights_cost_less_a_row_in_a_larger_batch_and_numbers_less_in_bfloat16():
    assert bytes_a_sample(CONFIGS["N"], 4096, 4) < bytes_a_sample(CONFIGS["N"], 256, 4)
    assert bytes_a_sample(CONFIGS["N"], 4096, 2) < bytes_a_sample(CONFIGS["N"], 4096, 4)


# What is asked for


def test_every_combination_is_a_case():
    asked = Asked(["S", "N"], [8, 16], ["fp32", "bf16"], ["reference", "fast"])
    labels = [case.label for case in asked.cases()]
    assert len(set(labels)) == 16
    assert labels[0] == "S, batch 8, fp32, reference"
    assert labels[-1] == "N, batch 16, bf16, fast"
    assert "--sizes S N --batch-sizes 8 16 --precisions fp32 bf16 --implementations reference fast" in asked.words()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sizes": ["M"]}, "--sizes: M came; some of S, N are needed"),
        ({"precisions": ["fp31"]}, "--precisions: fp31 came"),
        ({"implementations": ["fast", "fast"]}, "--implementations: fast, fast came"),
        ({"implementations": []}, "--implementations: nothing came"),
        ({"batch_sizes": [0]}, "--batch-sizes"),
        ({"batch_sizes": []}, "--batch-sizes"),
        ({"batch_sizes": [8, 8]}, "--batch-sizes"),
        ({"rounds": 0}, "--rounds: 0 came; at least 1"),
        ({"steps": 1}, "--steps: 1 came; at least 2"),
    ],
)
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises(KitError, match=message):
        Asked(**wrong)


# From seconds to figures


@pytest.fixture
def metrics():
    """Four rounds, the third of them loud, of a case whose steps take known seconds."""
    steps = [[0.010, 0.010, 0.020], [0.010, 0.010, 0.010], [9.0, 9.0, 9.0], [0.010, 0.030, 0.010]]
    name = "bf16, fast"
    seconds = {
        f"{name}: whole": steps,
        f"{name}: compute": [[0.008]] * 4,
        f"{name}: loader": [[0.001]] * 4,
        "stock fp32": [[0.5]] * 4,
        "oneDNN fp32": [[0.3]] * 4,
        "bf16": [[0.004]] * 4,
        "copy": [[0.1]] * 4,
    }
    measured = Measured("S, batch 100", 100, "step", [], Rounds([1.0, 1.1, 5.0, 1.0], seconds))

    def of(precision):
        shared = {key.replace("bf16, fast", f"{precision}, fast"): value for key, value in seconds.items()}
        group = replace(measured, rounds=Rounds(measured.rounds.gauge_s, shared))
        return {metric.name: metric for metric in _metrics(group, Case("S", 100, precision, "fast"))}

    return of


def test_speeds_and_shares_of_a_limit(metrics):
    found = metrics("bf16")
    assert {metric.split for metric in found.values()} == {"S, batch 100, bf16, fast"}
    assert found["throughput"].value == pytest.approx(100 / 0.010)
    assert found["compute throughput"].value == pytest.approx(100 / 0.008)
    assert found["loader throughput"].value == pytest.approx(100 / 0.001)
    assert found["of limit"].value == pytest.approx(0.4)
    assert found["compute of limit"].value == pytest.approx(0.5)
    assert found["limit rate"].value == pytest.approx(layer_flop_a_sample(CONFIGS["S"]) * 100 / 0.004)
    assert found["copy bandwidth"].value == pytest.approx(2 * 2**28 / 0.1)
    assert "median of 9 in 3 quiet of 4 rounds" in found["throughput"].selection


def test_the_limit_is_the_fastest_route_of_the_precision_and_absent_where_none_was_measured(metrics):
    assert "oneDNN fp32" in metrics("fp32")["of limit"].selection
    assert metrics("fp32")["of limit"].value == pytest.approx(30)
    assert "of limit" not in metrics("fp16")
    assert "throughput" in metrics("fp16")


def test_a_case_without_a_limit_says_so_if_it_runs():
    cases = [Case("S", 8, precision, "reference") for precision in ("bf16", "fp16", "tf32")]
    words = {"bf16, reference": "runs", "fp16, reference": "runs", "tf32, reference": "cannot run: no GPU"}
    assert _choices(cases, words, ["bf16, reference", "fp16, reference"]) == {
        "S, batch 8, bf16, reference": "runs",
        "S, batch 8, fp16, reference": "runs",
        "S, batch 8, tf32, reference": "cannot run: no GPU",
        "S, batch 8, fp16, reference: limit": "none, products in fp16 are not measured",
    }


def test_the_distribution_counts_quiet_steps_alone(metrics):
    found = metrics("bf16")
    assert found["step p50"].value == pytest.approx(10)
    assert found["step max"].value == pytest.approx(30)
    assert found["step p50"].value < found["step p95"].value < found["step p99"].value < found["step max"].value
    assert found["step p99"].selection == "of 9 in 3 quiet of 4 rounds"


# With real parts


def test_a_side_trains_on_what_it_reads(tmp_path, monkeypatch):
    """Every part gets batches of the right size, the loader alone trains nothing, and a short data set is read again."""
    write_dataset(tmp_path / "DATA", train=50, cardinalities=(5,) * 26, num_numerical=13)
    side = Side(side_config("S", "fp32", "reference"), "reference", tmp_path / "DATA")
    seen = []
    step = side._step.run
    monkeypatch.setattr(side._step, "run", lambda batch: (seen.append(len(batch)), step(batch)))
    counts = {}
    for what in PARTS:
        seconds = side.seconds(what, 20, 4)
        assert len(seconds) == 4
        assert min(seconds) > 0
        counts[what] = len(seen)
    assert counts == {"whole": 4, "compute": 8, "loader": 8}
    assert set(seen) == {20}
    assert side._step.step == 8


def test_what_the_loader_read_during_the_first_wait_counts_too():
    """Six batches a second, all of them there when the first is taken."""

    class Bursts:
        def seconds(self, what, _batch_size, steps):
            return [steps / 6, *[1e-9] * (steps - 1)] if what == "loader" else [9.0, *[0.5] * (steps - 1)]

    spent = _Group(CONFIGS["S"], 64, {"fp32, fast": Bursts()}, None).measure("fp32, fast", 4)
    assert spent["fp32, fast: loader"] == [pytest.approx(1 / 6)]
    assert spent["fp32, fast: whole"] == spent["fp32, fast: compute"] == [0.5] * 3


def test_fast_means_the_compiled_kernels(tmp_path):
    with pytest.raises(KitError, match="fast needs the compiled kernels, but there are only torch and autograd"):
        Side(side_config("S", "fp16", "fast"), "fast", tmp_path)
    assert side_config("S", "bf16", "reference").deterministic
    assert not side_config("S", "bf16", "fast").deterministic


def test_data_with_other_features_or_too_few_rows_are_refused(tmp_path):
    write_dataset(tmp_path / "OTHER")
    with pytest.raises(KitError, match="has 4 numerical and 3 categorical features; the models need 13 and 26"):
        bench_throughput(out=tmp_path / "B", asked=ASKED, data=tmp_path / "OTHER")
    assert read_record(tmp_path / "B").status == "failed"
    write_dataset(tmp_path / "SHORT", train=50, cardinalities=(5,) * 26, num_numerical=13)
    with pytest.raises(KitError, match="has 50 training rows, batches of 64"):
        bench_throughput(out=tmp_path / "B", asked=ASKED, data=tmp_path / "SHORT")


def test_the_data_set_that_is_made_has_the_workloads_tables(tmp_path):
    write_synthetic(out=tmp_path, config=throughput._synthetic(ASKED))
    part = open_part(tmp_path, "train")
    assert tuple(part.spec.cardinalities.values()) == CARDINALITIES
    assert len(part.spec.numerical) == NUM_NUMERICAL
    assert len(part) == 16 * 64


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    out = tmp_path_factory.mktemp("throughput")
    made = bench_throughput(out=out, asked=ASKED)
    assert read_record(out) == made
    assert [path.name for path in out.iterdir()] == ["run.json"]
    return made


def test_the_record_holds_every_figure_of_a_case_that_ran(record):
    assert record.status == "finished"
    assert record.command == "bench"
    assert record.name == "bench throughput"
    names = {metric.name for metric in record.metrics if metric.split == RAN}
    assert names == {
        *("throughput", "compute throughput", "loader throughput", "of limit", "compute of limit", "limit rate"),
        *(f"{what} {share}" for what in ("step", "compute step") for share in ("p50", "p95", "p99", "max")),
        *("gauge", "copy bandwidth", "flop a sample", "bytes a sample"),
    }
    assert all(metric.value > 0 for metric in record.metrics)
    assert record.metric("limit bf16", "S, batch 64").unit == "samples/s"


def test_every_single_step_is_kept(record):
    """Of each round's three steps the first is not counted."""
    lengths = {series.name: len(series.y) for series in record.series if series.split == RAN}
    assert lengths == {"step": 2 * 2, "compute step": 2 * 2}


def test_cases_can_be_grouped_without_reading_their_names(record):
    assert record.config["cases"] == [
        {"size": "S", "batch_size": 64, "precision": "fp32", "implementation": "fast", "label": RAN},
        {"size": "S", "batch_size": 64, "precision": "fp16", "implementation": "fast", "label": REFUSED},
    ]
    assert record.repeat == (
        "dlrm bench throughput --out DIR --sizes S --batch-sizes 64 --precisions fp32 fp16 --implementations fast "
        "--rounds 2 --steps 3"
    )


def test_a_case_that_cannot_run_says_why(record):
    assert record.choices[REFUSED].startswith("cannot run: ")
    assert "precision is fp16" in record.choices[REFUSED]
    assert record.choices[RAN].startswith("precision: fp32")
    assert not [metric for metric in record.metrics if metric.split == REFUSED]
