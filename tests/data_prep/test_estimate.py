import shutil
from collections import namedtuple

import pytest

from data_prep import estimate as module
from data_prep.estimate import estimate
from data_prep.prepare import dry_run, prepare
from dlrm_core.schema.errors import KitError
from tests.conftest import random_rows, write_raw

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
        KitError, match=r"GB are needed there while about 6,000 rows .* 0\.00 GB are free; .* rows would fit"
    ):
        prepare(train=[path], test=[path], out=tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run.json"]


def test_a_dry_run_says_what_would_happen_and_writes_nothing(tmp_path):
    path = write_raw(tmp_path / "day", ROWS)
    lines = dry_run(train=[path], test=[path], out=tmp_path / "out")
    assert [line.split()[0] for line in lines] == ["reads", "writes", "memory", "time"]
    assert "about 6,000 rows" in lines[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["day"]


def test_a_dry_run_refuses_what_a_run_would(tmp_path):
    with pytest.raises(KitError, match="no such file"):
        dry_run(train=[tmp_path / "none"], test=[tmp_path / "none"], out=tmp_path / "out")
