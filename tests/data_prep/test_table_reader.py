"""What a table of one's own must hold, and how each fault is told: file, row, column, value."""

import datetime
import gzip

import polars as pl
import pytest

from data_prep import table_reader
from data_prep.table_reader import check_tables, labels, numbers, read_table, scan_table
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.table import TableSpec

SPEC = TableSpec(label="y", numerical=("price",), categorical=("city",))
HEADER = "y,price,city,more\n"
SOUND = HEADER + "0,1.5,Oslo,a\n1,2,Wien,b\n0,,,c\n"


def write(tmp_path, text, name="my.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rows(path, spec=SPEC):
    return [row for piece in read_table(path, spec) for row in piece.rows()]


def complaint(path, spec=SPEC):
    with pytest.raises(KitError) as error:
        rows(path, spec)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_a_sound_file(tmp_path):
    assert rows(write(tmp_path, SOUND)) == [(0, 1.5, "Oslo"), (1, 2.0, "Wien"), (0, None, None)]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda text: text.replace("\n", "\r\n"), True),
        (lambda text: "\ufeff" + text, True),
        (lambda text: text[:-1], True),
        (lambda text: text.replace(",1.5,", ", 1.5 ,"), True),
        (lambda text: text.replace("1.5", "15e-1"), True),
        (lambda text: text.replace(",,", ',"",'), True),
        (lambda text: text.replace(",,", ",NA,"), True),
        (lambda text: text.replace("Oslo", '"Oslo"'), True),
        (lambda text: text.replace("Oslo", " Oslo"), False),
        (lambda text: text.replace("Oslo", "oslo"), False),
    ],
)
def test_what_spelling_does_not_matter(tmp_path, change, same):
    assert (rows(write(tmp_path, change(SOUND))) == rows(write(tmp_path, SOUND, "a.csv"))) is same


def test_gzip_is_read_too(tmp_path):
    path = write(tmp_path, gzip.compress(SOUND.encode()), "my.csv.gz")
    assert rows(path) == rows(write(tmp_path, SOUND))
    short = write(tmp_path, gzip.compress((SOUND + "0,1\n").encode()), "short.csv.gz")
    assert "row 4 has 2 fields; 4 fields" in complaint(short)


def test_what_is_missing_is_for_the_spec_to_say(tmp_path):
    path = write(tmp_path, SOUND.replace(",2,", ",?,"))
    assert "row 2, column 'price' holds '?'; a number, or a text of `missing`, is needed" in complaint(path)
    assert rows(path, SPEC.model_copy(update={"missing": ("?",)}))[1:] == [(1, None, "Wien"), (0, None, None)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SOUND + "2,1,Oslo,a\n", ["row 4, column 'y' holds '2'; the label 0 or 1"]),
        (SOUND + ",1,Oslo,a\n", ["row 4, column 'y' holds nothing; the label 0 or 1"]),
        (SOUND + "yes,1,Oslo,a\n", ["row 4, column 'y' holds 'yes'"]),
        (SOUND + "0,1;5,Oslo,a\n", ["row 4, column 'price' holds '1;5'; a number"]),
        (SOUND + "0,inf,Oslo,a\n", ["row 4, column 'price' holds 'inf'; a number"]),
        (SOUND + "0,nan,Oslo,a\n", ["row 4, column 'price' holds 'nan'; a number"]),
        (SOUND + "0,1e999,Oslo,a\n", ["row 4, column 'price' holds '1e999'; a number"]),
        (SOUND + f"0,{'x' * 5000},Oslo,a\n", ["row 4, column 'price' holds 'xxx", "...; a number"]),
        (SOUND + "0,1,Oslo\n", ["row 4 has 3 fields; 4 fields, separated by ','", "y, price, city, more"]),
        (SOUND + "0,1,Oslo,a,b\n", ["row 4 has 5 fields; 4 fields"]),
        (SOUND + "0,1,Oslo,a,\n", ["row 4 has 5 fields; 4 fields"]),
        (SOUND + "0,1,Os,lo,a\n" + "0,1,Oslo,a\n", ["row 4 has 5 fields; 4 fields"]),
        (SOUND + "\n", ["row 4 is an empty line; 4 fields"]),
        (SOUND.replace("1,2,Wien,b\n", "1,2\n"), ["row 2 has 2 fields"]),
        (HEADER.replace("price", "prise") + "0,1,Oslo,a\n", ["no column 'price' (did you mean 'prise'?)", "y, prise"]),
        (HEADER.replace("more", "price") + "0,1,Oslo,2\n", ["names the column 'price' twice"]),
        (HEADER.replace("price,city", "a,a") + "0,1,Oslo,2\n", ["names the column 'a' twice"]),
        (HEADER, ["holds no rows"]),
        ("y\n0\n", ["single column ['y']", "separated by ','", "check the separator"]),
        (SOUND.replace(",", ";"), ["single column", "check the separator"]),
        ("", ["is empty; a CSV or Parquet file is needed"]),
        ("\n" + SOUND, ["the first line is empty"]),
        (SOUND.encode() + "0,1,Århus,a\n".encode("latin-1"), ["UTF-8"]),
        (SOUND.encode("utf-16"), ["UTF-8"]),
        (SOUND + '0,1,"Oslo,a\n', ["row 4 has 3 fields; 4 fields"]),
        (b"PAR1" + SOUND.encode(), ["cannot be read as Parquet"]),
        (gzip.compress(SOUND.encode())[:-30], ["cannot be read as CSV"]),
    ],
)
def test_faults_of_a_csv_are_named(tmp_path, text, words):
    message = complaint(write(tmp_path, text))
    assert all(word in message for word in words), message
    assert len(message) < len(str(tmp_path)) + 300


def test_rows_are_counted_on_through_the_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(table_reader, "PIECE_ROWS", 10)
    text = HEADER + "0,1,Oslo,a\n" * 123 + "0,x,Oslo,a\n"
    assert "row 124, column 'price' holds 'x'" in complaint(write(tmp_path, text))


def test_a_last_column_that_is_missing_now_and_then_is_no_short_row(tmp_path):
    text = HEADER + "0,1,Oslo,\n1,2,Wien,NA\n"
    assert rows(write(tmp_path, text)) == [(0, 1.0, "Oslo"), (1, 2.0, "Wien")]


@pytest.mark.parametrize("name", ["a[1].csv", "a*.csv", "y=1/my.csv", "ö ü.csv"])
def test_names_of_files_mean_nothing(tmp_path, name):
    (tmp_path / "y=1").mkdir()
    write(tmp_path, HEADER + "1,9,x,y\n", "a1.csv")
    assert rows(write(tmp_path, SOUND, name)) == rows(write(tmp_path, SOUND))
    parquet = (tmp_path / name).with_suffix(".parquet")
    pl.DataFrame({"y": [0, 1], "price": [1, 2], "city": ["a", "b"]}).write_parquet(parquet)
    assert rows(parquet) == [(0, 1.0, "a"), (1, 2.0, "b")]


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(KitError, match="no such file; a CSV or Parquet file is needed"):
        rows(tmp_path / "none.csv")
    with pytest.raises(KitError, match="is a folder"):
        rows(tmp_path)


# --- Parquet


def parquet(tmp_path, **columns):
    path = tmp_path / "my.parquet"
    pl.DataFrame({"y": [0, 1], "price": [1.5, None], "city": ["a", None]} | columns, strict=False).write_parquet(path)
    return path


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, [(0, 1.5, "a"), (1, None, None)]),
        ({"y": [True, False]}, [(1, 1.5, "a"), (0, None, None)]),
        ({"y": [0.0, 1.0]}, [(0, 1.5, "a"), (1, None, None)]),
        ({"y": ["True", "0"]}, [(1, 1.5, "a"), (0, None, None)]),
        ({"price": [float("nan"), 2]}, [(0, None, "a"), (1, 2.0, None)]),
        ({"price": ["7", "NA"]}, [(0, 7.0, "a"), (1, None, None)]),
        ({"price": [True, None]}, [(0, 1.0, "a"), (1, None, None)]),
        ({"city": [10, 9]}, [(0, 1.5, 10), (1, None, 9)]),
        ({"city": pl.Series([10, None], dtype=pl.UInt64)}, [(0, 1.5, 10), (1, None, None)]),
        ({"city": [1.0, float("nan")]}, [(0, 1.5, "1.0"), (1, None, None)]),
        ({"city": [datetime.date(2026, 1, 31), None]}, [(0, 1.5, "2026-01-31"), (1, None, None)]),
        ({"city": pl.Series(["b", "c"], dtype=pl.Categorical)}, [(0, 1.5, "b"), (1, None, "c")]),
        ({"city": [True, False]}, [(0, 1.5, "true"), (1, None, "false")]),
    ],
)
def test_kinds_of_parquet(tmp_path, columns, expected):
    assert rows(parquet(tmp_path, **columns)) == expected


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"y": [0, None]}, "row 2, column 'y' holds nothing"),
        ({"y": [0, 2]}, "row 2, column 'y' holds 2; the label"),
        ({"y": [[0], [1]]}, r"column 'y' holds List\(Int64\); numbers are needed"),
        ({"price": [1.0, float("inf")]}, "row 2, column 'price' holds inf; a number"),
        ({"price": [datetime.date(2026, 1, 31), None]}, "column 'price' holds Date; numbers are needed"),
        ({"city": [["a"], ["b"]]}, r"column 'city' holds List\(String\); texts, numbers or dates are needed"),
        ({"city": [{"a": 1}, {"a": 2}]}, "column 'city' holds Struct"),
        ({"city": [b"\xff", b"a"]}, "column 'city' holds Binary"),
        ({"city": pl.Series([1, 2**64 - 1], dtype=pl.UInt64)}, "row 2, column 'city' holds 18446744073709551615"),
    ],
)
def test_faults_of_parquet_are_named(tmp_path, columns, words):
    with pytest.raises(KitError, match=words):
        rows(parquet(tmp_path, **columns))


def test_parquet_without_rows_or_a_column(tmp_path):
    path = tmp_path / "a.parquet"
    pl.DataFrame(
        {"y": [], "price": [], "city": []}, schema={"y": pl.Int8, "price": pl.Float64, "city": pl.String}
    ).write_parquet(path)
    assert "holds no rows" in complaint(path)
    pl.DataFrame({"y": [1]}).write_parquet(path)
    assert "single column ['y']; several are needed" in complaint(path)
    pl.DataFrame({"y": [1], "price": [1], "town": [1]}).write_parquet(path)
    assert "has no column 'city'" in complaint(path)


def test_files_are_checked_before_any_row_is_read(tmp_path):
    good = write(tmp_path, SOUND)
    bad = write(tmp_path, HEADER.replace("city", "ctiy") + "x\n", "bad.csv")
    check_tables([good, good], SPEC)
    with pytest.raises(KitError, match=r"bad\.csv: has no column 'city' \(did you mean 'ctiy'\?\)"):
        check_tables([good, bad], SPEC)


def test_names_with_quotes_and_line_breaks(tmp_path):
    path = write(tmp_path, 'y,"a ""b""","c\nd"\n1,2,x\n')
    assert scan_table(path, ",", ()).collect_schema().names() == ["y", 'a "b"', "c\nd"]
    assert rows(path, TableSpec(label="y", numerical=('a "b"',), categorical=("c\nd",))) == [(1, 2.0, "x")]


def test_labels_and_numbers_alone():
    assert (
        labels(pl.Series(["0", " 1", "TRUE", "false", "1.0", "2", "", None])).to_list() == [0, 1, 1, 0, 1] + [None] * 3
    )
    got = numbers(pl.Series(["1", " -2.5 ", "1e2", "x", "inf", None, "1,5", "0x1", "1_0"])).to_list()
    assert got[:3] + got[5:6] == [1.0, -2.5, 100.0, None]
    assert all(x != x for i, x in enumerate(got) if i not in (0, 1, 2, 5))
