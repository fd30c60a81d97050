"""Rows of one file, by plain reads and by numbers."""

import os

import numpy as np
import pytest

from dlrm_core.data import column_file, open_part
from dlrm_core.data.column_file import ColumnFile
from dlrm_core.schema.errors import KitError
from tests.data.reading import on_disk

ROWS = np.arange(300, dtype=np.int16).reshape(100, 3)


@pytest.fixture
def column(tmp_path) -> ColumnFile:
    """Rows 20 up to 90 of ROWS."""
    ROWS.tofile(tmp_path / "rows.bin")
    return ColumnFile(tmp_path / "rows.bin", np.dtype("int16"), 20, 70, (3,))


def test_rows_are_counted_from_the_first(column):
    assert np.array_equal(column.read(0, 70), ROWS[20:90])
    assert np.array_equal(column.read(5, 6), ROWS[25:26])
    assert column.read(5, 5).shape == (0, 3)


@pytest.mark.parametrize("stretch_bytes", [6, 60, 1 << 23])
def test_picked_rows(column, monkeypatch, stretch_bytes):
    monkeypatch.setattr(column_file, "STRETCH_BYTES", stretch_bytes)
    for rows in ([0], [69], [0, 1, 2, 3, 30, 69], list(range(70)), [9, 10, 10, 11], []):
        assert np.array_equal(column.pick(np.array(rows, np.int64)), ROWS[20:90][rows])


def test_a_row_beyond_the_last_is_an_error(column):
    with pytest.raises(IndexError):
        column.pick(np.array([3, 70]))


def test_a_file_that_ends_before_is_refused(column, tmp_path):
    os.truncate(tmp_path / "rows.bin", 200)
    with pytest.raises(KitError, match=r"rows\.bin: became shorter"):
        column.read(0, 70)


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(column, monkeypatch):
    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(KitError, match=r"rows\.bin: cannot be read \(Input/output error\)"):
        column.read(0, 70)


def test_a_read_may_come_in_pieces(folder, monkeypatch):
    """The kernel gives at most 2 GiB at once."""
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda handle, to, at: preadv(handle, [to[0].cast("B")[:7]], at))
    numerical, ids, _ = on_disk(folder, "test")
    batch = open_part(folder, "test").read(3, 61)
    assert np.array_equal(batch.ids_BT.numpy(), ids[3:61])
    assert np.array_equal(batch.numerical_BN.numpy(), numerical[3:61].astype("f4"))
