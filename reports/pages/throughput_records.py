"""Drawings and values from one record of `bench throughput`; the notebook and the page show the same ones."""

from collections.abc import Iterator, Sequence

from dlrm_core.schema.record import RunRecord
from reports.html.drawing import Drawing
from reports.pages.throughput_figures import Point, part_marks, roofline

PARTS = {"whole": "throughput", "compute only": "compute throughput", "loader only": "loader throughput"}


def case_labels(record: RunRecord) -> list[str]:
    """The cases that could run."""
    return [case["label"] for case in record.config["cases"] if record.metric("throughput", case["label"])]


def part_speeds(record: RunRecord) -> Drawing:
    """A line a case with three marks: the whole, the step on batches in memory, the loader; call it within `drawing()`."""
    speeds = {
        label: {words: value for words, name in PARTS.items() if (value := value_of(record, name, label)) is not None}
        for label in case_labels(record)
    }
    return part_marks(speeds, "Training as a whole, its compute alone and its loader alone")


def roofline_of(record: RunRecord) -> Drawing | None:
    """The roofline of every case with a measured limit; None if there is none."""
    labels = case_labels(record)
    points, peaks = list(_points(record, labels)), dict(_peaks(record, labels))
    bandwidth = next((v for label in labels if (v := value_of(record, "copy bandwidth", label)) is not None), None)
    if not points or not peaks or not bandwidth:
        return None
    return roofline(points, bandwidth, peaks, "the training step")


def _points(record: RunRecord, labels: Sequence[str]) -> Iterator[Point]:
    for label in labels:
        flop, moved = value_of(record, "flop a sample", label), value_of(record, "bytes a sample", label)
        speed = value_of(record, "compute throughput", label)
        if flop is not None and moved is not None and speed is not None:
            yield Point(label, flop / moved, flop * speed)


def _peaks(record: RunRecord, labels: Sequence[str]) -> Iterator[tuple[str, float]]:
    """The fastest products of each precision."""
    precision = {case["label"]: case["precision"] for case in record.config["cases"]}
    best: dict[str, float] = {}
    for label in labels:
        rate = value_of(record, "limit rate", label)
        if rate is not None:
            best[precision[label]] = max(rate, best.get(precision[label], 0.0))
    yield from best.items()


def value_of(record: RunRecord, name: str, split: str) -> float | None:
    """A metric's value, None if the record has none of that name and split."""
    metric = record.metric(name, split)
    return metric.value if metric else None


def text_of(record: RunRecord, name: str, split: str, form: str) -> str:
    """The same as text, a dash if there is none."""
    value = value_of(record, name, split)
    return "–" if value is None else format(value, form)
