from pathlib import Path

import pytest

from data_prep.split import split_last_seventh
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import read_record
from tests.conftest import random_rows, raw_line, write_raw

ROWS = random_rows(50, seed=31)


@pytest.mark.parametrize(("rows", "train"), [(7, 6), (8, 6), (13, 11), (14, 12), (50, 42)])
def test_first_six_sevenths_rounded_down(tmp_path, rows, train):
    path = write_raw(tmp_path / "all", ROWS[:rows], last_end=False)
    parts = split_last_seventh([path], tmp_path / "out")
    assert [part.name for part in parts] == ["train.tsv", "test.tsv"]
    assert [part.read_text() for part in parts] == [
        "".join(f"{row}\n" for row in ROWS[:train]),
        "".join(f"{row}\n" for row in ROWS[train:rows]),
    ]
    record = read_record(tmp_path / "out")
    assert record.status == "finished"
    assert {m.split: m.value for m in record.metrics} == {"train": train, "test": rows - train}


@pytest.mark.parametrize("cut", [1, 30, 42, 43, 49])
def test_files_are_one_stream_wherever_they_are_cut(tmp_path, cut):
    files = [write_raw(tmp_path / "a.gz", ROWS[:cut], last_end=False), write_raw(tmp_path / "b", ROWS[cut:])]
    train, test = split_last_seventh(files, tmp_path / "out")
    assert train.read_text().splitlines() == ROWS[:42]
    assert test.read_text().splitlines() == ROWS[42:]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["run.json", "test.tsv", "train.tsv"]


def test_fewer_than_seven_rows_are_refused_before_anything_is_made(tmp_path):
    path = write_raw(tmp_path / "few", ROWS[:6])
    with pytest.raises(KitError, match=r"few: 6 rows; at least 7"):
        split_last_seventh([path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["raw", "raw/below", "/proc/out"])
def test_output_that_cannot_be_written(tmp_path, out):
    path = write_raw(tmp_path / "raw", ROWS)
    with pytest.raises(KitError, match="another --out"):
        split_last_seventh([path], tmp_path / Path(out))
    assert path.read_text().splitlines() == ROWS


def test_wrong_number_of_fields_is_refused_before_anything_is_made(tmp_path):
    path = write_raw(tmp_path / "raw", [*ROWS[:20], "x\ty", *ROWS[21:]])
    with pytest.raises(KitError, match=r"raw:21: has 2 fields"):
        split_last_seventh([path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", [3, 47])
def test_a_bad_field_is_told_by_the_users_file_and_line(tmp_path, place):
    # Found later, in train.tsv or test.tsv, it would be told by a file and a line that the user never wrote.
    path = write_raw(tmp_path / "raw", [*ROWS[: place - 1], raw_line(I2="x"), *ROWS[place:]])
    with pytest.raises(KitError, match=rf"raw:{place}: column I2 holds 'x'"):
        split_last_seventh([path], tmp_path / "out")


def test_the_input_is_never_written_over(tmp_path):
    path = write_raw(tmp_path / "train.tsv", ROWS)
    with pytest.raises(KitError, match="out"):
        split_last_seventh([path], tmp_path)
    assert path.read_text().splitlines() == ROWS


def test_interrupted_split_leaves_only_its_record(tmp_path):
    def interrupt(what, done, total):
        if what == "split":
            raise KeyboardInterrupt

    path = write_raw(tmp_path / "raw", ROWS)
    with pytest.raises(KeyboardInterrupt):
        split_last_seventh([path], tmp_path / "out", progress=interrupt)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["run.json"]
    assert read_record(tmp_path / "out").status == "failed"
