"""Batches against numpy's reading of the same files, and damaged rows refused by name."""

import gc
import os

import numpy as np
import pytest
import torch

from dlrm_core.data import Part, block, column_file, open_part, open_training_parts
from dlrm_core.data import part as part_module
from dlrm_core.schema.dataset import read_dataset
from dlrm_core.schema.errors import KitError
from tests.data.reading import on_disk
from tests.train.builders import CARDINALITIES, NUM_NUMERICAL, write_dataset


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("batch_size", [1, 7, 90, 1000])
def test_batches_are_the_rows_on_disk_in_order(folder, split, batch_size):
    part = open_part(folder, split)
    batches = list(part.batches(batch_size))
    rows = len(part)
    assert [len(b) for b in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert sum(len(b) for b in batches) == rows
    numerical, ids, label = on_disk(folder, split)
    assert np.array_equal(torch.cat([b.numerical_BN for b in batches]).numpy(), numerical.astype(np.float32))
    assert np.array_equal(torch.cat([b.ids_BT for b in batches]).numpy(), ids)
    assert np.array_equal(torch.cat([b.label_B for b in batches]).numpy(), label)
    assert (batches[0].numerical_BN.dtype, batches[0].ids_BT.dtype, batches[0].label_B.dtype) == (
        torch.float32,
        torch.int64,
        torch.float32,
    )


def test_shards_of_a_batch(folder):
    batch = open_part(folder, "test").read(3, 20)
    shard = batch.shard(4, 9)
    assert len(batch) == 17
    assert len(shard) == 5
    assert torch.equal(shard.numerical_BN, batch.numerical_BN[4:9])
    assert torch.equal(shard.ids_BT, batch.ids_BT[4:9])
    assert torch.equal(shard.label_B, batch.label_B[4:9])


def test_columns_are_the_same_rows(folder):
    part = open_training_parts(folder).stop
    numerical, ids, label = part.columns()
    batch = part.read(0, len(part))
    assert (numerical.dtype, ids.dtype, label.dtype) == (np.float32, np.int32, np.bool_)
    assert np.array_equal(numerical, batch.numerical_BN.numpy())
    assert np.array_equal(ids, batch.ids_BT.numpy())
    assert np.array_equal(label, batch.label_B.numpy())
    assert np.array_equal(label, part.labels())


def test_a_batch_may_be_changed_without_harm_to_the_files(folder):
    before = {p.name: p.read_bytes() for p in (folder / "test").iterdir()}
    batch = open_part(folder, "test").read(0, 10)
    batch.numerical_BN.zero_()
    batch.ids_BT.zero_()
    batch.label_B.zero_()
    assert {p.name: p.read_bytes() for p in (folder / "test").iterdir()} == before
    assert open_part(folder, "test").read(0, 10).numerical_BN.any()


@pytest.mark.parametrize("bad", [-1, CARDINALITIES[1], 32767])
def test_an_id_outside_its_table_is_refused_with_file_and_row(folder, bad):
    path = folder / "train" / "cat_1.bin"
    ids = np.fromfile(path, np.int16)
    ids[220] = bad
    ids.tofile(path)
    part = open_training_parts(folder).stop  # its row 13 is row 220 of the file
    assert len(part.read(0, 13)) == 13
    with pytest.raises(KitError, match=rf"train/cat_1\.bin: row 220 holds id {bad}, C1 has ids 0 to 129"):
        part.read(10, 20)


def test_an_id_outside_its_table_is_refused_for_columns_too(folder):
    path = folder / "train" / "cat_0.bin"
    ids = np.fromfile(path, np.int8)
    ids[3] = -1
    ids.tofile(path)
    with pytest.raises(KitError, match=r"cat_0\.bin"):
        open_training_parts(folder).fit.columns()


@pytest.mark.parametrize("value", [2, 255])
def test_a_label_that_is_neither_0_nor_1_is_read_as_a_click(folder, value):
    """Never as 2.0 or 255.0: a loss with such a label has no meaning."""
    path = folder / "test" / "label.bin"
    label = np.fromfile(path, np.uint8)
    label[5] = value
    label.tofile(path)
    part = open_part(folder, "test")
    assert set(part.read(0, 10).label_B.tolist()) <= {0.0, 1.0}
    assert set(part.labels().view(np.uint8).tolist()) <= {0, 1}
    assert part.read(5, 6).label_B.tolist() == [1.0]
    assert part.labels()[5]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_numerical_that_is_not_finite_is_refused_with_the_file(folder, value):
    """Else training fails later and blames the learning rate."""
    path = folder / "test" / "numerical.bin"
    numerical = np.fromfile(path, np.float16)
    numerical[5] = value
    numerical.tofile(path)
    with pytest.raises(KitError, match=r"numerical\.bin"):
        open_part(folder, "test").read(0, 10)
    with pytest.raises(KitError, match=rf"test/numerical\.bin: row 1 holds {value} in I1"):
        open_part(folder, "test").columns()


def test_the_row_that_is_not_finite_is_named_by_its_place_in_the_file(folder):
    path = folder / "train" / "numerical.bin"
    numerical = np.fromfile(path, np.float16).reshape(-1, NUM_NUMERICAL)
    numerical[220, 2] = np.nan
    numerical.tofile(path)
    part = open_training_parts(folder).stop  # its row 13 is row 220 of the file
    assert len(part.read(0, 13)) == 13
    with pytest.raises(KitError, match=r"train/numerical\.bin: row 220 holds nan in I2"):
        part.read(10, 20)


def test_memory_of_a_batch_is_aligned(folder):
    """Vector instructions start at the same place in every run, wherever a batch happens to lie."""
    for batch in open_part(folder, "test").batches(7):
        assert batch.numerical_BN.data_ptr() % 64 == 0


@pytest.mark.parametrize("stretch_bytes", [1 << 23, 64])
@pytest.mark.parametrize("block_bytes", [1 << 20, 600, 1])
def test_rows_across_blocks_and_stretches(tmp_path, monkeypatch, block_bytes, stretch_bytes):
    """A few rows or batches a block, or one; an end in the middle of a block; stretches without any of the rows."""
    monkeypatch.setattr(part_module, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(part_module, "BLOCK_BYTES_IN_ORDER", block_bytes)
    monkeypatch.setattr(column_file, "STRETCH_BYTES", stretch_bytes)
    monkeypatch.setattr(block, "TURNED_ROWS", 5)
    write_dataset(tmp_path)
    numerical, ids, label = on_disk(tmp_path, "train")
    part = open_training_parts(tmp_path).stop
    orders = [None, np.random.default_rng(0).permutation(23), np.arange(23)[::-1], np.array([22, 0, 5])]
    for order in orders:
        rows = 207 + (np.arange(23) if order is None else order)
        if order is None or len(order) == 23:
            batches = list(part.batches(4, order))
        else:
            batches = [part.read(0, 2, order), part.read(2, 3, order)]
        assert np.array_equal(torch.cat([b.ids_BT for b in batches]).numpy(), ids[rows])
        assert np.array_equal(torch.cat([b.numerical_BN for b in batches]).numpy(), numerical[rows].astype("f4"))
        assert np.array_equal(torch.cat([b.label_B for b in batches]).numpy(), label[rows])
    assert np.array_equal(part.columns()[1], ids[207:])


def test_any_reads_one_after_the_other_are_right(folder):
    """A block that is kept serves only the rows it holds, in the order it was asked for."""
    part, generator = open_part(folder, "train"), np.random.default_rng(0)
    ids = on_disk(folder, "train")[1]
    orders = [None, generator.permutation(230), generator.permutation(230)]
    start = stop = 0
    for _ in range(300):
        order = orders[generator.integers(3)]
        start = stop if stop < 230 and generator.random() < 0.7 else int(generator.integers(230))
        stop = min(230, start + int(generator.integers(1, 60)))
        if order is not None and generator.random() < 0.1:
            generator.shuffle(order)
        rows = np.arange(start, stop) if order is None else order[start:stop]
        assert np.array_equal(part.read(start, stop, order).ids_BT.numpy(), ids[rows])


def test_files_are_read_a_block_at_a_time(tmp_path, monkeypatch):
    """Twenty batches of 500 rows: one read a file for the first, one for all that follow."""
    write_dataset(tmp_path, train=10_000, holdback=0)
    part, reads, preadv = open_part(tmp_path, "train"), [], os.preadv
    monkeypatch.setattr(os, "preadv", lambda *arguments: reads.append(preadv(*arguments)) or reads[-1])
    assert len(list(part.batches(500))) == 20
    assert len(reads) == 2 * 5


@pytest.mark.parametrize("file", ["cat_1.bin", "numerical.bin"])
@pytest.mark.parametrize("in_order", [False, True])
def test_sound_batches_of_a_damaged_block_come_first(folder, file, in_order):
    """What is checked by the block is raised where the batch would have come."""
    path = folder / "train" / file
    values = np.fromfile(path, np.int16 if file == "cat_1.bin" else np.float16).reshape(230, -1)
    values[175] = -3 if file == "cat_1.bin" else np.inf
    values.tofile(path)
    order = np.arange(230)[::-1].copy() if in_order else None
    batches = open_part(folder, "train").batches(50, order)
    assert [len(next(batches)) for _ in range(1 if in_order else 3)]
    with pytest.raises(KitError, match=rf"{file}: row 175 holds"):
        next(batches)


def test_the_wrong_id_of_a_new_order_is_named_by_its_place_in_the_file(folder):
    ids = np.fromfile(folder / "test" / "cat_2.bin", np.int8)
    ids[61] = -2
    ids.tofile(folder / "test" / "cat_2.bin")
    with pytest.raises(KitError, match=r"test/cat_2\.bin: row 61 holds id -2, C2 has ids 0 to 39"):
        open_part(folder, "test").read(0, 90, np.arange(90)[::-1].copy())


def test_a_file_that_became_shorter_is_refused(folder):
    part = open_part(folder, "test")
    os.truncate(folder / "test" / "numerical.bin", 100)
    with pytest.raises(KitError, match=r"numerical\.bin: became shorter"):
        part.read(0, 90)


def test_descriptors_are_closed_with_the_part(folder):
    before = len(os.listdir("/proc/self/fd"))
    part = Part(folder, read_dataset(folder), "test")
    part.read(0, 9, np.arange(9))
    assert len(os.listdir("/proc/self/fd")) > before
    del part
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
