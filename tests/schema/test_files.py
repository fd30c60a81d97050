import hashlib
from pathlib import Path

import pytest

from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import (
    CHUNK_BYTES,
    input_file,
    make_output_folder,
    sha256_bytes,
    sha256_file,
    write_atomic,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("data", "raw"), [("é\n", "é\n".encode()), (b"\0\xff", b"\0\xff"), ("", b"")])
def test_write_atomic(tmp_path, data, raw):
    path = tmp_path / "x.json"
    path.write_text("a longer text that was there before")
    write_atomic(path, data)
    assert path.read_bytes() == raw
    assert names(tmp_path) == ["x.json"]


def test_failed_write_keeps_the_old_file_and_leaves_no_part(tmp_path):
    path = tmp_path / "x.json"
    write_atomic(path, "old")
    with pytest.raises(TypeError):
        write_atomic(path, 3)  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.json"]


def test_failed_rename_leaves_no_part(tmp_path):
    (tmp_path / "x.json").mkdir()
    with pytest.raises(OSError, match=r"x\.json"):
        write_atomic(tmp_path / "x.json", "new")
    assert names(tmp_path) == ["x.json"]


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_digests(tmp_path, size):
    raw = b"x" * size
    path = tmp_path / "file"
    path.write_bytes(raw)
    assert sha256_file(path) == sha256_bytes(raw) == hashlib.sha256(raw).hexdigest()


def test_output_folder_is_made_with_its_parents_and_left_as_it_was(tmp_path):
    folder = tmp_path / "a" / "b"
    make_output_folder(folder)
    (folder / "kept").touch()
    make_output_folder(folder)
    assert names(folder) == ["kept"]


@pytest.mark.parametrize("below", ["", "c", "c/d"])
def test_output_that_is_a_file_or_below_one(tmp_path, below):
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / below if below else tmp_path / "file"
    with pytest.raises(KitError, match="name another --out") as caught:
        make_output_folder(out)
    assert str(caught.value).startswith(f"{out}: ")
    assert (tmp_path / "file").read_text() == "mine"


def test_output_in_a_file_system_that_takes_none():
    with pytest.raises(KitError, match="name another --out"):
        make_output_folder(Path("/proc/made-up"))


def test_output_name_that_no_file_system_takes(tmp_path):
    with pytest.raises(KitError, match="name another --out"):
        make_output_folder(tmp_path / ("x" * 300))


def test_input_file(tmp_path):
    path = tmp_path / "day"
    path.write_text("1")
    assert input_file(path, "a raw file") == path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.symlink_to(path.with_name("gone")), "no such file"),
    ],
)
def test_input_that_is_no_file(tmp_path, make, said):
    path = tmp_path / "day"
    make(path)
    with pytest.raises(KitError) as caught:
        input_file(path, "a raw file")
    assert str(caught.value).startswith(f"{path}: {said}")
    assert "a raw file is needed" in str(caught.value)


def test_input_name_that_no_file_system_takes(tmp_path):
    with pytest.raises(KitError, match="a raw file is needed"):
        input_file(tmp_path / ("x" * 300), "a raw file")
