"""The command as a whole: what it says, refuses, leaves alone, and a disk that gets full."""

import errno
import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_prep.download import verify
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import read_record
from dlrm_core.schema.sources import read_downloads
from tests.data_prep.downloads import (
    DATA,
    SHA,
    assert_nothing_final,
    assert_whole,
    fetch,
    one_file,
    source,
    write_sources,
)

# Complete downloads


@pytest.mark.parametrize("how", [{}, {"chunked": True}, {"ranges": False}, {"etag": None}, {"head": False}])
def test_complete_and_then_left_alone(tmp_path, site, how):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA, **how))
    seen = []
    fetch(tmp_path, sources, progress=lambda *call: seen.append(call))
    assert_whole(tmp_path)
    done = [call[1] for call in seen if call[0] == "day_0.gz"]
    assert done == sorted(done)
    assert done[-1] == len(DATA)
    record = read_record(tmp_path / "out")
    assert record.command == "download"
    assert record.outputs == {"day_0.gz": SHA}
    assert record.metric("downloaded", "all").value == len(DATA)
    fetch(tmp_path, sources)
    assert len(site.gets("/day_0.gz")) == 1
    assert {asked.accept_encoding for asked in site.asked} == {"identity"}
    assert verify(out=tmp_path / "out").files["day_0.gz"].sha256 == SHA


def test_only_the_days_or_files_asked_for(tmp_path, site):
    files = [
        {"name": f"day_{day}.gz", "day": day, "urls": [site.serve(f"/day_{day}.gz", DATA[day:])]} for day in range(4)
    ]
    sources = write_sources(tmp_path, source(*files))
    fetch(tmp_path, sources, days=[1, 2])
    assert sorted(path.name for path in (tmp_path / "out").glob("*.gz")) == ["day_1.gz", "day_2.gz"]
    fetch(tmp_path, sources, files=["day_3.gz"])
    assert sorted(read_downloads(tmp_path / "out").files) == ["day_1.gz", "day_2.gz", "day_3.gz"]
    for wrong, message in [
        ({"files": ["dya_3.gz"]}, r"unknown file 'dya_3\.gz' \(did you mean 'day_3\.gz'\?\)"),
        ({"days": [9]}, "logs: has no day 9; it has days 0 to 3"),
        ({"dataset": "losg"}, r"unknown data set 'losg' \(did you mean 'logs'\?\)"),
    ]:
        with pytest.raises(KitError, match=message):
            fetch(tmp_path, sources, **wrong)


def test_base_url_stands_for_the_published_host(tmp_path, site):
    site.serve("/copy/set/day_0.gz", DATA)
    sources = one_file(tmp_path, "https://nowhere.invalid/set/day_0.gz")
    fetch(tmp_path, sources, base_url=f"{site.address}/copy/")
    assert_whole(tmp_path)


def test_many_files_are_told_as_one(tmp_path, site, monkeypatch):
    monkeypatch.setattr("data_prep.download.FILES_SHOWN", 2)
    files = [{"name": f"f{i}", "urls": [site.serve(f"/f{i}", DATA[: 1000 + i])]} for i in range(4)]
    sources = write_sources(tmp_path, source(*files))
    fetch(tmp_path, sources, files=["f1"])
    seen = []
    fetch(tmp_path, sources, progress=lambda *call: seen.append(call))
    assert seen == [("3 files", done, 3005) for done in (1000, 2002, 3005)]


# What is said and refused before anything is fetched


def test_licence_and_sizes_are_said_and_nothing_is_fetched_without_acceptance(tmp_path, site):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA))
    said = []
    with pytest.raises(KitError, match=r"is not accepted; read https://example\.org/licence .* --accept-licence"):
        fetch(tmp_path, sources, accept_licence=False, say=said.append)
    text = "\n".join(said)
    assert "licence: CC BY-NC-SA 4.0, https://example.org/licence. Be fair." in text
    assert "1 file, 300.0 kB; 0 complete" in text
    assert site.gets("/day_0.gz") == []
    assert not (tmp_path / "out").exists()


def test_dry_run_writes_nothing(tmp_path, site):
    said = []
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA, head=False))
    fetch(tmp_path, sources, dry_run=True, accept_licence=False, say=said.append)
    assert "1 file, of unknown size; 0 complete" in said[-1]
    assert not (tmp_path / "out").exists()
    assert site.gets("/day_0.gz") == []


@pytest.mark.parametrize("figures", [{}, {"about_bytes": 300_000}, {"size_bytes": 300_000}])
def test_too_little_room_is_told_before_any_byte(tmp_path, site, monkeypatch, figures):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA), **figures)
    monkeypatch.setattr("data_prep.download_plan.free_bytes", lambda _: 299_999)
    with pytest.raises(KitError, match=r"300,000 bytes \(300\.0 kB\) are to be downloaded, 299,999 .* are free there"):
        fetch(tmp_path, sources)
    assert site.gets("/day_0.gz") == []
    assert not (tmp_path / "out").exists()


def test_a_folder_holds_one_data_set(tmp_path, site):
    url = site.serve("/day_0.gz", DATA)
    file = {"name": "day_0.gz", "urls": [url]}
    sources = write_sources(tmp_path, source(file), source(file, name="other_logs"))
    fetch(tmp_path, sources)
    with pytest.raises(KitError, match=r"holds files of logs .* name another --out"):
        fetch(tmp_path, sources, dataset="other_logs")


def test_two_at_once_are_refused(tmp_path, site):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA))
    (tmp_path / "out").mkdir()
    folder = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(KitError, match="another download is writing there"):
        fetch(tmp_path, sources)
    os.close(folder)
    fetch(tmp_path, sources)
    assert_whole(tmp_path)


# The disk


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_keeps_the_part(tmp_path, site, small_disk):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA, head=False))
    out = small_disk / "out"
    with pytest.raises(
        KitError, match=r"day_0\.gz: the disk is full after \d+,\d+ bytes .* start the same command again"
    ):
        fetch(tmp_path, sources, out=out)
    kept = (out / "day_0.gz.part").stat().st_size
    assert kept > 50_000
    assert not (out / "day_0.gz").exists()
    assert "the disk is full" in read_record(out).reason
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    fetch(tmp_path, sources, out=out)
    assert (out / "day_0.gz").read_bytes() == DATA
    assert site.gets("/day_0.gz")[-1].range == f"bytes={kept}-"


@pytest.mark.parametrize("name", ["downloads.json", "run.json"])
def test_a_disk_without_room_for_the_records(tmp_path, site, monkeypatch, name):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA))
    fetch(tmp_path, sources, files=["day_0.gz"])
    (tmp_path / "out" / "downloads.json").unlink()
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(KitError, match=rf"{name}: cannot be written \(No space left on device\)"):
            fetch(tmp_path, sources)
    fetch(tmp_path, sources)
    assert_whole(tmp_path)
    assert len(site.gets("/day_0.gz")) == 1


@pytest.mark.parametrize(("number", "message"), [(errno.ENOSPC, "the disk is full"), (errno.EIO, "cannot be written")])
def test_a_disk_that_fails_at_the_flush(tmp_path, site, monkeypatch, number, message):
    """Where no small disk can be mounted, too."""
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA))

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("data_prep.transfer.flush", fail)
        with pytest.raises(KitError, match=message):
            fetch(tmp_path, sources)
    assert_nothing_final(tmp_path)
    fetch(tmp_path, sources)
    assert_whole(tmp_path)
