import hashlib

import numpy as np
import pytest

from data_prep.writer import RowLayout, Scatter, SplitWriter, bucket_path, gather
from dlrm_core.schema.dataset import CategoricalFeature
from dlrm_core.schema.errors import KitError

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


def put(folder, layout, rows):
    row = np.asarray(rows, dtype=np.int64)
    ids = {"C1": row % 100, "C2": row * 3, "C3": row * 7}
    scatter = Scatter(folder, layout)
    for piece in np.array_split(row, 3):
        some = {c: x[np.isin(row, piece)].astype(np.int32) for c, x in ids.items()}
        scatter.put(piece, piece % 2, np.stack([piece / 3, -piece / 7], axis=1), some)


@pytest.mark.parametrize("bucket_bytes", [1, 40, 333, 10_000])
def test_buckets_of_any_size_and_several_inputs_give_the_same_files(tmp_path, bucket_bytes):
    layout = RowLayout(1000, ("I1", "I2"), FEATURES, bucket_bytes)
    rows = np.random.default_rng(1).permutation(1000)
    for i, some in enumerate(np.array_split(np.sort(rows), 4) if bucket_bytes == 40 else [np.sort(rows)]):
        put(tmp_path / f"in-{i}", layout, some)
    made = gather(sorted(tmp_path.glob("in-*")), layout, tmp_path / "out")
    one = RowLayout(1000, ("I1", "I2"), FEATURES)
    put(tmp_path / "whole", one, np.arange(1000))
    assert made == gather([tmp_path / "whole"], one, tmp_path / "other")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"label.bin", "numerical.bin", *(f.file for f in FEATURES)}


@pytest.mark.parametrize("damage", ["a row too few", "a row twice", "cut"])
def test_damaged_buckets_are_refused(tmp_path, damage):
    layout = RowLayout(50, ("I1", "I2"), FEATURES)
    rows = {"a row too few": range(49), "a row twice": [*range(49), 48], "cut": range(50)}[damage]
    put(tmp_path / "in", layout, rows)
    if damage == "cut":
        path = bucket_path(tmp_path / "in", 0)
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(KitError, match=r"bucket 0.*remove it"):
        gather([tmp_path / "in"], layout, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.bin"))
