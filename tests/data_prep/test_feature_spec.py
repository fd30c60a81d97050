"""`feature_spec.yaml`: what is written passes NVIDIA's checks, and each broken rule is refused by name."""

import copy

import numpy as np
import pytest
import yaml

from data_prep.feature_spec import FILE, dtype_of, feature_spec_of, leaves, read_feature_spec
from dlrm_core.schema.errors import KitError
from tests.train.builders import write_dataset

LIMITS = {"int8": 127, "int16": 32767, "int32": 2147483647}


def strict_twin(description, folder, rows):
    """The rules of HEAD's reader, one plain assertion each, and the sizes of the files that its loader asks for."""
    assert set(description) <= {"feature_spec", "source_spec", "channel_spec", "metadata"}
    features, sources, channels = (description[k] for k in ("feature_spec", "source_spec", "channel_spec"))
    assert sorted(sources) == ["test", "train"]
    assert sorted(channels) == ["categorical", "label", "numerical"]
    assert len(channels["label"]) == 1
    names = channels["categorical"] + channels["numerical"] + channels["label"]
    assert len(set(names)) == len(names)
    assert set(names) == set(features)
    for name in channels["categorical"]:
        assert type(features[name]["cardinality"]) is int
        assert features[name]["cardinality"] < LIMITS[features[name]["dtype"]]
    for mapping in ("train", "test"):
        seen = []
        for chunk in sources[mapping]:
            assert chunk["type"] == "split_binary"
            assert len(chunk["files"]) == 1
            first = chunk["features"][0]
            if first in channels["numerical"]:
                assert chunk["features"] == channels["numerical"]
                assert all(features[name]["dtype"] == "float16" for name in chunk["features"])
            else:
                assert len(chunk["features"]) == 1
            if first in channels["label"]:
                assert features[first]["dtype"] == "bool"
            width = sum(np.dtype(features[name]["dtype"]).itemsize for name in chunk["features"])
            assert (folder / chunk["files"][0]).stat().st_size == rows[mapping] * width
            seen += chunk["features"]
        assert sorted(seen) == sorted(names)


@pytest.mark.parametrize("numerical", [0, 1, 4])
def test_what_is_written_passes_a_strict_reader(tmp_path, numerical):
    spec = write_dataset(tmp_path, num_numerical=max(1, numerical), cardinalities=(126, 127, 32766, 32767))
    spec = spec.model_copy(update={"numerical": spec.numerical[:numerical]})
    description = yaml.safe_load(feature_spec_of(spec))
    strict_twin(description, tmp_path, {name: split.rows for name, split in spec.splits.items()})
    features, channels = description["feature_spec"], description["channel_spec"]
    assert channels["categorical"] == ["cat_0.bin", "cat_1.bin", "cat_2.bin", "cat_3.bin"]
    assert channels["numerical"] == [f"num_{i}" for i in range(numerical)]
    assert [features[n]["cardinality"] for n in channels["categorical"]] == list(spec.cardinalities.values())
    assert [features[n]["dtype"] for n in channels["categorical"]] == ["int8", "int16", "int16", "int32"]
    assert description["metadata"] == {}


def test_a_prepared_set_in_full(prepared, tmp_path):
    text = feature_spec_of(prepared.spec)
    rows = {name: split.rows for name, split in prepared.spec.splits.items()}
    strict_twin(yaml.safe_load(text), prepared.folder, rows)
    path = tmp_path / FILE
    path.write_text(text)
    spec = read_feature_spec(path)
    assert spec.categorical == tuple(f"cat_{i}.bin" for i in range(26))
    assert spec.numerical == tuple(f"num_{i}" for i in range(13))
    assert spec.label == "label"
    assert spec.file_of("train", "cat_7.bin") == "train/cat_7.bin"
    assert spec.file_of("test", "num_12") == "test/numerical.bin"


def test_a_file_name_that_yaml_would_take_for_something_else(tmp_path):
    spec = write_dataset(tmp_path)
    odd = spec.categorical[0].model_copy(update={"file": "a: b, [é] #.bin"})
    spec = spec.model_copy(update={"categorical": (odd, *spec.categorical[1:])})
    chunks = yaml.safe_load(feature_spec_of(spec))["source_spec"]["train"]
    assert chunks[2]["files"] == ["train/a: b, [é] #.bin"]


@pytest.fixture
def sound():
    """Two categorical and two numerical features, named as a user might."""
    sources = {
        mapping: [
            {"type": "split_binary", "features": ["age", "income"], "files": [f"{mapping}/numbers.bin"]},
            {"type": "split_binary", "features": ["clicked"], "files": [f"{mapping}/y.bin"]},
            {"type": "split_binary", "features": ["country"], "files": [f"{mapping}/country.bin"]},
            {"type": "split_binary", "features": ["device"], "files": [f"{mapping}/device.bin"]},
        ]
        for mapping in ("train", "test")
    }
    return {
        "channel_spec": {"categorical": ["country", "device"], "numerical": ["age", "income"], "label": ["clicked"]},
        "feature_spec": {
            "country": {"dtype": "int16", "cardinality": 200},
            "device": {"dtype": "int8", "cardinality": 4},
            "age": {"dtype": "float16"},
            "income": {"dtype": "float16"},
            "clicked": {"dtype": "bool"},
        },
        "source_spec": sources,
        "metadata": {"made_by": ["somebody"]},
    }


def refused(tmp_path, description):
    path = tmp_path / FILE
    path.write_text(description if isinstance(description, str) else yaml.safe_dump(description))
    with pytest.raises(KitError) as caught:
        read_feature_spec(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("drop", [(), ("metadata",)])
def test_a_sound_description(tmp_path, sound, drop):
    for key in drop:
        del sound[key]
    path = tmp_path / FILE
    path.write_text(yaml.safe_dump(sound))
    spec = read_feature_spec(path)
    assert spec.categorical == ("country", "device")
    assert spec.feature_spec["country"].cardinality == 200


def edit(*path_and_value):
    *path, last, value = path_and_value

    def change(values):
        for part in path:
            values = values[part]
        values[last] = value

    return change


def drop(*path):
    *path, last = path

    def change(values):
        for part in path:
            values = values[part]
        del values[last]

    return change


def both(*changes):
    def change(values):
        for each in changes:
            each(values)

    return change


TRAIN = ("source_spec", "train")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop(*TRAIN), "source_spec has test; exactly train, test are needed"),
        (edit("source_spec", "validation", []), "source_spec has"),
        (drop("channel_spec", "label"), "channel_spec has categorical, numerical; exactly"),
        (edit("channel_spec", "wide", []), "channel_spec has"),
        (edit("channel_spec", "label", []), "channel_spec.label holds nothing; exactly one"),
        (edit("channel_spec", "label", ["clicked", "age"]), "channel_spec.label holds clicked, age; exactly one"),
        (
            edit("channel_spec", "categorical", ["country", "country", "device"]),
            "country stands 2 times in channel_spec",
        ),
        (
            edit("channel_spec", "numerical", ["age", "income", "device"]),
            "feature device stands 2 times in channel_spec",
        ),
        (edit("channel_spec", "numerical", ["age", "incme"]), "feature incme of channel_spec is not described in"),
        (edit("channel_spec", "numerical", ["age", "incme"]), "(did you mean 'income'?)"),
        (edit("feature_spec", "extra", {"dtype": "int8"}), "feature extra belongs to no channel"),
        (drop("feature_spec", "age", "dtype"), "key 'feature_spec.age.dtype' is missing"),
        (edit("feature_spec", "age", "dtype", "float61"), "feature age has dtype 'float61'; a numpy dtype"),
        (edit("feature_spec", "age", "dtype", "float32"), "feature age has dtype float32; float16 is needed"),
        (
            edit("feature_spec", "clicked", "dtype", "int8"),
            "feature clicked has dtype int8; bool is needed for the label",
        ),
        (drop("feature_spec", "device", "cardinality"), "feature device has no cardinality"),
        (edit("feature_spec", "device", "cardinality", 0), "feature device has cardinality 0"),
        (edit("feature_spec", "device", "cardinality", "auto"), "'feature_spec.device.cardinality' is 'auto'"),
        (edit("feature_spec", "device", "cardinality", 4.5), "'feature_spec.device.cardinality' is 4.5"),
        (edit("feature_spec", "device", "cardinality", True), "'feature_spec.device.cardinality' is True"),
        (edit("feature_spec", "device", "cardinalty", 4), "did you mean 'cardinality'?"),
        (
            edit(*TRAIN, 3, "type", "csv"),
            "source_spec.train, chunk 3 (device): its type is 'csv'; split_binary is needed",
        ),
        (edit(*TRAIN, 3, "features", []), "chunk 3 (nothing): it holds no feature"),
        (edit(*TRAIN, 3, "files", []), "chunk 3 (device): it names 0 files; exactly one"),
        (edit(*TRAIN, 3, "files", ["train/a", "train/b"]), "chunk 3 (device): it names 2 files; exactly one"),
        (
            edit(*TRAIN, 3, "features", ["devise"]),
            "feature devise is not described in feature_spec (did you mean 'device'?)",
        ),
        (edit(*TRAIN, 3, "features", ["country"]), "feature country stands 2 times in the mapping"),
        (
            both(drop(*TRAIN, 3), edit(*TRAIN, 2, "features", ["country", "device"])),
            "chunk 2 (country, device): it holds 2 features; a categorical feature needs its own chunk",
        ),
        (
            both(drop(*TRAIN, 2), edit(*TRAIN, 1, "features", ["clicked", "country"])),
            "chunk 1 (clicked, country): it holds 2 features; the label needs its own chunk",
        ),
        (edit(*TRAIN, 0, "features", ["income", "age"]), "in one chunk, in the order of channel_spec: age, income"),
        (edit(*TRAIN, 0, "features", ["age"]), "all numerical features are needed in one chunk"),
        (
            both(drop(*TRAIN, 3), edit(*TRAIN, 0, "features", ["age", "income", "device"])),
            "all numerical features are needed in one chunk",
        ),
        (
            both(drop(*TRAIN, 3), edit(*TRAIN, 0, "features", ["device", "age", "income"])),
            "all numerical features are needed in one chunk",
        ),
        (drop(*TRAIN, 3), "feature device is in no chunk of source_spec.train"),
        (drop("source_spec", "test", 1), "feature clicked is in no chunk of source_spec.test"),
        (drop("source_spec"), "key 'source_spec' is missing"),
        (edit("channel_spek", {}), "did you mean 'channel_spec'?"),
    ],
)
def test_each_rule_by_name(tmp_path, sound, change, said):
    changed = copy.deepcopy(sound)
    change(changed)
    assert said in refused(tmp_path, changed)


@pytest.mark.parametrize(
    "place", ["../y.bin", "/etc/passwd", "train/../../y.bin", "", ".", "a\\b", "out/y.bin", "self"]
)
def test_a_file_outside_the_folder(tmp_path, sound, place):
    folder, outside = tmp_path / "set", tmp_path / "elsewhere"
    folder.mkdir()
    outside.mkdir()
    (folder / "out").symlink_to(outside)
    (folder / "self").symlink_to(folder / "self")
    sound["source_spec"]["test"][1]["files"] = [place]
    said = refused(folder, sound)
    assert f"source_spec.test: the file {place!r} of feature clicked leaves the folder" in said


def test_links_that_stay_inside(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert not leaves(tmp_path, "link/label.bin")
    assert not leaves(tmp_path / "link", "label.bin")
    assert not leaves(tmp_path, "train/cat_0.bin")


@pytest.mark.parametrize("text", ["", "[1, 2]", "x: [", "word"])
def test_no_description(tmp_path, text):
    refused(tmp_path, text)


def test_no_file(tmp_path):
    with pytest.raises(KitError, match=r"feature_spec\.yaml: no such file"):
        read_feature_spec(tmp_path / FILE)


@pytest.mark.parametrize("name", ["int61", "", "(2,", "i4,", "é"])
def test_what_is_no_dtype_never_raises(name):
    found = dtype_of(name)
    assert found is None or found.kind == "V"
