"""Binaries on disk: whole or not at all, and never those of another source."""

import concurrent.futures

import pytest

from dlrm_core.ops.cuda import cache

ENTRY = cache.Entry(b"\x7fELF\n\0 binary\nwith line ends", "log 'with'\nlines ü")


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "deep" / "one.binary"
    assert cache.read(path) is None
    cache.write(path, ENTRY)
    assert cache.read(path) == ENTRY
    assert [p.name for p in path.parent.iterdir()] == ["one.binary"]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "longer", "text"])
def test_a_damaged_file_is_none(tmp_path, damage):
    path = tmp_path / "one.binary"
    cache.write(path, ENTRY)
    content = path.read_bytes()
    flipped = content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]
    path.write_bytes(
        {"cut": content[:-1], "flip": flipped, "empty": b"", "longer": content + b"0", "text": b"hello\n"}[damage]
    )
    assert cache.read(path) is None


def test_keys_differ_by_every_part_and_where_it_ends():
    keys = [cache.key(*parts) for parts in (("a", "b"), ("ab",), ("a", "b", ""), ("b", "a"), ("a", "c"), ("", "ab"))]
    assert len(set(keys)) == len(keys)
    assert cache.key("a", "b") == keys[0]


def test_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DLRM_CUDA_CACHE", str(tmp_path / "mine"))
    assert cache.folder() == tmp_path / "mine"
    monkeypatch.delenv("DLRM_CUDA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "dlrm-kit" / "cuda"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "dlrm-kit" / "cuda"


def test_a_folder_that_cannot_be_made_is_named_with_the_way_out(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="DLRM_CUDA_CACHE"):
        cache.write(tmp_path / "file" / "one.binary", ENTRY)


def _write_and_read(path, number):
    entry = cache.Entry(bytes([number]) * 100_000, str(number))
    for _ in range(30):
        cache.write(path, entry)
        found = cache.read(path)
        assert found is not None
        assert found.cubin == found.cubin[:1] * 100_000
        assert found.log == str(found.cubin[0])
    return True


def test_two_processes_at_once(tmp_path):
    path = tmp_path / "one.binary"
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        assert all(pool.map(_write_and_read, [path] * 2, (1, 2)))
    assert [p.name for p in tmp_path.iterdir()] == ["one.binary"]
