"""Published figures: the tables of NVIDIA's READMEs and notebooks, one record for each number that is printed in them."""

import re
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dlrm_core.schema.base import Strict

Document = Literal["seed", "head", "triton", "notebook"]
# log_loss: natural logarithm, mean over rows. evaluation_throughput: scoring the test rows, as training throughput is of
# training. latency_pNN: that percentile over requests. total_model_size: of the weights. fits: 1 if it trains there, else 0.
Quantity = Literal[
    "auc",
    "auc_mean",
    "auc_std",
    "ks_statistic",
    "ks_p_value",
    "log_loss",
    "time_to_train",
    "speedup",
    "throughput",
    "evaluation_throughput",
    "latency_mean",
    "latency_p50",
    "latency_p90",
    "latency_p95",
    "latency_p99",
    "vram",
    "checkpoint_size",
    "total_model_size",
    "fits",
]
Unit = Literal["1", "s", "min", "ms", "us", "samples/s", "GB"]
Precision = Literal["fp32", "tf32", "amp", "fp16"]
BatchScope = Literal["global", "per GPU", "request"]
ModelSize = Literal["small", "large", "xlarge"]
# What a cell says about the numbers beside it.
Label = Literal["num_gpus", "hardware", "model_size", "frequency_limit", "batch", "seed", "precision", "concurrency"]
Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{8,40}$")]

_WORDS = {"Yes": 1.0, "NA": 0.0}
_DURATION = re.compile(r"(?:(\d+):)(\d\d):(\d\d)|(\d+)h(\d\d)m")
_NUMBER = re.compile(r"(\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?(?:e[+-]?\d+)?)([kM]?)")
_THOUSANDS = {"": 1, "k": 10**3, "M": 10**6}
_BASE = {"min": (60.0, "s"), "ms": (1e-3, "s"), "us": (1e-6, "s")}


def read_value(text: str) -> float:
    """The number that a cell prints: plain, with commas, with k or M for 10³ or 10⁶, a duration in seconds, Yes or NA.

    >>> [read_value(text) for text in ("0.80367", "14,796,024", "1.105M", "4.07e+05", "0:06:27", "2h56m", "NA")]
    [0.80367, 14796024.0, 1105000.0, 407000.0, 387.0, 10560.0, 0.0]

    Raises
    ------
    ValueError
        If it is none of these.
    """
    if text in _WORDS:
        return _WORDS[text]
    duration = _DURATION.fullmatch(text)
    if duration:
        hours, minutes, seconds, alone_hours, alone_minutes = (int(part or 0) for part in duration.groups())
        return float(3600 * (hours + alone_hours) + 60 * (minutes + alone_minutes) + seconds)
    number = _NUMBER.fullmatch(text)
    if not number:
        raise ValueError(f"{text!r} is no number as the tables print them, such as 0.80367, 12.5k or 0:06:27")
    return float(Decimal(number[1].replace(",", "")) * _THOUSANDS[number[2]])


class Facts(Strict):
    """What is known of a number besides itself; None is not stated, or does not apply.

    `num_gpus` is 0 for a processor without GPU. `batch_scope` says what `batch_size` really counts, whatever the heading of
    its column says; `batch_label` is what is printed, where k stands for 1024. `selection` is the rule that picked the number
    among those that a run made.
    """

    hardware: Text | None = None
    num_gpus: Annotated[int, Field(ge=0)] | None = None
    precision: Precision | None = None
    batch_size: Count | None = None
    batch_scope: BatchScope | None = None
    batch_label: Text | None = None
    model_size: ModelSize | None = None
    seed: int | None = None
    concurrency: Count | None = None
    implementation: Text | None = None
    selection: Text | None = None
    caveats: tuple[Text, ...] = ()


class PublishedFigure(Facts):
    """One printed number.

    `text` has all its digits, `value` is the same in `unit`. `row` and `column` say where it stands in its table. Hardware
    that the document does not state is "not stated".
    """

    id: Text
    table: Text
    row: Annotated[int, Field(ge=0)]
    column: Annotated[int, Field(ge=0)]
    quantity: Quantity
    text: Text
    value: float
    unit: Unit
    hardware: Text
    selection: Text
    source: Text
    commit: Commit
    section: Text

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.value != read_value(self.text):
            raise ValueError(f"{self.id}: {self.text!r} is {read_value(self.text)}, not {self.value}")
        if _DURATION.fullmatch(self.text) and self.unit != "s":
            raise ValueError(f"{self.id}: the duration {self.text!r} is read in s, its unit is {self.unit}")
        if (self.batch_size is None) != (self.batch_scope is None):
            raise ValueError(f"{self.id}: batch_size and batch_scope are given together or not at all")
        if self.batch_label is not None and self.batch_size is None:
            raise ValueError(f"{self.id}: the batch label {self.batch_label!r} has no batch_size")
        if self.batch_scope == "per GPU" and not self.num_gpus:
            raise ValueError(f"{self.id}: a batch per GPU needs num_gpus of 1 or more, it is {self.num_gpus}")
        return self

    @property
    def global_batch_size(self) -> int | None:
        """Rows of one step over all GPUs; None for requests to a server and where no batch is known."""
        if self.batch_size is None or self.batch_scope == "request":
            return None
        return self.batch_size * (self.num_gpus or 1) if self.batch_scope == "per GPU" else self.batch_size

    def in_base_unit(self) -> tuple[float, str]:
        """Value and unit with every time in seconds."""
        factor, unit = _BASE.get(self.unit, (1.0, self.unit))
        return self.value * factor, unit


class PublishedTable(Strict):
    """One table as printed, and the figures in it."""

    id: Text
    title: Text
    document: Document
    source: Text
    commit: Commit
    url: Annotated[str, Field(pattern=r"^https://\S+$")]
    section: Text
    head: tuple[Text, ...] = Field(min_length=1)
    rows: tuple[tuple[Text, ...], ...] = Field(min_length=1)
    figures: tuple[PublishedFigure, ...] = Field(min_length=1)
    caveats: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _figures_stand_in_it(self) -> Self:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.head):
                raise ValueError(f"{self.id}: row {number} has {len(row)} cells under {len(self.head)} headings")
        for figure in self.figures:
            inside = figure.row < len(self.rows) and figure.column < len(self.head)
            if figure.table != self.id or not inside or figure.text not in self.rows[figure.row][figure.column]:
                raise ValueError(f"{self.id}: {figure.id} does not stand in row {figure.row}, column {figure.column}")
        return self

    def of_row(self, row: int) -> tuple[PublishedFigure, ...]:
        """The figures of the `row`-th printed row, from 0."""
        return tuple(figure for figure in self.figures if figure.row == row)


class Column(Facts):
    """One column of a data file: either a label, or the quantities that each cell holds, in order."""

    head: Text
    label: Label | None = None
    measures: tuple[Quantity, ...] = ()
    unit: Unit | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.label is None) != bool(self.measures) or bool(self.measures) != (self.unit is not None):
            raise ValueError(f"column {self.head!r}: either a label, or measures with their unit is needed")
        return self


class Exceptional(Facts):
    """Facts of some rows, named by their first cell, and of all columns or some, counted from 0."""

    rows: tuple[Text, ...] = Field(min_length=1)
    columns: tuple[int, ...] = ()
    quantity: Quantity | None = None


class TableText(Strict):
    """One table of a data file: `rows` has one printed row a line, its cells parted by ``|``."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    title: Text
    section: Text
    columns: tuple[Column, ...] = Field(min_length=1)
    facts: Facts
    exceptions: tuple[Exceptional, ...] = ()
    rows: Text


class TableFile(Strict):
    """One data file: the tables of one document at one commit."""

    document: Document
    source: Text
    commit: Commit
    url: Annotated[str, Field(pattern=r"^https://\S+$")]
    shared: dict[str, Text] = Field(default_factory=dict)  # texts that stand in several tables, as YAML anchors
    tables: tuple[TableText, ...] = Field(min_length=1)
