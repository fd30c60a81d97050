import re

from dlrm_core.schema.record import Metric
from reports.pages.own_tables import own_tables
from reports.read.collect import Entry
from tests.reports.conftest import Runs
from tests.reports.pages.test_stability import FP32, SAME, sweep
from tests.reports.pages.test_throughput import CASES, throughput_record


def metric(name: str, value: float, split: str = "test") -> Metric:
    return Metric(name=name, value=value, unit="1", split=split, selection="mean of 5 seeds")


def rows(html: str) -> list[list[str]]:
    found = re.findall(r"<tr>(.*?)</tr>", html)
    return [[re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)] for row in found]


def test_accuracy_time_to_train_and_speed_up(runs: Runs):
    times = [metric("time_to_train, fp32", 30.0, "train"), metric("time_to_train, bf16", 20.0, "train")]
    metrics = (metric("auc, fp32", 0.7502), metric("auc, bf16", 0.75021), *times)
    entry = sweep(runs, {"fp32": FP32, "bf16": SAME}, metrics=metrics)
    found = rows(own_tables([entry], []))
    assert found[1] == [
        "sweep",
        "a processor",
        "0",
        "tiny",
        "–",
        "fp32, bf16",
        "5",
        "0.750200",
        "0.750210",
        "30.0",
        "20.0",
        "1.50",
    ]


def test_a_precision_without_a_score_makes_no_row(runs: Runs):
    entry = sweep(runs, {"fp32": FP32, "bf16": {}}, metrics=(metric("auc, fp32", 0.7502),))
    assert "0.750200" not in own_tables([entry], [])


def test_throughput_pairs_cases_that_differ_in_precision_alone(runs: Runs):
    entry = throughput_record(runs)
    lower = metric("throughput", 2500.0, CASES[1]["label"])
    record = entry.record.model_copy(update={"metrics": (*entry.record.metrics, lower)})
    found = rows(own_tables([], [Entry("bench", entry.path, record)]))
    assert found[1] == ["bench", "a processor", "0", "S", "64", "fast", "fp32, bf16", "1000.00", "2500.00", "2.50"]
    assert len(found) == 2


def test_nothing_is_said_where_there_is_nothing():
    page = own_tables([], [])
    assert "No record of a sweep with two precisions was found." in page
    assert "No record of a benchmark with two precisions was found." in page
