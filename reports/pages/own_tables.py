"""Ours in the form of the published tables: accuracy and time to train, and throughput, full precision beside a lower one."""

from collections.abc import Iterator, Sequence

from dlrm_core.schema.record import RunRecord
from reports.html.markup import Html, join, section, table, tag
from reports.pages.throughput_records import value_of
from reports.read.collect import Entry

ACCURACY = (
    *("record", "system", "GPUs", "preset", "batch size", "precisions", "seeds n", "AUC, full", "AUC, lower"),
    *("time to train [s], full", "lower", "speed-up"),
)
THROUGHPUT = (
    *("record", "system", "GPUs", "model", "batch size", "implementation", "precisions", "full [samples/s]"),
    *("lower [samples/s]", "speed-up"),
)


def own_tables(sweeps: Sequence[Entry], benches: Sequence[Entry]) -> Html:
    """Both tables, from the records of `dlrm sweep` and `dlrm bench throughput`."""
    accuracy = [[entry.folder, *row] for entry in sweeps for row in _accuracy(entry.record)]
    throughput = [
        [entry.folder, *row]
        for entry in benches
        if entry.record.name == "bench throughput"
        for row in _throughput(entry.record)
    ]
    parts = [
        table(ACCURACY, accuracy, "Ours: training accuracy, in the form of the published table")
        if accuracy
        else tag("p", "No record of a sweep with two precisions was found."),
        table(THROUGHPUT, throughput, "Ours: training throughput, in the form of the published table")
        if throughput
        else tag("p", "No record of a benchmark with two precisions was found."),
    ]
    note = "Means over the seeds, medians of times; a batch size is global. Which data these are of is told on the other pages."
    return section(2, "Ours in the same form", tag("p", note, class_="note"), join(parts))


def _accuracy(record: RunRecord) -> Iterator[list[str]]:
    modes = list(record.config["modes"])
    batch = record.config.get("train", {}).get("batch_size", "–")
    seeds = {series.name: len(series.x) for series in record.series}
    for mode in modes[1:]:
        aucs = [value_of(record, f"auc, {name}", "test") for name in (modes[0], mode)]
        times = [value_of(record, f"time_to_train, {name}", "train") for name in (modes[0], mode)]
        if None in aucs:
            continue
        n = min(seeds.get(f"auc, {name}", 0) for name in (modes[0], mode))
        row = [*_system(record), str(record.config["preset"]), str(batch), f"{modes[0]}, {mode}", str(n)]
        yield [*row, *(f"{auc:.6f}" for auc in aucs), *(_number(s, ".1f") for s in times), _ratio(times[0], times[1])]


def _throughput(record: RunRecord) -> Iterator[list[str]]:
    cases = record.config["cases"]
    for full in (case for case in cases if case["precision"] == "fp32"):
        for lower in cases:
            same = all(lower[key] == full[key] for key in ("size", "batch_size", "implementation"))
            rates = [value_of(record, "throughput", case["label"]) for case in (full, lower)]
            if same and lower["precision"] != "fp32" and None not in rates:
                row = [*_system(record), full["size"], str(full["batch_size"]), full["implementation"]]
                row += [f"fp32, {lower['precision']}", *(_number(rate, ".2f") for rate in rates)]
                yield [*row, _ratio(rates[1], rates[0])]


def _system(record: RunRecord) -> list[str]:
    environment = record.environment
    return [environment.gpus[0] if environment.gpus else environment.processor, str(len(environment.gpus))]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _ratio(above: float | None, below: float | None) -> str:
    return f"{above / below:.2f}" if above is not None and below else "–"
