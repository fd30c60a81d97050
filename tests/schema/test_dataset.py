import json
import shutil

import pytest

from dlrm_core.schema.dataset import CategoricalFeature, DatasetSpec, id_dtype, read_dataset
from dlrm_core.schema.errors import KitError


@pytest.mark.parametrize(
    ("cardinality", "dtype"),
    [
        (1, "int8"),
        (126, "int8"),
        (127, "int16"),
        (32766, "int16"),
        (32767, "int32"),
        (2147483646, "int32"),
    ],
)
def test_width_at_the_edges(cardinality, dtype):
    assert id_dtype(cardinality) == dtype


def test_more_ids_than_32_bits_hold():
    with pytest.raises(KitError, match="at most 2147483646 fit; raise the frequency limit"):
        id_dtype(2147483647)


@pytest.mark.parametrize(("cardinality", "dtype"), [(126, "int16"), (127, "int8"), (32767, "int16"), (32766, "int32")])
def test_a_width_that_is_not_the_rule_is_refused(cardinality, dtype):
    with pytest.raises(ValueError, match=f"dtype {dtype} does not fit cardinality {cardinality}"):
        CategoricalFeature(name="C1", file="cat_0.bin", cardinality=cardinality, dtype=dtype, frequency_limit=1)


@pytest.fixture
def copy(prepared, tmp_path):
    return shutil.copytree(prepared.folder, tmp_path / "DATA")


def tampered(folder, change):
    path = folder / "dataset.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(KitError) as caught:
        read_dataset(folder)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def assign(*path_and_value):
    *path, last, value = path_and_value

    def change(values):
        for part in path:
            values = values[part]
        values[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (assign("schema_version", 2), "schema_version"),
        (assign("numerical_dtype", "float32"), "'numerical_dtype' is 'float32'"),
        (assign("label_fiel", "x"), "did you mean 'label_file'?"),
        (assign("categorical", 1, "fiel", "x"), "did you mean 'file'?"),
        (assign("splits", "train", "row", 5), "did you mean 'rows'?"),
        (assign("splits", "train", "rows", 416), "holds 417 bytes, 416 rows of 1 bytes are 416"),
        (assign("splits", "train", "rows", "417"), "'splits.train.rows' is '417'"),
        (assign("splits", "train", "rows", -1), "'splits.train.rows' is -1"),
        (assign("splits", "train", "holdback_rows", 418), "holdback_rows 418 exceed the 417 training rows"),
        (assign("splits", "tset", {}), "splits"),
        (lambda values: values["splits"].pop("validation"), "splits are ['test', 'train']"),
        (lambda values: values.pop("digest"), "key 'digest' is missing"),
        (assign("categorical", 0, "dtype", "int32"), "does not fit cardinality"),
        (assign("categorical", 1, "name", "C1"), "stands twice"),
        (assign("categorical", 1, "file", "../train/cat_1.bin"), "leaves its folder"),
        (assign("categorical", 1, "file", "/etc/passwd"), "leaves its folder"),
        (assign("categorical", 1, "file", ".."), "leaves its folder"),
        (assign("categorical", 1, "file", ""), "''"),
        (assign("categorical", 1, "file", "cat_0.bin"), "cat_0.bin"),
        (assign("categorical", 1, "file", "label.bin"), "label.bin"),
        (lambda values: values["numerical"].append("I14"), "numerical.bin"),
    ],
)
def test_a_changed_description_is_refused(copy, change, said):
    assert said in tampered(copy, change)


@pytest.mark.parametrize(
    "change",
    [
        # Neither changes the length of any file, yet the model would be built, or its rows read, wrongly.
        assign("categorical", 25, "cardinality", 3),
        assign("splits", "train", "holdback_rows", 100),
        assign("preparation", "frequency_limit", 99),
        assign("vocabulary_digest", "0" * 64),
    ],
    ids=["cardinality", "held-back rows", "frequency limit", "vocabulary"],
)
def test_a_description_that_is_not_that_of_its_digest_is_refused(copy, change):
    assert "digest" in tampered(copy, change)


@pytest.mark.parametrize("file", ["train/label.bin", "train/numerical.bin", "test/cat_25.bin"])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_length_is_refused(copy, file, change):
    path = copy / file
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] if change < 0 else raw + b"\0")
    with pytest.raises(KitError) as caught:
        read_dataset(copy)
    assert f"{path}: holds {len(raw) + change} bytes" in str(caught.value)
    assert "dlrm prepare" in str(caught.value)


@pytest.mark.parametrize("file", ["train/label.bin", "validation/cat_3.bin", "dataset.json"])
def test_a_missing_file_is_named(copy, file):
    (copy / file).unlink()
    with pytest.raises(KitError, match="dlrm prepare") as caught:
        read_dataset(copy)
    assert str(copy) in str(caught.value)
    assert file.rpartition("/")[2] in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "null", "[1]", '"x"'])
def test_a_description_that_is_no_json_object(copy, text):
    (copy / "dataset.json").write_text(text)
    with pytest.raises(KitError, match=r"dataset\.json: "):
        read_dataset(copy)


def test_no_folder(tmp_path):
    with pytest.raises(KitError, match=r"holds no dataset\.json; make it with `dlrm prepare"):
        read_dataset(tmp_path / "none")


def test_bytes_of_a_row(prepared):
    spec = prepared.spec
    widths = {"int8": 1, "int16": 2, "int32": 4}
    assert spec.row_bytes() == {"label.bin": 1, "numerical.bin": 26} | {
        f"cat_{i}.bin": widths[f.dtype] for i, f in enumerate(spec.categorical)
    }
    assert spec.cardinalities == {f.name: f.cardinality for f in spec.categorical}


def test_round_trip(prepared):
    text = prepared.spec.to_json()
    assert (prepared.folder / "dataset.json").read_text() == text
    assert DatasetSpec.from_json(text, source="x") == prepared.spec
