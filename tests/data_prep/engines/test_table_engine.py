"""Tables of one's own against a twin in plain Python, and what must not matter: format, files, separator."""

import csv
import json
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from data_prep.options import table_spec
from data_prep.prepare import Request, prepare
from dlrm_core.schema.dataset import Preparation, read_dataset
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import read_record
from dlrm_core.schema.table import TableSpec
from tests.conftest import random_rows, write_raw
from tests.data_prep.engines.table_twin import twin_files

# Columns have names that a query, a file name or a YAML could stumble over.
WORDS = [
    "Zürich",
    "São Paulo",
    "東京",
    'say "hi"',
    "a,b;c",
    "line\nbreak",
    " blank ",
    "é",
    "z",
    "A",
    "a",
    "🏨",
    "10",
    "9",
]
SPEC = TableSpec(
    label="clicked?",
    numerical=("price", "row"),
    categorical=("id", "a/b", 'Straße, Nr. "5"', "value"),
    missing=("", "NA"),
)
LIMIT = 2
INTEGERS = "value"


def random_table(rows, seed):
    """Columns of texts: missing now and then, many ties, integers of several widths."""
    generator = np.random.default_rng(seed)

    def some(values):
        gap = generator.random(rows)
        return [("" if g < 0.05 else "NA" if g < 0.1 else str(v)) for g, v in zip(gap, values, strict=True)]

    return {
        "clicked?": [str(x) for x in generator.integers(0, 2, rows)],
        "price": some(generator.normal(0, 3, rows).round(3)),
        "id": some(generator.choice(WORDS, rows)),
        "row": some(generator.integers(-5, 400, rows)),
        "a/b": some(generator.choice(WORDS[:3], rows)),
        'Straße, Nr. "5"': some([f"{x}é" for x in generator.integers(0, 200, rows)]),
        "value": some((generator.random(rows) ** 2 * 30).astype(int)),
        "unused": some(generator.integers(0, 2, rows)),
        "last": ["x"] * rows,
    }


def write_csv(path, table, separator=",", **options):
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, delimiter=separator, lineterminator="\n", **options)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return path


def write_parquet(path, table, integers=(), floats=()):
    """The same rows with null for what is missing, and columns of whole or other numbers."""
    columns = {}
    for name, values in table.items():
        present = [None if v in ("", "NA") else v for v in values]
        kind = int if name in integers else float if name in floats else str
        columns[name] = [None if v is None else kind(v) for v in present]
    pl.DataFrame(columns).write_parquet(path)
    return path


def run(paths, out, spec=SPEC, limit=LIMIT, **asked):
    preparation = Preparation(frequency_limit=limit, numerical_transform=spec.numerical_transform)
    prepare(whole=paths, table=spec, out=out, preparation=preparation, **asked)
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*.bin")}


@pytest.fixture(scope="module")
def table():
    return random_table(500, seed=1)


@pytest.mark.parametrize("limit", [1, 2, 9, 1000])
@pytest.mark.parametrize("transform", ["none", "log_x_plus_3_missing_0"])
def test_every_byte_is_what_the_twin_makes(tmp_path, table, limit, transform):
    spec = SPEC.model_copy(update={"numerical_transform": transform})
    path = write_csv(tmp_path / "my.csv", table)
    made = run([path], tmp_path / "DATA", spec, limit)
    orders, files = twin_files([path], spec, limit)
    assert made == files
    assert list(read_dataset(tmp_path / "DATA").cardinalities.items()) == [(c, len(o) + 1) for c, o in orders.items()]


def test_a_wrong_twin_would_be_found_out(tmp_path, table):
    path = write_csv(tmp_path / "my.csv", table)
    made = run([path], tmp_path / "DATA")
    for wrong in (
        twin_files([path], SPEC, LIMIT + 1),
        twin_files([path], SPEC, LIMIT, seed=1),
        twin_files([path], SPEC, LIMIT, {INTEGERS: int}),
        twin_files([path], SPEC.model_copy(update={"missing": ("",), "numerical": ("row",) * 0}), LIMIT),
    ):
        assert wrong[1] != made


@pytest.mark.parametrize("separator", ["\t", ";", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_separator_and_quotes_do_not_matter(tmp_path, table, separator, quoting):
    plain = run([write_csv(tmp_path / "a.csv", table)], tmp_path / "A")
    other = write_csv(tmp_path / "b.csv", table, separator, quoting=quoting)
    assert run([other], tmp_path / "B", SPEC.model_copy(update={"separator": separator})) == plain


@pytest.mark.parametrize("change", [lambda raw: b"\xef\xbb\xbf" + raw, lambda raw: raw.rstrip(b"\n")])
def test_byte_order_mark_and_a_missing_last_line_end_do_not_matter(tmp_path, table, change):
    path = write_csv(tmp_path / "a.csv", table)
    plain = run([path], tmp_path / "A")
    path.write_bytes(change(path.read_bytes()))
    assert run([path], tmp_path / "B") == plain


def test_several_files_are_one_table(tmp_path, table):
    whole = run([write_csv(tmp_path / "a.csv", table)], tmp_path / "A")
    cuts = [0, 1, 200, 430, 500]  # the cut between training and test rows, 428, lies within the third file
    parts = [{c: v[i:j] for c, v in table.items()} for i, j in pairwise(cuts)]
    files = [write_csv(tmp_path / f"part_{i}.csv", part) for i, part in enumerate(parts)]
    assert run(files, tmp_path / "B") == whole
    sources = read_dataset(tmp_path / "B").splits
    assert [s.name for s in sources["train"].sources] == ["part_0.csv", "part_1.csv", "part_2.csv"]
    assert [s.name for s in sources["test"].sources] == ["part_2.csv", "part_3.csv"]


def test_order_of_columns_in_the_file_does_not_matter_and_in_the_spec_does(tmp_path, table):
    plain = run([write_csv(tmp_path / "a.csv", table)], tmp_path / "A")
    turned = write_csv(tmp_path / "b.csv", dict(reversed(table.items())))
    assert run([turned], tmp_path / "B") == plain
    assert run([turned], tmp_path / "C", SPEC.model_copy(update={"categorical": SPEC.categorical[::-1]})) != plain


def test_parquet_of_the_same_texts_gives_the_same_bytes(tmp_path, table):
    plain = run([write_csv(tmp_path / "a.csv", table)], tmp_path / "A")
    path = write_parquet(tmp_path / "a.parquet", table, integers=["row"], floats=["price"])
    assert run([path], tmp_path / "B") == plain
    named, other = (read_dataset(tmp_path / name) for name in "AB")
    assert named.vocabulary_digest == other.vocabulary_digest


def test_whole_numbers_of_parquet_tie_by_value_not_by_text(tmp_path, table):
    text = write_csv(tmp_path / "a.csv", table)
    path = write_parquet(tmp_path / "a.parquet", table, integers=["row", INTEGERS], floats=["price"])
    made = run([path], tmp_path / "B")
    assert made == twin_files([text], SPEC, LIMIT, {INTEGERS: int})[1]
    plain = run([text], tmp_path / "A")
    assert {name for name in made if made[name] != plain[name]} == {"train/cat_3.bin", "test/cat_3.bin"}


def test_missing_marks_count_in_parquet_too(tmp_path, table):
    plain = run([write_csv(tmp_path / "a.csv", table)], tmp_path / "A")
    pl.DataFrame(table).write_parquet(tmp_path / "a.parquet")
    assert run([tmp_path / "a.parquet"], tmp_path / "B") == plain


def test_parts_may_be_named_one_by_one(tmp_path, table):
    parts = [{c: v[i:j] for c, v in table.items()} for i, j in ((0, 300), (300, 400), (400, 500))]
    train, validation, test = (write_csv(tmp_path / f"{i}.csv", part) for i, part in enumerate(parts))
    asked = {"train": [train], "validation": [validation], "test": [test], "table": SPEC}
    spec = prepare(**asked, out=tmp_path / "DATA", preparation=Preparation(frequency_limit=2))
    assert {name: split.rows for name, split in spec.splits.items()} == {"train": 300, "validation": 100, "test": 100}


def test_booleans_and_columns_without_any_value(tmp_path):
    rows = 30
    frame = pl.DataFrame(
        {
            "label": [i % 3 == 0 for i in range(rows)],
            "x": [float("nan") if i == 4 else i / 2 for i in range(rows)],
            "flag": [i % 2 == 0 for i in range(rows)],
            "none": pl.Series([None] * rows, dtype=pl.Null),
        }
    )
    frame.write_parquet(tmp_path / "a.parquet")
    spec = TableSpec(label="label", numerical=("x",), categorical=("flag", "none"))
    made = run([tmp_path / "a.parquet"], tmp_path / "DATA", spec, 1)
    assert set(made["test/cat_1.bin"]) == {0}
    assert list(made["test/cat_0.bin"]) == [
        2 if i % 2 else 1 for i in range(25, 30)
    ]  # false is more frequent, or first
    assert np.frombuffer(made["train/numerical.bin"], "<f2").tolist().count(0.0) == 2  # row 0, and the one that is NaN


def test_a_file_without_any_value_in_a_column_goes_with_the_others(tmp_path):
    first = pl.DataFrame({"y": [0, 1] * 7, "x": [0.5] * 14, "c": [9, 10] * 7})
    second = first.with_columns(c=pl.Series([None] * 14, dtype=pl.Null))
    first.write_parquet(tmp_path / "1.parquet")
    second.write_parquet(tmp_path / "2.parquet")
    spec = TableSpec(label="y", numerical=("x",), categorical=("c",))
    made = run([tmp_path / "1.parquet", tmp_path / "2.parquet"], tmp_path / "DATA", spec, 1)
    assert sorted(made["train/cat_0.bin"]) == [0] * 10 + [1] * 7 + [2] * 7
    vocabulary = pl.read_parquet(tmp_path / "DATA/vocabulary.parquet")
    assert vocabulary.rows() == [("c", 9, 1), ("c", 10, 2)]


def test_one_kind_of_value_in_all_files(tmp_path, table):
    text = write_csv(tmp_path / "a.csv", table)
    whole = write_parquet(tmp_path / "b.parquet", table, integers=[INTEGERS])
    with pytest.raises(KitError, match=r"b\.parquet: column 'value' holds whole numbers, a\.csv holds texts there"):
        run([text, whole], tmp_path / "DATA")
    assert not (tmp_path / "DATA").exists()


@pytest.mark.parametrize(("rows", "train", "test"), [(2, 1, 1), (7, 6, 1), (8, 6, 2), (13, 11, 2), (14, 12, 2)])
def test_the_last_seventh_is_the_test_part(tmp_path, table, rows, train, test):
    path = write_csv(tmp_path / "a.csv", {c: v[:rows] for c, v in table.items()})
    run([path], tmp_path / "DATA")
    splits = read_dataset(tmp_path / "DATA").splits
    assert (splits["train"].rows, splits["test"].rows) == (train, test)


def test_a_single_row_cannot_be_split(tmp_path, table):
    path = write_csv(tmp_path / "a.csv", {c: v[:1] for c, v in table.items()})
    with pytest.raises(KitError, match="single row; at least 2 are needed"):
        run([path], tmp_path / "DATA")


# --- what dataset.json, vocabulary.parquet and run.json say


def test_description_vocabulary_and_record(tmp_path, table):
    path = write_csv(tmp_path / "my.csv", table)
    run([path], tmp_path / "DATA")
    spec = read_dataset(tmp_path / "DATA")
    assert spec.numerical == SPEC.numerical
    assert tuple(f.name for f in spec.categorical) == SPEC.categorical
    assert [f.file for f in spec.categorical] == [f"cat_{i}.bin" for i in range(4)]
    frame = pl.read_parquet(tmp_path / "DATA/vocabulary.parquet")
    orders, _ = twin_files([path], SPEC, LIMIT)
    got = {name: rows["value"].to_list() for (name,), rows in frame.group_by("feature", maintain_order=True)}
    assert got == orders
    record = read_record(tmp_path / "DATA")
    assert record.config["table"] == json.loads(SPEC.model_dump_json())
    assert record.config["whole"] == ["my.csv"]
    assert record.repeat.startswith("dlrm prepare --spec SPEC my.csv --out DATA")
    assert str(tmp_path) not in (tmp_path / "DATA/run.json").read_text()


def test_every_piece_is_read_in_order(tmp_path, table, monkeypatch):
    from data_prep import table_reader

    plain = run([write_csv(tmp_path / "a.csv", table)], tmp_path / "A")
    monkeypatch.setattr(table_reader, "PIECE_ROWS", 7)
    assert run([tmp_path / "a.csv"], tmp_path / "B") == plain


def test_another_spec_reads_again(tmp_path, table):
    path = write_csv(tmp_path / "a.csv", table)
    run([path], tmp_path / "DATA")
    changed = SPEC.model_copy(update={"missing": ("", "NA", "A")})
    assert run([path], tmp_path / "DATA", changed) == twin_files([path], changed, LIMIT)[1]


def test_limits_of_columns_of_the_table(tmp_path, table):
    path = write_csv(tmp_path / "a.csv", table)
    asked = {"whole": [path], "table": SPEC, "out": tmp_path / "DATA"}
    with pytest.raises(KitError, match=r"--frequency-limit C1:3"):
        prepare(**asked, preparation=Preparation(column_limits={"C1": 3}))
    spec = prepare(**asked, preparation=Preparation(frequency_limit=1, column_limits={"a/b": 1000}))
    assert spec.cardinalities["a/b"] == 1


def test_other_engines_and_little_memory_are_refused(tmp_path, table, monkeypatch):
    from data_prep.engines import table_engine

    path = write_csv(tmp_path / "a.csv", table)
    with pytest.raises(KitError, match="--engine spark reads raw Criteo text only"):
        run([path], tmp_path / "DATA", engine="spark")
    monkeypatch.setattr(table_engine, "BYTES_PER_DISTINCT_VALUE", 1 << 30)
    with pytest.raises(KitError, match=r"column 'id' has about \d+ distinct values"):
        run([path], tmp_path / "DATA")


def test_files_come_with_or_without_options(tmp_path, table):
    path = write_csv(tmp_path / "a.csv", table)
    with pytest.raises(KitError, match="files without --train or --test"):
        Request(out=tmp_path / "D", whole=[path], train=[path], table=SPEC).check()
    with pytest.raises(KitError, match="no train files"):
        Request(out=tmp_path / "D", table=SPEC).check()


def test_the_public_parquet_copy_gives_the_bytes_of_the_text_files(tmp_path):
    rows = {"train": random_rows(300, seed=51), "test": random_rows(60, seed=52)}
    text = {name: [write_raw(tmp_path / f"{name}.tsv", lines)] for name, lines in rows.items()}
    names = [
        "label",
        *(f"integer_feature_{i}" for i in range(1, 14)),
        *(f"categorical_feature_{i}" for i in range(1, 27)),
    ]
    parquet = {}
    for name, lines in rows.items():
        columns = zip(*(line.split("\t") for line in lines), strict=True)
        frame = pl.DataFrame({n: [value or None for value in column] for n, column in zip(names, columns, strict=True)})
        parquet[name] = [tmp_path / f"{name}.parquet"]
        frame.with_columns(pl.col(names[:14]).cast(pl.Int32)).write_parquet(parquet[name][0])
    preparation = Preparation(frequency_limit=2)
    expected = prepare(**text, out=tmp_path / "text", preparation=preparation)
    spec = table_spec("criteo_1tb")
    assert spec.numerical_transform == preparation.numerical_transform
    found = prepare(**parquet, out=tmp_path / "parquet", table=spec, preparation=preparation)
    for name in ("train", "test"):
        assert found.splits[name].digests == expected.splits[name].digests
