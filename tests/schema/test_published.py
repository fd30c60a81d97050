"""The records of published figures: what a printed number is worth, and which records are refused."""

import pytest

from dlrm_core.schema.errors import KitError
from dlrm_core.schema.published import Column, PublishedFigure, PublishedTable, read_value

FIGURE = {
    **{"id": "t/8/time_to_train", "table": "t", "row": 0, "column": 1, "quantity": "time_to_train"},
    **{"text": "0:06:27", "value": 387.0, "unit": "s", "hardware": "DGX A100", "num_gpus": 8},
    **{"batch_size": 8192, "batch_scope": "per GPU", "batch_label": "8k", "selection": "one run"},
    **{"source": "README.md", "commit": "36f3b1b6", "section": "Results"},
}
TABLE = {
    **{"id": "t", "title": "A table", "document": "head", "source": "README.md", "commit": "36f3b1b6"},
    **{
        "url": "https://example.org/README.md",
        "section": "Results",
        "head": ["GPUs", "Time"],
        "rows": [["8", "0:06:27"]],
    },
    "figures": [FIGURE],
}


def figure(**changes):
    return PublishedFigure.from_dict(FIGURE | changes, source="a test")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.80367", 0.80367),
        ("923.2", 923.2),
        ("11771969.56", 11771969.56),
        ("14,796,024", 14796024.0),
        ("28k", 28000.0),
        ("193.6k", 193600.0),
        ("1.105M", 1105000.0),
        ("4.07e+05", 407000.0),
        ("0:04:36", 276.0),
        ("1:58:10", 7090.0),
        ("1h41m", 6060.0),
        ("Yes", 1.0),
        ("NA", 0.0),
    ],
)
def test_value_of_a_printed_number(text, value):
    assert read_value(text) == value


@pytest.mark.parametrize(
    "text", ["", "-1", "1,23", "1 000", "12K", "27:30", "2h", "yes", "1.776.030", "nan", "0.4, 0.5"]
)
def test_what_is_no_printed_number_is_refused(text):
    with pytest.raises(ValueError, match="no number as the tables print them"):
        read_value(text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"value": 386.0}, "is 387.0, not 386.0"),
        ({"text": "6.45", "value": 387.0}, "is 6.45, not 387.0"),
        ({"unit": "min"}, "is read in s"),
        ({"batch_size": None, "batch_label": None}, "given together"),
        ({"batch_scope": None}, "given together"),
        ({"batch_size": None, "batch_scope": None}, "has no batch_size"),
        ({"num_gpus": None}, "needs num_gpus of 1 or more"),
        ({"num_gpus": 0}, "needs num_gpus of 1 or more"),
        ({"hardware": None}, "hardware"),
        ({"quantity": "accuracy"}, "quantity"),
        ({"commit": "HEAD"}, "commit"),
        ({"batchsize": 8192}, r"unknown key 'batchsize' \(did you mean 'batch_size'\?\)"),
    ],
)
def test_a_wrong_figure_is_refused(changes, words):
    with pytest.raises(KitError, match=words):
        figure(**changes)


def test_global_batch_size():
    assert figure().global_batch_size == 65536
    assert figure(batch_scope="global").global_batch_size == 8192
    assert figure(batch_scope="request").global_batch_size is None
    assert figure(batch_scope=None, batch_size=None, batch_label=None).global_batch_size is None


def test_times_in_seconds():
    assert figure().in_base_unit() == (387.0, "s")
    assert figure(text="6.16", value=6.16, unit="min").in_base_unit() == (pytest.approx(369.6), "s")
    assert figure(text="59617", value=59617.0, unit="us").in_base_unit() == (pytest.approx(0.059617), "s")
    assert figure(text="1.082", value=1.082, unit="ms").in_base_unit() == (pytest.approx(0.001082), "s")
    assert figure(text="20.5", value=20.5, unit="GB", quantity="vram").in_base_unit() == (20.5, "GB")


def test_figures_of_a_row():
    table = PublishedTable.from_dict(TABLE, source="a test")
    assert table.of_row(0) == table.figures
    assert table.of_row(1) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": [["8"]]}, "row 0 has 1 cells under 2 headings"),
        ({"rows": [["8", "0:06:28"]]}, "does not stand in row 0, column 1"),
        ({"figures": [FIGURE | {"row": 1}]}, "does not stand in row 1"),
        ({"figures": [FIGURE | {"column": 2}]}, "does not stand in row 0, column 2"),
        ({"id": "u"}, "does not stand in"),
        ({"url": "http://example.org"}, "url"),
    ],
)
def test_a_wrong_table_is_refused(changes, words):
    with pytest.raises(KitError, match=words):
        PublishedTable.from_dict(TABLE | changes, source="a test")


@pytest.mark.parametrize(
    "column",
    [
        {"head": "GPUs"},
        {"head": "AUC", "measures": ["auc"]},
        {"head": "GPUs", "label": "num_gpus", "unit": "1"},
        {"head": "GPUs", "label": "num_gpus", "measures": ["auc"], "unit": "1"},
        {"head": "GPUs", "unit": "1"},
    ],
)
def test_a_column_is_a_label_or_measures(column):
    with pytest.raises(KitError, match="either a label, or measures with their unit"):
        Column.from_dict(column, source="a test")
