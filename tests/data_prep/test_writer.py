import hashlib

import numpy as np
import pytest

from data_prep.writer import SplitWriter, shuffled_positions
from dlrm_core.schema.dataset import CategoricalFeature

FEATURES = (
    CategoricalFeature(name="C1", file="cat_0.bin", cardinality=126, dtype="int8", frequency_limit=1),
    CategoricalFeature(name="C2", file="cat_1.bin", cardinality=32766, dtype="int16", frequency_limit=1),
    CategoricalFeature(name="C3", file="cat_2.bin", cardinality=32767, dtype="int32", frequency_limit=1),
)
ROWS = 23


def write(folder, batches, rows=ROWS):
    """Rows 0 .. ROWS - 1 with telling contents, put in the given batches of positions."""
    writer = SplitWriter(folder, rows, ("I1", "I2"), FEATURES)
    for positions in batches:
        row = np.asarray(positions, dtype=np.int64)
        ids = {"C1": row + 100, "C2": row + 32740, "C3": row + 32740}
        writer.put(row, row % 2, np.stack([row / 3, -row / 7], axis=1), {c: x.astype(np.int32) for c, x in ids.items()})
        assert not list(folder.glob("*.bin")), "a file has its final name before it is whole"
    return writer.finish()


def test_files_and_widths(tmp_path):
    digests = write(tmp_path / "train", [range(ROWS)])
    row = np.arange(ROWS)
    wanted = {
        "label.bin": (row % 2).astype("u1"),
        "numerical.bin": np.stack([row / 3, -row / 7], axis=1).astype("<f2"),
        "cat_0.bin": (row + 100).astype("i1"),
        "cat_1.bin": (row + 32740).astype("<i2"),
        "cat_2.bin": (row + 32740).astype("<i4"),
    }
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == sorted(wanted)
    for name, values in wanted.items():
        raw = (tmp_path / "train" / name).read_bytes()
        assert raw == values.tobytes(), name
        assert digests[name] == hashlib.sha256(raw).hexdigest()


def test_neither_batches_nor_their_order_matter(tmp_path):
    order = np.random.default_rng(0).permutation(ROWS)
    assert write(tmp_path / "a", [range(ROWS)]) == write(tmp_path / "b", [order[:1], order[1:9], order[9:]])


def test_numbers_are_rounded_to_nearest_even_float16(tmp_path):
    writer = SplitWriter(tmp_path / "x", 1, ("I1", "I2", "I3", "I4"), ())
    # Neighbours of 2048 are 2 apart; 2049 and 2051 lie half way, and the even significand is 2048 and 2052.
    writer.put(np.array([0]), np.array([0], dtype=np.int8), np.array([[2049.0, 2051.0, 2049.1, -2049.0]]), {})
    writer.finish()
    numbers = np.frombuffer((tmp_path / "x" / "numerical.bin").read_bytes(), "<f2")
    assert numbers.tolist() == [2048, 2052, 2050, -2048]


def test_no_rows_makes_empty_files(tmp_path):
    digests = write(tmp_path / "validation", [], rows=0)
    assert {path.stat().st_size for path in (tmp_path / "validation").iterdir()} == {0}
    assert set(digests.values()) == {hashlib.sha256(b"").hexdigest()}
    assert len(digests) == 2 + len(FEATURES)


@pytest.mark.parametrize(("rows", "holdback"), [(0, 0), (1, 0), (10, 1), (1000, 100), (7, 7)])
def test_shuffle_is_a_permutation_that_leaves_the_held_back_rows_last(rows, holdback):
    positions = shuffled_positions(rows, holdback, 5)
    assert positions.dtype == np.int64
    head = rows - holdback
    assert sorted(positions[:head].tolist()) == list(range(head))
    assert sorted(positions[head:].tolist()) == list(range(head, rows))


def test_both_stretches_are_shuffled_and_by_the_seed():
    positions = shuffled_positions(1000, 100, 5)
    in_order = np.arange(1000)
    assert np.mean(positions[:900] == in_order[:900]) < 0.02
    assert np.mean(positions[900:] == in_order[900:]) < 0.1
    assert np.array_equal(positions, shuffled_positions(1000, 100, 5))
    assert not np.array_equal(positions, shuffled_positions(1000, 100, 6))
