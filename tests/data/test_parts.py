"""Which rows serve what, and folders that are no sound data set."""

import numpy as np
import pytest

from dlrm_core.data import keep_off_dataset, open_part, open_training_parts
from dlrm_core.schema.errors import KitError
from tests.data.reading import on_disk
from tests.train.builders import write_dataset


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


def test_output_does_not_go_into_a_prepared_data_set(folder, tmp_path):
    keep_off_dataset(tmp_path / "RUN")
    keep_off_dataset(tmp_path)  # DATA may lie below it
    with pytest.raises(KitError, match=r"prepared data set.*--out"):
        keep_off_dataset(folder)


@pytest.mark.parametrize(("max_rows", "fit", "everything"), [(50, 50, 50), (215, 207, 215), (10**9, 207, 230)])
def test_first_rows_only_and_the_held_back_ones_as_ever(folder, max_rows, fit, everything):
    parts = open_training_parts(folder, max_rows)
    assert (len(parts.fit), len(parts.stop), len(parts.everything)) == (fit, 23, everything)
    _, ids, _ = on_disk(folder, "train")
    assert np.array_equal(parts.fit.read(0, fit).ids_BT.numpy(), ids[:fit])
    assert np.array_equal(parts.stop.read(0, 23).ids_BT.numpy(), ids[207:])
