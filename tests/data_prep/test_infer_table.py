"""What is guessed of a table, what is left out and why, and what cannot be guessed."""

import csv

import polars as pl
import pytest

from data_prep.infer_table import infer_spec, infer_table, write_spec
from data_prep.prepare import prepare
from dlrm_core.schema.dataset import Preparation
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.table import read_table_spec

ROWS = 200


def columns(**changes):
    made = {
        "clicked": [i % 3 // 2 for i in range(ROWS)],
        "price": [i % 60 + 0.5 for i in range(ROWS)],
        "views": [i % 51 for i in range(ROWS)],
        "stars": [i % 50 for i in range(ROWS)],
        "city": [f"c{i % 7}" for i in range(ROWS)],
        "session": [f"s{i}" for i in range(ROWS)],
        "serial": list(range(ROWS)),
        "country": ["CH"] * ROWS,
        "nothing": [""] * ROWS,
    }
    return {name: values for name, values in (made | changes).items() if values is not None}


def write(tmp_path, table, separator=",", name="my.csv"):
    path = tmp_path / name
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, delimiter=separator)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return path


def complaint(path, **options):
    with pytest.raises(KitError) as error:
        infer_spec(path, **options)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_kinds_of_columns(tmp_path, separator):
    path = write(tmp_path, columns(), separator)
    found = infer_table(path)
    spec = found.spec
    assert (spec.label, spec.separator, spec.numerical_transform) == ("clicked", separator, "none")
    assert spec.numerical == ("price", "views")
    assert spec.categorical == ("stars", "city")
    assert found.rows == ROWS
    assert found.left_out == {
        "session": "holds another value in every row, as an identifier does",
        "serial": "holds another value in every row, as an identifier does",
        "country": "holds one value only",
        "nothing": "holds nothing",
    }
    assert found.chosen == {
        "clicked": "label",
        "price": "numerical, from 0.5 to 59.5",
        "views": "numerical, from 0 to 50",
        "stars": "categorical, 50 values",
        "city": "categorical, 7 values",
    }
    assert infer_spec(path) == spec


def test_parquet_is_looked_at_by_its_types(tmp_path):
    path = tmp_path / "my.parquet"
    more = {"tags": [["a", "b"]] * ROWS, "raw": [b"\xff", b"a"] * (ROWS // 2), "flag": [True, False] * (ROWS // 2)}
    pl.DataFrame(columns(nothing=[None] * ROWS, place=[{"x": i} for i in range(ROWS)]) | more).write_parquet(path)
    found = infer_table(path, label="clicked")
    assert found.spec.numerical == ("price", "views")
    assert found.spec.categorical == ("stars", "city", "flag")
    assert found.left_out["tags"] == "holds values of many parts, or bytes (List(String))"
    assert "Struct" in found.left_out["place"]
    assert "Binary" in found.left_out["raw"]
    assert found.left_out["nothing"] == "holds nothing"


def test_numbers_that_are_not_whole_are_no_identifier(tmp_path):
    path = write(tmp_path, columns(weight=[i * 1.37 + 0.1 for i in range(ROWS)]))
    assert "weight" in infer_spec(path).numerical


def test_missing_values_do_not_make_a_text(tmp_path):
    gaps = [("" if i % 4 == 0 else "NA" if i % 4 == 1 else i % 110) for i in range(ROWS)]
    found = infer_table(write(tmp_path, columns(gaps=gaps, rare=["x" if i % 9 else "" for i in range(ROWS)])))
    assert found.chosen["gaps"] == "numerical, from 0 to 107, missing in 50.0% of the rows"
    assert found.chosen["rare"].startswith("categorical, 1 values, missing in ")


def test_a_mark_of_its_own_for_missing_is_pointed_at(tmp_path):
    path = write(tmp_path, columns(gaps=["NULL" if i % 4 == 0 else i % 110 for i in range(ROWS)]))
    found = infer_table(path)
    assert "gaps" in found.spec.categorical
    assert "numbers but for 'NULL'" in found.chosen["gaps"]


@pytest.mark.parametrize(
    ("values", "transform"),
    [
        ([0, 100], "none"),
        ([0, 100.5], "log_x_plus_3_missing_0"),
        ([-2, 1e9], "log_x_plus_3_missing_0"),
        ([-2.5, 5000], "none"),
        ([-1500, 0], "none"),
    ],
)
def test_transform(tmp_path, values, transform):
    wide = [values[i] if i < 2 else i % 60 for i in range(ROWS)]
    path = write(tmp_path, columns(wide=wide))
    spec = infer_spec(path)
    assert "wide" in spec.numerical
    assert spec.numerical_transform == transform
    preparation = Preparation(frequency_limit=1, numerical_transform=spec.numerical_transform)
    prepare(whole=[path], table=spec, out=tmp_path / "DATA", preparation=preparation)


def test_what_float16_cannot_hold_is_left_out(tmp_path):
    wide, cold = [i % 60 * 1e6 for i in range(ROWS)], [i % 60 - 30 for i in range(ROWS)]
    found = infer_table(write(tmp_path, columns(wide=wide, cold=cold)))
    assert found.spec.numerical == ("price", "views", "cold")
    assert found.left_out["wide"].startswith("numbers beyond 65,504 need a logarithm")


# --- the label


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "clicked"),
        ({"other": [i % 2 for i in range(ROWS)]}, "clicked"),
        ({"clicked": None, "bought": [i % 2 for i in range(ROWS)]}, "bought"),
        ({"clicked": None, "bought": ["TRUE" if i % 2 else "False" for i in range(ROWS)]}, "bought"),
        ({"clicked": None, "Y": [i % 2 for i in range(ROWS)], "b": [i % 2 for i in range(ROWS)]}, "Y"),
        ({"target": [f"Oslo{i % 3}" for i in range(ROWS)]}, "clicked"),
        ({"Label": [i % 2 for i in range(ROWS)], "clicked": None}, "Label"),
    ],
)
def test_label(tmp_path, changes, label):
    assert infer_spec(write(tmp_path, columns(**changes))).label == label


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label": [i % 2 for i in range(ROWS)]}, ["'clicked', 'label'", "--label"]),
        (
            {"clicked": None, "a": [i % 2 for i in range(ROWS)], "b": [1 - i % 2 for i in range(ROWS)]},
            ["'a', 'b' may be the label", "--label"],
        ),
        ({"clicked": None}, ["no column holds 0 and 1", "--label", "'price', 'views', 'stars'"]),
        ({"clicked": ["yes", "no"] * (ROWS // 2)}, ["no column holds 0 and 1", "nearest to it: 'clicked'"]),
        ({"clicked": [0, 1] * (ROWS // 2 - 1) + ["", 1]}, ["no column holds 0 and 1", "nearest to it: 'clicked'"]),
    ],
)
def test_no_plain_label(tmp_path, changes, words):
    message = complaint(write(tmp_path, columns(**changes)))
    assert all(word in message for word in words), message


def test_named_label(tmp_path):
    path = write(tmp_path, columns(bought=[i % 2 for i in range(ROWS)]))
    spec = infer_spec(path, label="bought")
    assert spec.label == "bought"
    assert "clicked" in spec.categorical
    assert "no such column (did you mean 'bought'?)" in complaint(path, label="baught")
    assert "row 3 of the column holds '2'; 0 or 1" in complaint(path, label="stars")


# --- what is refused


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"price": None, "views": None},
            ["at least one numerical and one categorical", "'clicked' (label)", "'stars' (c"],
        ),
        (
            {"stars": None, "city": None},
            ["at least one", "'price' (numerical, from", "'session' (left out: holds another"],
        ),
    ],
)
def test_both_kinds_are_needed(tmp_path, changes, words):
    message = complaint(write(tmp_path, columns(**changes)))
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("clicked\n0\n1\n", "no separator (comma, tab, semicolon or pipe)"),
        ("a:b\n0:1\n", "no separator"),
        ("a,b\n0,1\n0,1,2\n", "no separator"),
        ("a,b\n", "holds no rows"),
        ("a,a\n0,1\n", "names the column 'a' twice"),
        ("", "is empty"),
        ("\n\n", "no separator"),
    ],
)
def test_files_that_are_no_table(tmp_path, text, words):
    path = tmp_path / "my.csv"
    path.write_text(text)
    assert words in complaint(path)


def test_a_separator_of_ones_own(tmp_path):
    path = write(tmp_path, columns(), ":")
    assert infer_spec(path, separator=":").separator == ":"
    assert "single column" in complaint(path, separator=";")
    for wrong in ("::", "§", '"', ""):
        assert "one ASCII character" in complaint(path, separator=wrong)


def test_a_row_far_down_that_is_too_short(tmp_path):
    path = write(tmp_path, columns())
    path.write_text(path.read_text() + "0,1\n")
    assert f"row {ROWS + 1} has 2 fields" in complaint(path)


def test_only_the_first_rows_are_looked_at(tmp_path, monkeypatch):
    from data_prep import infer_table as module

    late = ["x" if i == ROWS - 1 else i % 60 for i in range(ROWS)]
    path = write(tmp_path, columns(late=late))
    assert "late" in infer_spec(path).categorical
    monkeypatch.setattr(module, "ROWS_LOOKED_AT", 150)
    found = infer_table(path)
    assert found.rows == 150
    assert "late" in found.spec.numerical
    with pytest.raises(KitError, match=r"my\.csv: row 200, column 'late' holds 'x'; a number"):
        prepare(whole=[path], table=found.spec, out=tmp_path / "DATA")


# --- the file


def test_the_spec_that_is_written_is_read_back(tmp_path):
    table = columns() | {"1e3": [i % 2 for i in range(ROWS)], "strange\nname: #": ["x"] * ROWS}
    found = infer_table(write(tmp_path, table, "\t"))
    path = tmp_path / "my.yaml"
    write_spec(found.spec, path, found.left_out)
    assert read_table_spec(path) == found.spec
    text = path.read_text()
    assert "# left out: 'country', holds one value only\n" in text
    assert "# left out: 'strange\\nname: #', holds one value only\n" in text


def test_no_other_file_is_overwritten(tmp_path):
    found = infer_table(write(tmp_path, columns()))
    path = tmp_path / "my.yaml"
    write_spec(found.spec, path, found.left_out)
    before = path.stat().st_mtime_ns
    write_spec(found.spec, path, found.left_out)
    assert path.stat().st_mtime_ns == before
    path.write_text(path.read_text() + "# mine\n")
    with pytest.raises(KitError, match="is there already, with other content"):
        write_spec(found.spec, path, found.left_out)
    assert path.read_text().endswith("# mine\n")
    for wrong, words in ((tmp_path, "is there already"), (tmp_path / "none" / "my.yaml", "cannot be written")):
        with pytest.raises(KitError, match=words):
            write_spec(found.spec, wrong, found.left_out)
