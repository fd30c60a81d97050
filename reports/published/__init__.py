"""NVIDIA's published tables, read from the data files beside this module; no number is typed twice.

A data file says once for a table, a column or some rows what is known of the numbers there, and then gives the rows as they are
printed. Here each number gets the facts of its table, its column, its row's labels and its exceptions, the later before the
earlier; caveats add up.
"""

import re
from collections import Counter
from functools import cache
from importlib import resources
from typing import Any, get_args

from dlrm_core.schema.base import parse_yaml
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.published import (
    Column,
    Facts,
    Label,
    ModelSize,
    PublishedFigure,
    PublishedTable,
    TableFile,
    TableText,
    read_value,
)

FILES = ("seed.yaml", "head.yaml", "triton.yaml", "notebook_training.yaml", "notebook_triton.yaml")
MODEL_OF_LIMIT: dict[str, ModelSize] = {"15": "small", "3": "large", "2": "xlarge"}
PRECISION = {"FP32": "fp32", "mixed precision": "amp"}
FACTS = set(Facts.model_fields) - {"caveats"}


@cache
def read_tables() -> tuple[PublishedTable, ...]:
    """Every published table, document by document, in the order of its document.

    Raises
    ------
    KitError
        If a data file does not fit the schema, or two tables or figures have the same id.
    """
    folder = resources.files("reports.published")
    tables = [
        table for name in FILES for table in parse_tables((folder / name).read_text(encoding="utf-8"), source=name)
    ]
    refuse_doubles([table.id for table in tables] + [figure.id for table in tables for figure in table.figures])
    return tuple(tables)


def figures() -> tuple[PublishedFigure, ...]:
    """Every published figure, in the order of the tables."""
    return tuple(figure for table in read_tables() for figure in table.figures)


def parse_tables(text: str, *, source: str) -> tuple[PublishedTable, ...]:
    """The tables of one data file.

    Raises
    ------
    KitError
        If it does not fit the schema, or a cell holds other numbers than its column says.
    """
    file = TableFile.from_dict(parse_yaml(text, source=source), source=source)
    return tuple(_table(file, table, source) for table in file.tables)


def refuse_doubles(ids: list[str]) -> None:
    """Raise a KitError that names the ids that occur more than once."""
    doubles = sorted(id_ for id_, count in Counter(ids).items() if count > 1)
    if doubles:
        raise KitError(
            f"published figures: {', '.join(doubles)} more than once; each table and figure needs its own id"
        )


def _table(file: TableFile, table: TableText, source: str) -> PublishedTable:
    rows = [[cell.strip() for cell in line.split("|")] for line in table.rows.splitlines()]
    _check_exceptions(table, {row[0] for row in rows}, source)
    origin = {"source": file.source, "commit": file.commit, "section": table.section}
    records = []
    for number, row in enumerate(rows):
        if len(row) != len(table.columns):
            raise KitError(
                f"{source}: {table.id}: row {number} has {len(row)} cells for {len(table.columns)} columns; "
                "write one printed row a line, its cells parted by |"
            )
        labels = _labels(table, row, source)
        for place, column in enumerate(table.columns):
            base = origin | {"table": table.id, "row": number, "column": place}
            records += [base | record for record in _records(table, labels, row, place, column, source)]
    values = origin | {
        **{"id": table.id, "title": table.title, "document": file.document, "url": file.url},
        **{"head": [column.head for column in table.columns], "rows": rows, "figures": records},
        "caveats": list(table.facts.caveats),
    }
    return PublishedTable.from_dict(values, source=source)


def _check_exceptions(table: TableText, keys: set[str], source: str) -> None:
    """Refuse an exception that would speak of no number."""
    measured = {place for place, column in enumerate(table.columns) if column.measures}
    for exception in table.exceptions:
        strangers = [*sorted(set(exception.rows) - keys), *map(str, sorted(set(exception.columns) - measured))]
        if strangers:
            raise KitError(
                f"{source}: {table.id}: an exception names {', '.join(strangers)}; "
                "name rows by their first cell and columns that hold numbers, counted from 0"
            )


def _records(
    table: TableText, labels: dict[str, Any], row: list[str], place: int, column: Column, source: str
) -> list[dict[str, Any]]:
    """The figures of one cell."""
    texts = _texts(row[place]) if len(column.measures) > 1 else [row[place]] * len(column.measures)
    if len(texts) != len(column.measures):
        wanted = ", ".join(column.measures)
        raise KitError(f"{source}: {table.id}: {row[place]!r} holds {len(texts)} numbers; {wanted} are needed")
    special = [e for e in table.exceptions if row[0] in e.rows and (not e.columns or place in e.columns)]
    facts: dict[str, Any] = {**_given(table.facts), **_given(column), **labels}
    for exception in special:
        facts |= _given(exception)
    levels = (table.facts, column, *special)
    facts["caveats"] = [caveat for level in levels for caveat in level.caveats]
    replaced = next((e.quantity for e in special if e.quantity is not None), None)
    names = [replaced or quantity for quantity in column.measures]
    return [
        facts | {"id": _id(table, row[0], column, name), "quantity": name, "unit": column.unit} | _value(text, source)
        for name, text in zip(names, texts, strict=True)
    ]


def _value(text: str, source: str) -> dict[str, Any]:
    try:
        return {"text": text, "value": read_value(text)}
    except ValueError as error:
        raise KitError(f"{source}: {error}") from None


def _given(facts: Facts) -> dict[str, Any]:
    return {name: value for name, value in facts.model_dump(include=FACTS).items() if value is not None}


def _texts(cell: str) -> list[str]:
    """The numbers of a cell that prints several, as in ``('0.400', '0.418')``."""
    return re.findall(r"\d+\.\d+", cell)


def _id(table: TableText, key: str, column: Column, quantity: str) -> str:
    places = [column.hardware, None if column.num_gpus is None else str(column.num_gpus)]
    parts = [key, quantity, column.precision, column.implementation, *places]
    return "/".join([table.id, *(_slug(part) for part in parts if part)])


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-")


def _labels(table: TableText, row: list[str], source: str) -> dict[str, Any]:
    """What the labels of a row say of its numbers."""
    found: dict[str, Any] = {}
    for column, cell in zip(table.columns, row, strict=True):
        if column.label is None:
            continue
        try:
            said = _label(column.label, cell)
        except (KeyError, ValueError):
            raise KitError(f"{source}: {table.id}: {cell!r} is no {column.label} as the tables print it") from None
        if any(found.get(name, value) != value for name, value in said.items()):
            raise KitError(f"{source}: {table.id}: {cell!r} under {column.head!r} contradicts another label of its row")
        found |= said
    return found


def _label(label: Label, cell: str) -> dict[str, Any]:
    if label == "hardware":
        return {"hardware": cell}
    if label == "precision":
        return {"precision": PRECISION[cell]}
    if label == "frequency_limit":
        return {"model_size": MODEL_OF_LIMIT[cell.removeprefix("FL")]}
    if label == "model_size":
        return {"model_size": _model_size(cell)}
    if label == "batch":
        thousands = cell.endswith("k")  # 1024 here, 1000 in a throughput
        return {"batch_size": int(cell.removesuffix("k")) * (1024 if thousands else 1), "batch_label": cell}
    if label == "seed":
        return {"seed": None if cell == "mean" else int(cell)}
    return {label: int(cell)}


def _model_size(cell: str) -> str:
    word = cell.split()[0]
    if word not in get_args(ModelSize):
        raise ValueError(cell)
    return word
