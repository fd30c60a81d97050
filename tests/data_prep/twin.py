"""The whole preprocessing again: slow, plain Python, and with nothing taken from the code under test but names.

`Rules` are the points at which an implementation could go another way; the tests bend them one by one to see that a
wrong implementation would be found out.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SPLITS = ("train", "validation", "test")


def code_log(x: int | None) -> float:
    """What the seed's code does: ln(x + 3); missing and what has no logarithm is 0."""
    return math.log(x + 3) if x is not None and x > -3 else 0.0


def readme_log(x: int | None) -> float:
    """What the seed's README says: missing is 0 first, then ln(x + 2); what has no logarithm is 0."""
    x = 0 if x is None else x
    return math.log(x + 2) if x > -2 else 0.0


def no_log(x: int | None) -> float:
    return 0.0 if x is None else float(x)


@dataclass(frozen=True)
class Rules:
    kept: Callable[[int, int], bool] = lambda count, limit: count >= limit
    order: Callable[[tuple[str, int]], tuple] = lambda item: (-item[1], item[0])
    number: Callable[[int | None], float] = code_log
    counted: tuple[str, ...] = ("train",)
    first_id: int = 1
    counts_missing: bool = False


@dataclass(frozen=True)
class Part:
    """Columns of one split in input order."""

    label: list[int] = field(default_factory=list)
    numerical: list[list[float]] = field(default_factory=list)
    ids: list[list[int]] = field(default_factory=list)


def twin(lines: dict[str, list[str]], limit: int, rules: Rules) -> tuple[list[list[str]], dict[str, Part]]:
    """The values of each of the 26 columns in the order of their ids, and every split."""
    rows = {name: [line.split("\t") for line in lines[name]] for name in SPLITS}
    vocabularies = []
    for column in range(14, 40):
        seen = Counter(row[column] for name in rules.counted for row in rows[name])
        if not rules.counts_missing:
            del seen[""]
        kept = [(value, count) for value, count in seen.items() if rules.kept(count, limit)]
        vocabularies.append([value for value, _ in sorted(kept, key=rules.order)])
    ids = [{value: i for i, value in enumerate(values, start=rules.first_id)} for values in vocabularies]
    parts = {}
    for name in SPLITS:
        parts[name] = Part(
            label=[int(row[0]) for row in rows[name]],
            numerical=[[rules.number(int(x) if x else None) for x in row[1:14]] for row in rows[name]],
            ids=[[table.get(x, 0) for table, x in zip(ids, row[14:], strict=True)] for row in rows[name]],
        )
    return vocabularies, parts


def width(cardinality: int) -> str:
    return "i1" if cardinality < 127 else "<i2" if cardinality < 32767 else "<i4"


def same_files(
    folder: Path, lines: dict[str, list[str]], limit: int, rules: Rules, places: dict[str, Iterable]
) -> bool:
    """Whether every byte of DATA's binary files is what the twin makes; `places` holds each input row's place on disk."""
    vocabularies, parts = twin(lines, limit, rules)
    for name, part in parts.items():
        place = np.asarray(places[name], dtype=np.int64)
        columns = {"label.bin": np.array(part.label, dtype="u1")}
        numerical = np.array(part.numerical, dtype="<f8").reshape(len(place), 13)
        with np.errstate(over="ignore"):  # a bent rule may leave float16's range
            columns["numerical.bin"] = numerical.astype("<f2")
        ids = np.array(part.ids, dtype="<i8").reshape(len(place), 26)
        for i, values in enumerate(vocabularies):
            columns[f"cat_{i}.bin"] = ids[:, i].astype(width(len(values) + 1))
        for file, in_order in columns.items():
            on_disk = np.empty_like(in_order)
            on_disk[place] = in_order
            if (folder / name / file).read_bytes() != on_disk.tobytes():
                return False
    return True
