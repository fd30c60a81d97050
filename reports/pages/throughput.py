"""The page on speed: training by case and part, beside other implementations, the roofline, inference, and the published rates."""

from collections.abc import Iterator, Sequence

from dlrm_core.schema.published import PublishedFigure
from dlrm_core.schema.record import RunRecord
from reports.html.document import figure
from reports.html.drawing import Drawing
from reports.html.markup import Html, code, join, section, table, tag
from reports.html.svg import drawing
from reports.pages.throughput_figures import (
    Bar,
    Curve,
    latency_against_throughput,
    speed_bars,
    step_times,
)
from reports.pages.throughput_records import case_labels, part_speeds, roofline_of, text_of, value_of
from reports.published import figures, read_tables
from reports.read.collect import Entry
from reports.stats.verdicts import mark

SHOWN_LIMITS = ("stock fp32", "bf16")


def bench_entries(entries: Sequence[Entry], name: str) -> list[Entry]:
    """The finished records of one benchmark."""
    return [
        e
        for e in entries
        if e.record.command == "bench" and e.record.name.startswith(name) and e.record.status == "finished"
    ]


def throughput_page(entries: Sequence[Entry]) -> Html:
    """Title, then a section for each kind of record that is there, and the published rates."""
    makers = {"bench throughput": _cases, "bench training": _peers, "bench inference": _inference}
    parts, number = [], 1
    with drawing():
        for name, maker in makers.items():
            found = bench_entries(entries, name)
            if not found:
                parts.append(
                    section(
                        2,
                        TITLES[name],
                        tag("p", join(["No finished record of ", code(f"dlrm {name}"), " was found."], "")),
                    )
                )
            for entry in found:
                drawn, rest = maker(entry.record)
                shown = [figure(each, number + place) for place, each in enumerate(drawn)]
                number += len(drawn)
                parts.append(
                    section(2, TITLES[name] + _of(entry, found), _machine(entry), *shown, *rest, id_=f"s{len(parts)}")
                )
        parts.append(section(2, "Beside the published rates", *_published(entries, number)))
    intro = (
        "Speeds in samples a second. A figure of ours is the median of rounds in which all sides took turns on the same machine; "
        "ranges are those of the rounds, limits were measured in the same rounds."
    )
    return join([tag("h1", "Throughput"), tag("p", intro), *parts])


TITLES = {
    "bench throughput": "Training: where the time goes",
    "bench training": "Training beside other implementations",
    "bench inference": "Inference: latency against throughput",
}


def _of(entry: Entry, found: Sequence[Entry]) -> str:
    return f" ({entry.record.name.rpartition(', ')[2]})" if len(found) > 1 else ""


def _machine(entry: Entry) -> Html:
    environment = entry.record.environment
    on = ", ".join(environment.gpus) or f"{environment.processor}, {environment.cores} cores"
    return tag("p", join([f"Measured on: {on}. Repeat with ", code(entry.record.repeat), "."], ""), class_="note")


def _cases(record: RunRecord) -> tuple[list[Drawing], list[Html]]:
    """Whole, compute only and loader only for every case, step times, and the roofline."""
    labels = case_labels(record)
    if not labels:
        return [], [tag("p", "The record has no speeds.")]
    drawn = [part_speeds(record), *_step_times(record, labels)]
    roof = roofline_of(record)
    not_run = {label: words for label, words in record.choices.items() if words.startswith("cannot run")}
    rest = [_cases_table(record, labels)]
    if not_run:
        rest.append(table(["case", "why"], list(not_run.items()), "Cases that cannot run here"))
    return [*drawn, *([roof] if roof else [])], rest


def _step_times(record: RunRecord, labels: Sequence[str]) -> Iterator[Drawing]:
    """A figure for each size of model, since more lines could not be told apart."""
    times = {series.split: series.y for series in record.series if series.name == "step" and series.split in labels}
    for size in dict.fromkeys(case["size"] for case in record.config["cases"]):
        of_size = {
            case["label"]: times[case["label"]]
            for case in record.config["cases"]
            if case["size"] == size and case["label"] in times
        }
        if of_size:
            yield step_times(of_size, f"the whole step, model {size}")


def _cases_table(record: RunRecord, labels: Sequence[str]) -> Html:
    head = ["case", "whole", "compute only", "loader only", "step p50 [ms]", "p95", "p99", "longest", "of the limit"]
    names = ("throughput", "compute throughput", "loader throughput")
    steps = ("step p50", "step p95", "step p99", "step max")
    rows = []
    for label in labels:
        speeds = [text_of(record, name, label, ",.0f") for name in names]
        share = value_of(record, "of limit", label)
        times = [text_of(record, name, label, ".2f") for name in steps]
        rows.append([label, *speeds, *times, "–" if share is None else f"{100 * share:.1f} %"])
    return table(head, rows, "Training by size, batch, precision and implementation [samples/s]")


def _peers(record: RunRecord) -> tuple[list[Drawing], list[Html]]:
    """Bars of every side, by configuration."""
    drawn = []
    for split in dict.fromkeys(metric.split for metric in record.metrics if metric.name.endswith(" throughput")):
        sides = [
            m.name.removesuffix(" throughput")
            for m in record.metrics
            if m.split == split and m.name.endswith(" throughput")
        ]
        bars = [
            Bar(side, value, side.startswith("ours:"), *_range(record, side, split))
            for side in sides
            if (value := value_of(record, f"{side} throughput", split)) is not None
        ]
        limits = {name: v for name in SHOWN_LIMITS if (v := value_of(record, f"limit {name}", split)) is not None}
        bars.sort(key=lambda bar: -bar.value)
        drawn.append(speed_bars(bars, limits, f"Training, config {split}"))
    verdicts = [tag("p", m.selection) for m in record.metrics if m.name == "valid"]
    sides_table = table(
        ["side", "what it is"], list(record.choices.items()), f"The sides of {', '.join(_splits(record))}"
    )
    return drawn, [*verdicts, sides_table]


def _splits(record: RunRecord) -> list[str]:
    return list(dict.fromkeys(metric.split for metric in record.metrics))


def _range(record: RunRecord, side: str, split: str) -> tuple[float, float] | tuple[()]:
    """Samples a second of the slowest and the fastest round."""
    batch = int(split.rsplit(" ", 1)[1])
    times = next((s.y for s in record.series if s.name == f"{side} by round" and s.split == split), ())
    return (1e3 * batch / max(times), 1e3 * batch / min(times)) if times else ()


def _inference(record: RunRecord) -> tuple[list[Drawing], list[Html]]:
    """Our curves and the published ones, and the numbers of each side."""
    curves = [*_our_curves(record), *_published_curves()]
    rows = [
        [
            m.split,
            m.name.removesuffix(" throughput"),
            f"{m.value:,.0f}",
            text_of(record, m.name.replace("throughput", "call"), m.split, ".3f"),
        ]
        for m in record.metrics
        if m.name.endswith(" throughput")
    ]
    made = table(["config", "side", "samples/s", "call [ms]"], rows, "Inference by batch size, every side")
    note = "The published curves are of GPUs: NOT COMPARABLE with a CPU's; they show where such hardware stands."
    return [latency_against_throughput(curves, "Inference")], [tag("p", note, class_="note"), made]


def _our_curves(record: RunRecord) -> Iterator[Curve]:
    sides = dict.fromkeys(
        m.name for m in record.metrics if m.name.startswith("ours:") and m.name.endswith(" throughput")
    )
    for config in dict.fromkeys(m.split.partition(",")[0] for m in record.metrics):
        for name in sides:
            found = [m for m in record.metrics if m.name == name and m.split.startswith(f"{config},")]
            side = name.removesuffix(" throughput")
            calls = [value_of(record, f"{side} call", m.split) for m in found]
            if found and all(call is not None for call in calls):
                batches = tuple(int(m.split.rsplit(" ", 1)[1]) for m in found)
                latency = tuple(call for call in calls if call is not None)
                yield Curve(f"{side}, {config}", True, batches, tuple(m.value for m in found), latency)


def _published_curves() -> Iterator[Curve]:
    """The inference tables of the last README, with CUDA graphs."""
    for each in read_tables():
        if not each.id.startswith("head-inference"):
            continue
        rates = [
            f
            for f in each.figures
            if f.quantity == "throughput" and "no" not in (f.implementation or "").lower().split()
        ]
        for precision in dict.fromkeys(f.precision for f in rates):
            points = sorted((f.batch_size or 0, f.value) for f in rates if f.precision == precision)
            batches, throughput = zip(*points, strict=True)
            latency = tuple(1e3 * batch / rate for batch, rate in points)
            yield Curve(f"published: {rates[0].hardware}, {precision}", False, batches, throughput, latency)


def _published(entries: Sequence[Entry], number: int) -> list[Html]:
    """The seed's training rates and our fastest ones as bars."""
    published = [f for f in figures() if f.quantity == "throughput" and f.table.startswith("seed-throughput")]
    ours = [
        Bar(f"ours: {label}, {_on(entry)}", value, True)
        for entry in bench_entries(entries, "bench throughput")
        for label in _best_by_precision(entry.record)
        if (value := value_of(entry.record, "throughput", label)) is not None
    ]
    bars = sorted(
        [*ours, *(Bar(_of_published(f), f.value, False, text=f.text) for f in published)], key=lambda bar: -bar.value
    )
    words = ": a CPU beside one to sixteen GPUs, other table sizes and batches. The numbers are on the page of published tables."
    shown = figure(
        speed_bars(bars, {}, "Training throughput, published in June 2020 and ours", logarithmic=True), number
    )
    return [tag("p", join([mark("NOT COMPARABLE"), words], "")) if _only_cpu(entries) else Html(""), shown]


def _only_cpu(entries: Sequence[Entry]) -> bool:
    return not any(entry.record.environment.gpus for entry in entries if entry.record.command == "bench")


def _best_by_precision(record: RunRecord) -> list[str]:
    best: dict[tuple[str, str], tuple[float, str]] = {}
    for case in record.config["cases"]:
        value = value_of(record, "throughput", case["label"])
        key = (case["size"], case["precision"])
        if value is not None:
            best[key] = max(best.get(key, (0.0, "")), (value, case["label"]))
    return [label for _, label in best.values()]


def _on(entry: Entry) -> str:
    environment = entry.record.environment
    return environment.gpus[0] if environment.gpus else f"{environment.cores} CPU cores"


def _of_published(each: PublishedFigure) -> str:
    gpus = f"{each.num_gpus} GPU{'s' if (each.num_gpus or 0) > 1 else ''}"
    return f"{each.hardware}, {gpus}, {each.precision}"
