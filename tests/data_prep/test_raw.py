import gzip
import hashlib
import time
import zlib
from itertools import pairwise

import pytest

from data_prep.raw import MAX_LINE_BYTES, RawFile, find_fault, read_blocks
from dlrm_core.schema.errors import KitError
from tests.conftest import random_rows, raw_line, write_raw

ROWS = random_rows(40, seed=3)
BLOCK_SIZES = [1, 7, 64, 257, 5000, 1 << 20]


def joined(path, block_bytes):
    return b"".join(block.data for block in read_blocks(path, block_bytes))


@pytest.mark.parametrize("block_bytes", BLOCK_SIZES)
@pytest.mark.parametrize("name", ["raw", "raw.gz"])
@pytest.mark.parametrize("last_end", [True, False])
def test_blocks_hold_all_lines_whatever_their_size(tmp_path, block_bytes, name, last_end):
    path = write_raw(tmp_path / name, ROWS, last_end=last_end)
    blocks = list(read_blocks(path, block_bytes))
    assert b"".join(block.data for block in blocks).decode() == "".join(f"{row}\n" for row in ROWS)
    line = 1
    for block in blocks:
        assert block.first_line == line
        assert block.num_lines == block.data.count(b"\n")
        assert block.data.endswith(b"\n")
        line += block.num_lines
    assert line == len(ROWS) + 1


def test_gzip_is_told_by_its_bytes_not_its_name(tmp_path):
    zipped = write_raw(tmp_path / "a.gz", ROWS).rename(tmp_path / "day_0")
    plain = write_raw(tmp_path / "plain", ROWS).rename(tmp_path / "plain.gz")
    assert joined(zipped, 1000) == joined(plain, 1000)


def test_gzip_of_several_members_is_read_to_its_end(tmp_path):
    halves = ["\n".join(ROWS[:13]) + "\n" + ROWS[13][:30], ROWS[13][30:] + "\n" + "\n".join(ROWS[14:])]
    path = tmp_path / "day.gz"
    path.write_bytes(b"".join(gzip.compress(half.encode()) for half in halves))
    assert joined(path, 500).decode().splitlines() == ROWS
    assert sum(block.num_lines for block in read_blocks(path)) == len(ROWS)


@pytest.mark.parametrize("last_end", [True, False])
def test_single_row(tmp_path, last_end):
    assert sum(block.num_lines for block in read_blocks(write_raw(tmp_path / "one", ROWS[:1], last_end=last_end))) == 1


@pytest.mark.parametrize("block_bytes", BLOCK_SIZES)
@pytest.mark.parametrize(("fields", "broken"), [(39, ROWS[22].rpartition("\t")[0]), (41, ROWS[22] + "\t"), (1, "")])
def test_wrong_number_of_fields_is_told_with_its_line(tmp_path, block_bytes, fields, broken):
    path = write_raw(tmp_path / "raw", [*ROWS[:22], broken, *ROWS[23:]])
    faults = [str(fault) for block in read_blocks(path, block_bytes) if (fault := find_fault(block))]
    assert faults == [f"{path}:23: has {fields} fields; 40 are needed, tab separated"]


@pytest.mark.parametrize("block_bytes", BLOCK_SIZES)
def test_fault_in_a_field_is_told_with_line_and_column(tmp_path, block_bytes):
    path = write_raw(tmp_path / "raw", [*ROWS[:30], raw_line(I7="1.5"), *ROWS[31:]])
    blocks = list(read_blocks(path, block_bytes))
    faults = [find_fault(block) for block in blocks]
    assert [str(fault) for fault in faults if fault] == [
        f"{path}:31: column I7 holds '1.5'; an integer of 32 bits or nothing is needed"
    ]


@pytest.mark.parametrize("cut", [1, 4, 8, 12, 200])
def test_truncated_gzip(tmp_path, cut):
    path = write_raw(tmp_path / "day.gz", ROWS)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(KitError, match=r"day\.gz:\d+: .*breaks off or is damaged.*fetch the file again"):
        list(read_blocks(path))


@pytest.mark.parametrize("kept", [2, 3, 9, 10])
def test_gzip_that_ends_in_its_header(tmp_path, kept):
    path = write_raw(tmp_path / "day.gz", ROWS)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(KitError, match=r"day\.gz:1: .*breaks off"):
        list(read_blocks(path))


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("members", [1, 3])
def test_a_gzip_that_breaks_off_is_told_with_the_line_in_which_it_does(tmp_path, part, members):
    text = "".join(f"{row}\n" for row in random_rows(400, seed=4)).encode()
    cuts = [len(text) * i // members for i in range(members + 1)]
    packed = b"".join(gzip.compress(text[i:j]) for i, j in pairwise(cuts))
    path = tmp_path / "day.gz"
    path.write_bytes(packed[: int(len(packed) * part)])
    whole = gzip_text(path).count(b"\n")
    assert 20 < whole < 380
    with pytest.raises(KitError, match=rf"day\.gz:{whole + 1}: .*breaks off or is damaged in this line"):
        list(read_blocks(path))


def gzip_text(path):
    """What comes out of a gzip file that breaks off, one byte of it after the other."""
    text, stream = b"", zlib.decompressobj(31)
    for byte in path.read_bytes():
        text += stream.decompress(bytes([byte]))
        stream = zlib.decompressobj(31) if stream.eof else stream
    return text


def test_a_gzip_that_is_damaged_in_the_middle_is_told_with_that_line(tmp_path):
    text = "".join(f"{row}\n" for row in random_rows(2000, seed=4)).encode()
    packed = bytearray(gzip.compress(text, compresslevel=0))  # blocks of plain text, a header of 5 bytes before each
    size = int.from_bytes(packed[11:13], "little")
    second = 10 + 5 + size
    packed[second + 3] ^= 1  # of the size's complement
    (tmp_path / "day.gz").write_bytes(packed)
    line = text[:size].count(b"\n") + 1
    assert 50 < line < 1900
    with pytest.raises(KitError, match=rf"day\.gz:{line}: .*damaged in this line .*invalid stored block"):
        list(read_blocks(tmp_path / "day.gz"))


def test_damaged_gzip(tmp_path):
    whole = bytearray(write_raw(tmp_path / "day.gz", ROWS).read_bytes())
    checksum = whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:]
    for name, data in {"checksum": checksum, "tail": whole + b"text"}.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(KitError, match=rf"{name}:\d+: .*damaged"):
            list(read_blocks(path))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.write_bytes(gzip.compress(b"")), "holds no rows"),
    ],
    ids=["missing", "folder", "empty", "empty gzip"],
)
def test_files_without_rows(tmp_path, make, said):
    path = tmp_path / "raw"
    make(path)
    with pytest.raises(KitError, match=said) as caught:
        list(read_blocks(path))
    assert str(path) in str(caught.value)
    assert "needed" in str(caught.value)


def test_a_long_line_without_an_end_is_refused_without_being_kept(tmp_path):
    path = tmp_path / "binary"
    path.write_bytes(ROWS[0].encode() + b"\n" + b"x" * (2 * MAX_LINE_BYTES))
    start = time.perf_counter()
    with pytest.raises(KitError, match=r"binary:2: has no end within 1048576 bytes"):
        list(read_blocks(path, 1 << 16))
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("name", ["raw", "raw.gz"])
def test_the_digest_is_that_of_the_file_as_it_lies_on_disk(tmp_path, name):
    raw = RawFile(write_raw(tmp_path / name, ROWS), block_bytes=500)
    assert sum(block.num_lines for block in raw.blocks()) == len(ROWS)
    assert raw.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
