import re

import pytest

from dlrm_core.schema.record import Metric, Series
from reports.html.svg import drawing
from reports.pages.throughput import bench_entries, throughput_page
from reports.pages.throughput_figures import Bar, Point, latency_against_throughput, roofline, speed_bars
from reports.read.collect import Entry, committed
from tests.reports.conftest import ENVIRONMENT, Runs

CASES = [
    {
        "size": "S",
        "batch_size": 64,
        "precision": precision,
        "implementation": "fast",
        "label": f"S, batch 64, {precision}, fast",
    }
    for precision in ("fp32", "bf16")
]


def throughput_record(runs: Runs, **fields) -> Entry:
    values = {
        **{"throughput": 1000.0, "compute throughput": 1200.0, "loader throughput": 90000.0, "step p50": 64.0},
        **{"step p95": 70.0, "step p99": 80.0, "step max": 99.0, "of limit": 0.25},
        **{"copy bandwidth": 1e10, "flop a sample": 3e6, "bytes a sample": 6e4, "limit rate": 2e11},
    }
    metrics = tuple(
        Metric(name=name, value=value, unit="1", split=CASES[0]["label"], selection="median")
        for name, value in values.items()
    )
    series = (Series(name="step", split=CASES[0]["label"], x_label="step", y_label="ms", x=(1.0, 2.0), y=(64.0, 99.0)),)
    choices = {CASES[1]["label"]: "cannot run: bf16 is not there"}
    config = {"cases": CASES}
    defaults = {"config": config, "metrics": metrics, "series": series, "choices": choices}
    record = runs.record("bench", "bench", "bench throughput", **(defaults | fields))
    return Entry("bench", runs.root / "bench", record)


def plain(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<svg.*?</svg>", "", page, flags=re.S)))


def test_cases_their_parts_and_what_could_not_run(runs):
    page = plain(throughput_page([throughput_record(runs)]))
    assert "S, batch 64, fp32, fast 1,000 1,200 90,000 64.00 70.00 80.00 99.00 25.0 %" in page
    assert "S, batch 64, bf16, fast cannot run: bf16 is not there" in page
    assert "No finished record of dlrm bench training was found." in page


def test_the_roofline_is_flop_over_bytes_and_flop_a_second(runs):
    page = throughput_page([throughput_record(runs)])
    assert re.search(r'<th scope="row">S, batch 64, fp32, fast</th><td[^>]*>50.00</td><td[^>]*>3.60</td>', page)
    assert re.search(r'<th scope="row">roof: fp32</th><td[^>]*></td><td[^>]*>200.00</td>', page)


def test_published_rates_stand_beside_ours_and_are_not_comparable_with_a_cpu(runs):
    page = plain(throughput_page([throughput_record(runs)]))
    assert "NOT COMPARABLE : a CPU beside one to sixteen GPUs" in page
    assert "DGX A100 (8x A100 40GB), 8 GPUs, amp 11771969.56" in page
    assert "ours: S, batch 64, fp32, fast, 2 CPU cores 1000" in page


def test_a_gpu_of_ours_is_not_called_a_cpu(runs):
    gpu = ENVIRONMENT.model_copy(update={"gpus": ("NVIDIA H200",)})
    page = plain(throughput_page([throughput_record(runs, environment=gpu)]))
    assert "a CPU beside" not in page
    assert "ours: S, batch 64, fp32, fast, NVIDIA H200 1000" in page


def test_unfinished_benchmarks_give_no_figures(runs):
    entry = throughput_record(runs, status="failed", reason="killed")
    assert bench_entries([entry], "bench throughput") == []


def test_the_committed_records_make_a_page_with_peers_limits_and_published_curves():
    page = throughput_page(committed())
    text = plain(page)
    for words in (
        *(
            "Training beside other implementations (N)",
            "Training beside other implementations (S)",
            "limit: stock fp32",
        ),
        *("published: A100 80GB, amp", "ours:auto, S", "Inference by batch size, every side", "valid: pytorch 58.9 %"),
    ):
        assert words in text, words
    assert page.count("<figure") == page.count("<figcaption") >= 5


def test_bars_curves_and_roofs_say_in_words_what_they_show():
    with drawing():
        bars = speed_bars(
            [Bar("ours", 57600.0, True, 5e4, 6e4), Bar("theirs", 1e4, False)], {"bf16": 1.2e5}, "Training"
        )
        roof = roofline([Point("S", 40.0, 1e11)], 2e10, {"fp32": 2e11}, "a step")
    assert bars.alt == "Training: ours 57.6k samples/s, theirs 10k samples/s."
    assert ["limit: bf16", "120000", "", ""] in bars.rows
    assert "S: 100 GFLOP/s at 40.0 FLOP a byte" in roof.alt


@pytest.mark.parametrize("broken", ["throughput", "step"])
def test_a_record_without_a_part_of_its_numbers_still_makes_a_page(runs, broken):
    entry = throughput_record(runs)
    record = entry.record.model_copy(
        update={"metrics": tuple(metric for metric in entry.record.metrics if not metric.name.startswith(broken))}
    )
    page = throughput_page([Entry(entry.folder, entry.path, record)])
    assert "Training: where the time goes" in page


def test_curves_are_drawn_by_batch(runs):
    from reports.pages.throughput_figures import Curve

    with drawing():
        drawn = latency_against_throughput([Curve("ours", True, (1, 64), (100.0, 4000.0), (10.0, 16.0))], "Inference")
    assert drawn.rows == [["ours", "1", "100", "10.000"], ["ours", "64", "4000", "16.000"]]
