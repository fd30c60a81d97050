"""Preparing a table again: plain Python over csv.reader, slow, with nothing taken from the code under test but the places."""

import csv
import math
from collections import Counter
from pathlib import Path

import numpy as np

from data_prep.permutation import shuffled_positions


def read_rows(paths, separator):
    rows = []
    for path in paths:
        with Path(path).open(encoding="utf-8-sig", newline="") as lines:
            rows += list(csv.DictReader(lines, delimiter=separator))
    return rows


def number(text, spec):
    if text in ("", *spec.missing):
        return 0.0
    x = float(text)
    if spec.numerical_transform == "none":
        return x
    return math.log(x + 3) if x > -3 else 0.0


def vocabulary(rows, column, spec, limit, kind=str):
    counts = Counter(row[column] for row in rows if row[column] not in ("", *spec.missing))
    kept = [(value, count) for value, count in counts.items() if count >= limit]
    return [value for value, _ in sorted(kept, key=lambda item: (-item[1], kind(item[0])))]


def twin_files(paths, spec, limit, kinds=None, seed=12345):
    """The bytes of every binary file by its path below DATA; `kinds` gives the order of a column's values, text if not."""
    rows = read_rows(paths, spec.separator)
    cut = len(rows) * 6 // 7
    parts = {"train": rows[:cut], "validation": [], "test": rows[cut:]}
    orders = {c: vocabulary(parts["train"], c, spec, limit, (kinds or {}).get(c, str)) for c in spec.categorical}
    files = {}
    for name, part in parts.items():
        n = len(part)
        place = shuffled_positions(n, n // 10, seed) if name == "train" else np.arange(n)
        columns = {"label.bin": np.array([row[spec.label].lower() in ("1", "true") for row in part], dtype="u1")}
        values = [[number(row[c], spec) for c in spec.numerical] for row in part]
        columns["numerical.bin"] = np.array(values, dtype="<f8").reshape(n, len(spec.numerical)).astype("<f2")
        for i, (c, order) in enumerate(orders.items()):
            width = "i1" if len(order) + 1 < 127 else "<i2"
            ids = {value: j for j, value in enumerate(order, 1)}
            columns[f"cat_{i}.bin"] = np.array([ids.get(row[c], 0) for row in part], dtype=width)
        for file, in_order in columns.items():
            on_disk = np.empty_like(in_order)
            on_disk[place] = in_order
            files[f"{name}/{file}"] = on_disk.tobytes()
    return orders, files
