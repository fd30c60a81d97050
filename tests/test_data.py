"""Batches against numpy's reading of the same files, and damaged files refused by name."""

import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from dlrm_core.data import Part, ahead, keep_off_dataset, open_part, open_training_parts
from dlrm_core.schema.dataset import read_dataset
from dlrm_core.schema.errors import KitError
from tests.train.builders import CARDINALITIES, NUM_NUMERICAL, write_dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "DATA")
    return tmp_path / "DATA"


def on_disk(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    spec = read_dataset(folder)
    numerical = np.fromfile(folder / split / "numerical.bin", np.float16).reshape(-1, NUM_NUMERICAL)
    ids = [np.fromfile(folder / split / f.file, f.dtype) for f in spec.categorical]
    return numerical, np.stack(ids, axis=1), np.fromfile(folder / split / "label.bin", np.uint8)


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


def test_the_last_tenth_is_held_back(folder):
    parts = open_training_parts(folder)
    _, ids, _ = on_disk(folder, "train")
    assert (len(parts.fit), len(parts.stop), len(parts.everything)) == (207, 23, 230)
    for part, rows in ((parts.fit, slice(0, 207)), (parts.stop, slice(207, 230)), (parts.everything, slice(0, 230))):
        assert np.array_equal(part.read(0, len(part)).ids_BT.numpy(), ids[rows])
    assert "23" in parts.stop_rule


def test_a_validation_part_is_used_where_there_is_one(tmp_path):
    write_dataset(tmp_path / "DATA", validation=31)
    parts = open_training_parts(tmp_path / "DATA")
    assert (len(parts.fit), len(parts.stop), len(parts.everything)) == (230, 31, 230)
    assert np.array_equal(parts.stop.labels(), on_disk(tmp_path / "DATA", "validation")[2])
    assert parts.stop_rule == "the validation part"


def test_empty_parts(tmp_path):
    write_dataset(tmp_path / "DATA", train=0, test=0)
    for split in ("train", "validation", "test"):
        with pytest.raises(KitError, match=f"{split} part has no rows"):
            open_part(tmp_path / "DATA", split)
    parts = open_training_parts(tmp_path / "DATA")
    assert (len(parts.fit), len(parts.stop)) == (0, 0)
    assert list(parts.fit.batches(5)) == []


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


@pytest.mark.parametrize("file", ["label.bin", "numerical.bin", "cat_0.bin", "cat_1.bin"])
@pytest.mark.parametrize("fault", ["short", "long", "missing"])
def test_files_of_a_wrong_length_are_refused_by_name(folder, file, fault):
    path = folder / "test" / file
    raw = path.read_bytes()
    path.unlink()
    if fault != "missing":
        path.write_bytes(raw[:-1] if fault == "short" else raw + b"\0")
    with pytest.raises(KitError, match=f"test/{file}"):
        open_part(folder, "test")


def test_a_folder_without_dataset_json_is_refused(tmp_path):
    with pytest.raises(KitError, match=r"dataset\.json.*dlrm prepare"):
        open_part(tmp_path, "test")


def test_parts_need_no_memory_of_their_own(folder):
    part = Part(folder, read_dataset(folder), "train")
    assert isinstance(part._numerical, np.memmap)
    assert not part._numerical.flags.writeable


def test_memory_of_a_batch_is_aligned(folder):
    """Vector instructions start at the same place in every run, wherever a batch happens to lie."""
    for batch in open_part(folder, "test").batches(7):
        assert batch.numerical_BN.data_ptr() % 64 == 0


def test_output_does_not_go_into_a_prepared_data_set(folder, tmp_path):
    keep_off_dataset(tmp_path / "RUN")
    keep_off_dataset(tmp_path)  # DATA may lie below it
    with pytest.raises(KitError, match=r"prepared data set.*--out"):
        keep_off_dataset(folder)


# Read ahead


@pytest.mark.parametrize("depth", [0, 1, 2, 50])
def test_ahead_gives_the_same_batches(folder, depth):
    part = open_part(folder, "train")
    order = np.random.default_rng(0).permutation(len(part))
    for arguments in ((13,), (13, order), (13, None, np.arange(-(-len(part) // 13))[::-1])):
        plain, read = list(part.batches(*arguments)), list(ahead(part.batches(*arguments), depth))
        assert len(plain) == len(read)
        for a, b in zip(plain, read, strict=True):
            assert torch.equal(a.numerical_BN, b.numerical_BN)
            assert torch.equal(a.ids_BT, b.ids_BT)
            assert torch.equal(a.label_B, b.label_B)


def threads_ahead() -> int:
    return sum(thread.name == "batches ahead" for thread in threading.enumerate())


@pytest.mark.parametrize("depth", [1, 3])
def test_ahead_reads_no_further_than_asked_and_stops(folder, depth):
    made = []

    def batches():
        for number, batch in enumerate(open_part(folder, "train").batches(5)):
            made.append(number)
            yield batch

    with closing(ahead(batches(), depth)) as read:
        next(read)
        deadline = time.monotonic() + 5
        while len(made) < depth and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(made) == depth  # the one in use counts: memory is bounded by the depth
        assert threads_ahead() == 1
    assert threads_ahead() == 0


def test_ahead_raises_what_reading_raises_in_its_place(folder):
    def batches():
        yield from list(open_part(folder, "train").batches(50))[:2]
        raise KitError("row 17 is damaged")

    read = ahead(batches(), 4)
    assert len([next(read), next(read)]) == 2
    with pytest.raises(KitError, match="row 17"):
        next(read)
    assert threads_ahead() == 0
