import gzip
import re
import shutil
from collections import namedtuple

import polars as pl
import pytest

from data_prep import estimate as module
from data_prep.estimate import estimate
from data_prep.prepare import dry_run, prepare
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.table import TableSpec
from tests.conftest import random_rows, raw_line, write_raw

ROWS = random_rows(3000, seed=41)


@pytest.mark.parametrize("name", ["day", "day.gz"])
def test_rows_are_extrapolated_from_the_beginning_of_each_file(tmp_path, monkeypatch, name):
    monkeypatch.setattr(module, "LOOK_BYTES", 1 << 20)
    path = write_raw(tmp_path / name, ROWS * 10)
    found = estimate([path, path], tmp_path / "out", tmp_path / "out" / ".work")
    assert found.rows == pytest.approx(60_000, rel=0.25 if name.endswith("gz") else 0.02)
    assert found.read_bytes == 2 * path.stat().st_size


def test_work_and_data_set_are_within_the_estimate(tmp_path):
    """What lies on disk at the fullest moment, when a split is being written, is no more than was announced."""
    path, fullest = write_raw(tmp_path / "day", ROWS), 0

    def look(what, done, total):
        nonlocal fullest
        fullest = max(
            fullest, sum(p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.suffix != ".json" and p.is_file())
        )

    found = estimate([path, path], tmp_path / "out", tmp_path / "out" / ".work")
    prepare(train=[path], test=[path], out=tmp_path / "out", progress=look)
    # Arrow files have a header and a footer each, which matter only in files as small as these.
    assert 0.3 * found.work_bytes < fullest < found.work_bytes + 200_000
    final = sum(p.stat().st_size for p in (tmp_path / "out").rglob("*.bin"))
    assert final <= found.final_bytes


def test_too_little_room_is_told_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    path = write_raw(tmp_path / "day", ROWS)
    with pytest.raises(
        KitError, match=r"MB are needed there while about 6,000 rows .* 1\.0 kB are free; .* rows would fit"
    ):
        prepare(train=[path], test=[path], out=tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run.json"]


def test_a_dry_run_says_what_would_happen_and_writes_nothing(tmp_path):
    path = write_raw(tmp_path / "day", ROWS)
    lines = dry_run(train=[path], test=[path], out=tmp_path / "out")
    assert [line.split()[0] for line in lines] == ["reads", "writes", "memory", "time"]
    assert "about 6,000 rows" in lines[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["day"]


@pytest.mark.filterwarnings("error")
def test_a_dry_run_warns_of_nothing_in_its_own_sample(tmp_path):
    path = write_raw(tmp_path / "day", [raw_line()] * 100)
    dry_run(train=[path], test=[path], out=tmp_path / "out")


def test_more_memory_than_the_machine_has_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "machine_bytes", lambda: 3 << 30)
    path = write_raw(tmp_path / "day", ROWS)
    with pytest.raises(KitError, match=r"--memory: 4\.3 GB are asked for, this machine has 3\.2 GB; give a smaller"):
        dry_run(train=[path], test=[path], out=tmp_path / "out")


def test_a_dry_run_refuses_what_a_run_would(tmp_path):
    with pytest.raises(KitError, match="no such file"):
        dry_run(train=[tmp_path / "none"], test=[tmp_path / "none"], out=tmp_path / "out")


# --- tables of one's own

SPEC = TableSpec(label="y", numerical=("x", "n"), categorical=("word", "code"), separator=";", missing=("-",))


def write_table(path, rows=3000):
    frame = pl.DataFrame(
        {
            "y": [i % 2 for i in range(rows)],
            "other": ["left out"] * rows,
            "x": [None if i % 7 == 0 else i / 4 for i in range(rows)],
            "n": list(range(rows)),
            "word": ["a; text that is longer than twelve bytes " * (i % 3) for i in range(rows)],
            "code": [i % 11 for i in range(rows)],
        }
    )
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        text = frame.write_csv(separator=";", null_value="-").encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_a_dry_run_of_a_table_says_the_same_kinds_of_facts(tmp_path, name):
    path = write_table(tmp_path / name)
    lines = dry_run(whole=[path], table=SPEC, out=tmp_path / "out")
    assert [line.split()[0] for line in lines] == ["reads", "writes", "memory", "time"]
    assert "about 3,000 rows" in lines[0]
    assert re.search(r"writes   at most 39\.0 kB, and \d+\.\d kB on the way", lines[1])
    assert "scaled from 3,000 rows" in lines[3]
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_work_and_data_set_of_a_table_are_within_the_estimate(tmp_path, name):
    path, fullest = write_table(tmp_path / name), 0

    def look(what, done, total):
        nonlocal fullest
        fullest = max(fullest, sum(p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.is_file()))

    found = estimate([path, path], tmp_path / "out", tmp_path / "out" / ".work", SPEC)
    prepare(train=[path], test=[path], table=SPEC, out=tmp_path / "out", progress=look)
    assert found.rows == 6000
    assert 0.3 * found.work_bytes < fullest < found.work_bytes + 50_000
    assert sum(p.stat().st_size for p in (tmp_path / "out").rglob("*.bin")) <= found.final_bytes


def test_too_little_room_for_a_table_is_told_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    path = write_table(tmp_path / "a.parquet")
    for command in (dry_run, prepare):
        with pytest.raises(
            KitError, match=r"kB are needed there while about 3,000 rows .* 1\.0 kB are free; .* would fit"
        ):
            command(whole=[path], table=SPEC, out=tmp_path / "out")


def test_a_dry_run_of_a_table_refuses_what_a_run_would(tmp_path):
    path = write_table(tmp_path / "a.csv")
    with pytest.raises(KitError, match="no column 'price'"):
        dry_run(whole=[path], table=SPEC.model_copy(update={"numerical": ("price",)}), out=tmp_path / "out")
