"""One file from a server that behaves as real ones do on a bad day: drops, changes, lies, other addresses."""

import gzip
import hashlib
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests

from data_prep.download import verify
from data_prep.web import UnusableAnswer, check
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import read_record
from dlrm_core.schema.sources import read_downloads
from tests.data_prep.downloads import (
    DATA,
    OTHER,
    PATIENCE,
    ROOT,
    SHA,
    assert_nothing_final,
    assert_whole,
    fetch,
    interrupt_after,
    one_file,
)

# Interruptions


@pytest.mark.parametrize(
    ("how", "asks_for_the_rest"),
    [
        ({}, True),
        ({"etag": None, "last_modified": "Wed, 21 Oct 2015 07:28:00 GMT"}, True),
        ({"etag": 'W/"weak"'}, True),
        ({"etag": None}, False),
        ({"ranges": False}, True),
        ({"chunked": True}, True),
    ],
)
def test_interrupted_and_resumed(tmp_path, site, how, asks_for_the_rest):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA, **how))
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, sources, progress=interrupt_after(100_000))
    assert_nothing_final(tmp_path)
    kept = (tmp_path / "out" / "day_0.gz.part").stat().st_size
    assert 100_000 <= kept < len(DATA)
    fetch(tmp_path, sources)
    assert_whole(tmp_path)
    assert site.gets("/day_0.gz")[1].range == (f"bytes={kept}-" if asks_for_the_rest else None)


def test_interrupted_between_the_last_byte_and_the_name(tmp_path, site):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA))
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, sources, progress=interrupt_after(len(DATA)))
    assert_nothing_final(tmp_path)
    fetch(tmp_path, sources)
    assert_whole(tmp_path)
    assert len(site.gets("/day_0.gz")) == 1


def test_ended_between_the_name_and_its_record(tmp_path, site):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA))
    fetch(tmp_path, sources)
    (tmp_path / "out" / "downloads.json").unlink()
    fetch(tmp_path, sources)
    assert_whole(tmp_path)
    assert len(site.gets("/day_0.gz")) == 1


def test_killed_and_resumed(tmp_path, site):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA, pause_s=0.05))
    code = (
        "import sys; from pathlib import Path; from data_prep.download import download; from data_prep.transfer import Retry\n"
        "download(dataset='logs', out=Path(sys.argv[1]), sources=Path(sys.argv[2]), accept_licence=True, "
        "retry=Retry(piece_bytes=1 << 12))"
    )
    part = tmp_path / "out" / "day_0.gz.part"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out"), str(sources)], cwd=ROOT)
    limit = time.monotonic() + 15
    while not (part.exists() and part.stat().st_size > 50_000):
        assert time.monotonic() < limit
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = part.stat().st_size
    assert 50_000 < kept < len(DATA)
    assert not (tmp_path / "out" / "day_0.gz").exists()
    site.files["/day_0.gz"].pause_s = 0
    fetch(tmp_path, sources)
    assert_whole(tmp_path)
    assert site.gets("/day_0.gz")[-1].range == f"bytes={kept}-"


@pytest.mark.parametrize("how", [{}, {"chunked": True}])
def test_a_connection_that_drops_again_and_again_is_taken_up_again(tmp_path, site, how):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA, drop_after=40_000, **how))
    fetch(tmp_path, sources)
    assert_whole(tmp_path)
    assert len(site.gets("/day_0.gz")) >= 8
    assert site.sent_bytes < len(DATA) + len(site.gets("/day_0.gz")) * PATIENCE.piece_bytes


def test_a_connection_that_brings_nothing_new_is_given_up(tmp_path, site):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA, ranges=False, drop_after=40_000))
    with pytest.raises(
        KitError, match=r"no address gave the file; .*broke off.*3 times in a row \(\d+,\d+ bytes are kept\)"
    ):
        fetch(tmp_path, sources)
    assert_nothing_final(tmp_path)
    assert len(site.gets("/day_0.gz")) == 4


def test_a_busy_server_is_asked_again_after_its_time(tmp_path, site):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA, statuses=[503, 429]))
    fetch(tmp_path, sources)
    assert_whole(tmp_path)


@pytest.mark.parametrize("marks", [{"etag": '"two"'}, {"etag": None}, {"etag": '"two"', "ranges": False}])
@pytest.mark.parametrize("data", [OTHER, OTHER[:50_000], OTHER + OTHER])
def test_a_file_that_changed_meanwhile_starts_again(tmp_path, site, marks, data):
    url = site.serve("/day_0.gz", DATA)
    sources = one_file(tmp_path, url)
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, sources, progress=interrupt_after(100_000))
    site.serve("/day_0.gz", data, **marks)
    fetch(tmp_path, sources)
    assert_whole(tmp_path, data)


@pytest.mark.parametrize("data", [OTHER, OTHER[:50_000]])
def test_a_server_that_ignores_the_condition_is_found_out(tmp_path, site, data):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA))
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, sources, progress=interrupt_after(100_000))
    site.serve("/day_0.gz", data, etag='"one"', headers={"ETag": '"two"'})  # compares with one, says two
    fetch(tmp_path, sources)
    assert_whole(tmp_path, data)


def test_a_server_that_answers_another_range_is_asked_for_all(tmp_path, site):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA, shift=7))
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, sources, progress=interrupt_after(100_000))
    fetch(tmp_path, sources)
    assert_whole(tmp_path)
    assert [asked.range is None for asked in site.gets("/day_0.gz")] == [True, False, True]


# Wrong content


@pytest.mark.parametrize("how", [{}, {"head": False}, {"head": False, "chunked": True}])
@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({"size_bytes": 300_001}, "the file has 300,000 bytes there, 300,001 were published"),
        ({"size_bytes": 299_999}, "the file has 300,000 bytes there, 299,999 were published"),
        ({"sha256": "0" * 64}, f"its SHA-256 is {SHA}, 0+ was published \\(made up\\); what arrived was deleted"),
        ({"md5": "0" * 32}, "its MD5 is [0-9a-f]{32}, 0+ was published"),
    ],
)
def test_another_file_than_was_published_is_deleted(tmp_path, site, figures, message, how):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA, **how), **figures)
    seen = []
    with pytest.raises(KitError, match=message):
        fetch(tmp_path, sources, progress=lambda *call: seen.append(call))
    assert bool(seen) == ("size_bytes" not in figures or "chunked" in how)  # a wrong size is seen before its bytes
    assert_nothing_final(tmp_path)
    assert list((tmp_path / "out").glob("*.part*")) == []


def test_right_figures_are_taken(tmp_path, site):
    md5 = hashlib.md5(DATA).hexdigest()
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA), size_bytes=len(DATA), sha256=SHA, md5=md5)
    assert fetch(tmp_path, sources).files["day_0.gz"].checked_against == "published sha256, md5, size_bytes"


@pytest.mark.parametrize("length", [299_000, 301_000])
def test_a_wrong_content_length(tmp_path, site, length):
    """Announced too long, it is an interruption that never ends; announced too short, the published hash finds it."""
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA, head=False, ranges=False, length=length), sha256=SHA)
    with pytest.raises(KitError, match="SHA-256" if length < 300_000 else "times in a row"):
        fetch(tmp_path, sources)
    assert_nothing_final(tmp_path)


def test_a_later_download_must_equal_the_first(tmp_path, site):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA))
    fetch(tmp_path, sources)
    (tmp_path / "out" / "day_0.gz").unlink()
    site.serve("/day_0.gz", OTHER)
    with pytest.raises(KitError, match=f"the first download had {SHA}"):
        fetch(tmp_path, sources)
    site.serve("/day_0.gz", OTHER[:-1])
    with pytest.raises(KitError, match=r"299,999 bytes there, 300,000 were recorded in downloads\.json"):
        fetch(tmp_path, sources)
    site.serve("/day_0.gz", DATA)
    fetch(tmp_path, sources)
    assert_whole(tmp_path)


def test_a_file_changed_on_the_disk_is_found(tmp_path, site):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA))
    fetch(tmp_path, sources)
    final = tmp_path / "out" / "day_0.gz"
    final.write_bytes(OTHER)
    with pytest.raises(KitError, match="delete it and download it again"):
        verify(out=tmp_path / "out")
    final.write_bytes(DATA[:-1])
    with pytest.raises(KitError, match=r"has 299,999 bytes, downloads\.json recorded 300,000"):
        fetch(tmp_path, sources)
    final.unlink()
    with pytest.raises(KitError, match="is recorded but not there"):
        verify(out=tmp_path / "out")
    with pytest.raises(KitError, match=r"holds no downloads\.json"):
        verify(out=tmp_path)


@pytest.mark.parametrize(("data", "figures"), [(OTHER, {"sha256": SHA}), (DATA[:-1], {})])
def test_another_file_of_that_name_is_not_touched(tmp_path, site, data, figures):
    sources = one_file(tmp_path, site.serve("/day_0.gz", DATA), **figures)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "day_0.gz").write_bytes(data)
    with pytest.raises(KitError, match="move it away and start again"):
        fetch(tmp_path, sources)
    assert (tmp_path / "out" / "day_0.gz").read_bytes() == data
    assert read_downloads(tmp_path / "out") is None


# Several addresses


def test_the_next_address_is_asked(tmp_path, site):
    good = site.serve("/copy/day_0.gz", DATA)
    wrong = site.serve("/wrong/day_0.gz", OTHER)
    sources = one_file(tmp_path, f"{site.address}/gone/day_0.gz", wrong, good, sha256=SHA)
    assert fetch(tmp_path, sources).files["day_0.gz"].url == good
    assert_whole(tmp_path)


def test_an_unfinished_part_goes_on_where_it_came_from(tmp_path, site):
    first = site.serve("/a/day_0.gz", DATA, statuses=[404])
    second = site.serve("/b/day_0.gz", DATA)
    sources = one_file(tmp_path, first, second)
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, sources, progress=interrupt_after(100_000))
    fetch(tmp_path, sources)
    assert len(site.gets("/a/day_0.gz")) == 1
    assert site.sent_bytes < 2 * len(DATA)
    assert_whole(tmp_path)


def test_bytes_of_two_addresses_are_never_mixed(tmp_path, site):
    """Not even where both servers use the same mark for other content."""
    first, second = site.serve("/a/day_0.gz", DATA), site.serve("/b/day_0.gz", OTHER)
    sources = one_file(tmp_path, first, second)
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, sources, progress=interrupt_after(100_000))
    del site.files["/a/day_0.gz"]
    fetch(tmp_path, sources)
    assert_whole(tmp_path, OTHER)


def test_all_addresses_fail_and_each_reason_is_told(tmp_path, site):
    closed = "http://127.0.0.1:9/day_0.gz"
    zipped = site.serve("/z", gzip.compress(DATA), headers={"Content-Encoding": "gzip"})
    sources = one_file(tmp_path, f"{site.address}/gone", closed, zipped)
    with pytest.raises(KitError) as refusal:
        fetch(tmp_path, sources)
    message = str(refusal.value)
    assert f"{site.address}/gone: answered 404 Not Found" in message
    assert f"{closed}: could not be reached or closed the connection, 3 times in a row" in message
    assert "compresses the file on the way" in message
    assert read_record(tmp_path / "out").reason.startswith("day_0.gz: no address gave the file")
    assert_nothing_final(tmp_path)


def test_a_host_that_is_not_known(tmp_path, monkeypatch):
    def fail(*arguments: object, **more: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(KitError, match="the host name is not known here; is there a network"):
        fetch(tmp_path, one_file(tmp_path, "https://nowhere.invalid/day_0.gz"))


def test_an_address_called_resolve_that_refuses_is_not_told_as_an_unknown_host(tmp_path, site):
    with pytest.raises(KitError, match="could not be reached"):
        fetch(tmp_path, one_file(tmp_path, "http://127.0.0.1:9/resolve/main/day_0.gz"))


def test_no_redirect_to_an_address_without_encryption():
    answer = requests.Response()
    answer.status_code, answer.url = 200, "http://example.org/day_0.gz"
    check(answer, "http://example.org/day_0.gz")
    with pytest.raises(UnusableAnswer, match="without encryption"):
        check(answer, "https://example.org/day_0.gz")
