"""Hand-made folders in each of NVIDIA's layouts: what comes out, bit by bit, and what is refused."""

import json
import shutil
import struct

import numpy as np
import pytest
import yaml

from data_prep import import_nvidia
from data_prep.feature_spec import FILE, feature_spec_of
from data_prep.import_nvidia import import_dataset
from dlrm_core.data import Part
from dlrm_core.schema.dataset import SPLITS, Imported, id_dtype, read_dataset
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import read_record
from dlrm_core.train.run import train
from dlrm_core.train.scoring import evaluate
from tests.train.builders import tiny_config, write_dataset

# Numbers of kept values, each also the largest id: around every edge of the widths, and an empty vocabulary.
KEPT = (0, 1, 5, 125, 126, 127, 128, 32765, 32766, 32767, 32768, 70000, *range(3, 17))
ROWS = {"train": 73, "validation": 21, "test": 30}
FOLDERS = {"train": "train", "validation": "val", "test": "test"}
RECORD = struct.Struct("<i13f26i")


def made_up(rows, seed):
    """Labels, numericals and ids of sound rows; the first row has the largest ids, the second only zeros."""
    generator = np.random.default_rng(seed)
    label = (generator.random(rows) < 0.4).astype(np.int32)
    numerical = generator.normal(1, 2, (rows, 13)).astype(np.float32)
    ids = (generator.random((rows, 26)) * (np.array(KEPT) + 1)).astype(np.int32)
    ids[:2] = [KEPT, [0] * 26]
    return label, numerical, ids


DATA = {name: made_up(rows, seed) for seed, (name, rows) in enumerate(ROWS.items())}


def width_of_writer(kept):
    """June 2020: by the number of kept values, not by one more."""
    return "<i1" if kept < 127 else "<i2" if kept < 32767 else "<i4"


def write_sizes(folder, kept=KEPT):
    (folder / "model_size.json").write_text(json.dumps({f"_c{14 + i}": n for i, n in enumerate(kept)}))


def write_binary(folder, validation="val_data.bin"):
    folder.mkdir()
    write_sizes(folder)
    for name, file in (("train", "train_data.bin"), ("validation", validation), ("test", "test_data.bin")):
        if file:
            rows = zip(*DATA[name], strict=True)
            (folder / file).write_bytes(b"".join(RECORD.pack(y, *x, *c) for y, x, c in rows))
    return folder


def write_split(folder, folders=None, widths=None):
    folder.mkdir()
    write_sizes(folder)
    for name, place in (folders or FOLDERS).items():
        write_columns(folder / place, *DATA[name], widths or [width_of_writer(kept) for kept in KEPT])
    return folder


def write_columns(target, label, numerical, ids, widths):
    target.mkdir()
    label.astype(np.bool_).tofile(target / "label.bin")
    numerical.astype("<f2").tofile(target / "numerical.bin")
    for i, width in enumerate(widths):
        ids[:, i].astype(width).tofile(target / f"cat_{i}.bin")


def write_described(folder, validation=True):
    """HEAD's layout: widths by max id + 1, everything told in `feature_spec.yaml`."""
    names = [f"cat_{i}.bin" for i in range(26)]
    numerical = [f"num_{i}" for i in range(13)]
    widths = [id_dtype(kept + 1) for kept in KEPT]
    folder.mkdir()
    for name in ("train", "test", *(["validation"] if validation else [])):
        write_columns(folder / name, *DATA[name], widths)
    features = {n: {"dtype": w, "cardinality": kept + 1} for n, w, kept in zip(names, widths, KEPT, strict=True)}
    features |= {n: {"dtype": "float16"} for n in numerical} | {"label": {"dtype": "bool"}}
    sources = {
        mapping: [
            {"type": "split_binary", "features": group, "files": [f"{mapping}/{file}"]}
            for group, file in ((numerical, "numerical.bin"), (["label"], "label.bin"), *(([n], n) for n in names))
        ]
        for mapping in ("train", "test")
    }
    channels = {"categorical": names, "numerical": numerical, "label": ["label"]}
    description = {"feature_spec": features, "source_spec": sources, "channel_spec": channels, "metadata": {}}
    (folder / FILE).write_text(yaml.dump(description))
    return folder


WRITE = {"binary": write_binary, "split": write_split, "feature_spec": write_described}


def slow_twin(path):
    """Our files from one file of 160-byte records, record by record and byte by byte, without numpy."""
    files = {"label.bin": b"", "numerical.bin": b""} | {f"cat_{i}.bin": b"" for i in range(26)}
    raw = path.read_bytes()
    for start in range(0, len(raw), 160):
        label, *rest = RECORD.unpack(raw[start : start + 160])
        files["label.bin"] += struct.pack("B", label)
        files["numerical.bin"] += struct.pack("<13e", *rest[:13])
        for i, x in enumerate(rest[13:]):
            cardinality = KEPT[i] + 1
            code = "<b" if cardinality < 127 else "<h" if cardinality < 32767 else "<i"
            files[f"cat_{i}.bin"] += struct.pack(code, x)
    return files


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("block_rows", [1, 7, 73, 1000])
def test_records_of_160_bytes_against_a_slow_reader(tmp_path, monkeypatch, block_rows):
    monkeypatch.setattr(import_nvidia, "BLOCK_ROWS", block_rows)
    source = write_binary(tmp_path / "nvidia")
    spec = import_dataset(source=source, out=tmp_path / "DATA")
    for split, file in (("train", "train_data.bin"), ("validation", "val_data.bin"), ("test", "test_data.bin")):
        assert contents(tmp_path / "DATA" / split) == slow_twin(source / file)
        assert spec.splits[split].rows == ROWS[split]
        assert [s.name for s in spec.splits[split].sources] == [file]
    assert list(spec.cardinalities.values()) == [kept + 1 for kept in KEPT]
    assert read_dataset(tmp_path / "DATA") == spec


def test_every_layout_of_the_same_rows_is_the_same_data_set(tmp_path):
    specs = {}
    for name, write in WRITE.items():
        specs[name] = import_dataset(source=write(tmp_path / name), out=tmp_path / f"DATA-{name}", format=name)
    for split in SPLITS:
        first, *others = (contents(tmp_path / f"DATA-{name}" / split) for name in WRITE)
        assert all(other == first for other in others)
    assert specs["binary"].digest == specs["split"].digest  # a feature_spec.yaml has feature names of its own
    assert len({spec.vocabulary_digest for spec in specs.values()}) == 1


@pytest.mark.parametrize("name", WRITE)
def test_what_the_description_says_and_does_not_know(tmp_path, name):
    source = WRITE[name](tmp_path / "nvidia")
    spec = import_dataset(source=source, out=tmp_path / "DATA")
    assert spec.engine == "imported"
    assert spec.preparation == Imported()
    assert {f.frequency_limit for f in spec.categorical} == {None}
    assert (spec.id_order, spec.id_zero) == ("unknown", "unknown")
    assert [s.shuffle_seed for s in spec.splits.values()] == [None] * 3
    assert spec.splits["train"].holdback_rows == 0  # there is a validation part
    criteo = name != "feature_spec"
    assert spec.categorical[25].name == ("C26" if criteo else "cat_25.bin")
    assert spec.numerical[12] == ("I13" if criteo else "num_12")
    record = read_record(tmp_path / "DATA")
    assert (record.command, record.status, record.config["format"]) == ("import", "finished", name)
    assert record.dataset_digest == spec.digest
    assert record.metric("rows", "validation").value == 21
    assert str(tmp_path) not in (tmp_path / "DATA" / "run.json").read_text()
    assert sorted(p.name for p in (tmp_path / "DATA").iterdir()) == sorted(["dataset.json", FILE, "run.json", *SPLITS])


def test_widths_are_those_on_disk_and_are_told(tmp_path):
    """At 126 and 32766 kept values the writer of June 2020 chose less than its reader asks for."""
    spec = import_dataset(source=write_split(tmp_path / "nvidia"), out=tmp_path / "DATA")
    said = read_record(tmp_path / "DATA").choices["id widths read"]
    assert said == "from the file sizes; other than for max id + 1: C5 1 B, C9 2 B"
    assert [spec.categorical[i].dtype for i in (3, 4, 5)] == ["int8", "int16", "int16"]
    assert [spec.categorical[i].dtype for i in (7, 8, 9)] == ["int16", "int32", "int32"]
    assert np.fromfile(tmp_path / "DATA" / "train" / "cat_4.bin", "<i2")[0] == 126
    assert np.fromfile(tmp_path / "DATA" / "train" / "cat_8.bin", "<i4")[0] == 32766


@pytest.mark.parametrize("widths", [["<i4"] * 26, [id_dtype(kept + 1) for kept in KEPT]], ids=["wide", "as the reader"])
def test_a_split_layout_of_wider_files(tmp_path, widths):
    wide = import_dataset(source=write_split(tmp_path / "wide", widths=widths), out=tmp_path / "a")
    assert wide.digest == import_dataset(source=write_split(tmp_path / "usual"), out=tmp_path / "b").digest


@pytest.mark.parametrize("validation", [0, 60])
def test_a_prepared_set_there_and_back(tmp_path, prepared, validation):
    spec, folder = prepared.spec, tmp_path / "there"
    if validation:
        spec = write_dataset(folder, validation=validation, cardinalities=(126, 127, 32766, 32767))
    else:
        shutil.copytree(prepared.folder, folder)
    (folder / FILE).write_text(feature_spec_of(spec))
    back = import_dataset(source=folder, out=tmp_path / "back")
    assert list(back.cardinalities.values()) == list(spec.cardinalities.values())
    for split in SPLITS:
        assert contents(tmp_path / "back" / split) == contents(folder / split)
        assert back.splits[split].digests == spec.splits[split].digests
    assert back.splits["train"].holdback_rows == spec.splits["train"].holdback_rows
    assert (tmp_path / "back" / FILE).read_text() == (folder / FILE).read_text()


def test_no_validation_part(tmp_path):
    sources = {
        "binary": write_binary(tmp_path / "binary", validation=None),
        "split": write_split(tmp_path / "split", folders={"train": "train", "test": "test"}),
        "feature_spec": write_described(tmp_path / "feature_spec", validation=False),
    }
    for name, source in sources.items():
        spec = import_dataset(source=source, out=tmp_path / f"DATA-{name}")
        assert spec.splits["validation"].rows == 0
        assert spec.splits["train"].holdback_rows == 7
        assert "none" in read_record(tmp_path / f"DATA-{name}").choices["validation part"]
        read_dataset(tmp_path / f"DATA-{name}")


def test_the_other_names_of_the_validation_part(tmp_path):
    usual = import_dataset(source=write_binary(tmp_path / "a"), out=tmp_path / "A")
    binary = import_dataset(source=write_binary(tmp_path / "b", "validation_data.bin"), out=tmp_path / "B")
    split = import_dataset(
        source=write_split(tmp_path / "c", folders=FOLDERS | {"validation": "validation"}), out=tmp_path / "C"
    )
    assert usual.digest == binary.digest == split.digest


def test_features_of_any_integer_and_byte_order(tmp_path):
    source = write_described(tmp_path / "nvidia")
    description = yaml.safe_load((source / FILE).read_text())
    for i, dtype in ((2, "int64"), (3, "uint8"), (11, ">i4")):
        description["feature_spec"][f"cat_{i}.bin"]["dtype"] = dtype
        for split in SPLITS:
            DATA[split][2][:, i].astype(dtype).tofile(source / split / f"cat_{i}.bin")
    (source / FILE).write_text(yaml.dump(description))
    spec = import_dataset(source=source, out=tmp_path / "DATA")
    assert spec.digest == import_dataset(source=write_described(tmp_path / "usual"), out=tmp_path / "USUAL").digest


def overwrite(path, at, data):
    with path.open("r+b") as handle:
        handle.seek(at)
        handle.write(data)


def refused(tmp_path, source, out="DATA", **choices):
    with pytest.raises(KitError) as caught:
        import_dataset(source=source, out=tmp_path / out, **choices)
    return str(caught.value)


RECORD_FAULTS = [
    (0, "<i", 2, "holds the label 2; 0 or 1 is needed"),
    (0, "<i", -1, "holds the label -1; 0 or 1 is needed"),
    (4, "<f", float("nan"), "holds nan in I1; a finite number is needed"),
    (4 * 13, "<f", float("-inf"), "holds -inf in I13; a finite number is needed"),
    (8, "<f", 70000.0, "holds 70000.0 in I2; a finite number is needed, of at most 65504 in size"),
    (4 * (14 + 2), "<i", 6, "holds id 6 of C3; 0 to 5 are needed, as model_size.json says"),
    (4 * (14 + 25), "<i", -1, "holds id -1 of C26; 0 to 16 are needed"),
    (4 * 14, "<i", 2**30, "holds id 1073741824 of C1; 0 to 0 are needed"),
]


@pytest.mark.parametrize(("at", "code", "value", "said"), RECORD_FAULTS)
@pytest.mark.parametrize("row", [0, 20])
def test_a_damaged_record_is_named(tmp_path, monkeypatch, at, code, value, said, row):
    monkeypatch.setattr(import_nvidia, "BLOCK_ROWS", 8)
    source = write_binary(tmp_path / "nvidia")
    overwrite(source / "val_data.bin", 160 * row + at, struct.pack(code, value))
    message = refused(tmp_path, source)
    assert f"{source / 'val_data.bin'}: row {row} {said}" in message
    record = read_record(tmp_path / "DATA")
    assert record.status == "failed"
    assert f"val_data.bin: row {row} {said}" in record.reason
    assert str(tmp_path) not in record.reason
    assert [path.name for path in (tmp_path / "DATA").iterdir()] == ["run.json"]


@pytest.mark.parametrize("name", ["split", "feature_spec"])
@pytest.mark.parametrize(
    ("file", "at", "data", "said"),
    [
        ("label.bin", 9, b"\2", "row 9 holds the label 2"),
        ("numerical.bin", 26 * 9 + 2, b"\0\x7c", "row 9 holds inf in"),
        ("numerical.bin", 26 * 9, b"\1\x7c", "row 9 holds nan in"),
        ("cat_2.bin", 9, b"\6", "row 9 holds id 6 of"),
        ("cat_11.bin", 36, b"\xff\xff\xff\xff", "row 9 holds id -1 of"),
    ],
)
def test_a_damaged_column_is_named(tmp_path, name, file, at, data, said):
    source = WRITE[name](tmp_path / "nvidia")
    overwrite(source / "test" / file, at, data)
    assert f"{source / 'test' / file}: {said}" in refused(tmp_path, source)


@pytest.mark.parametrize("file", ["train_data.bin", "test_data.bin", "val_data.bin"])
@pytest.mark.parametrize("cut", [1, 159])
def test_records_written_in_part(tmp_path, file, cut):
    source = write_binary(tmp_path / "nvidia")
    size = (source / file).stat().st_size - cut
    overwrite(source / file, 0, b"")
    (source / file).write_bytes((source / file).read_bytes()[:-cut])
    said = refused(tmp_path, source)
    assert f"{source / file}: holds {size} bytes, no whole number of records of 160" in said
    assert not (tmp_path / "DATA").exists()


@pytest.mark.parametrize("name", ["split", "feature_spec"])
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("file", ["label.bin", "numerical.bin", "cat_0.bin", "cat_4.bin", "cat_11.bin"])
@pytest.mark.parametrize("keep", ["half", "all but a byte", "a row more"])
def test_columns_written_in_part(tmp_path, name, split, file, keep):
    source = WRITE[name](tmp_path / "nvidia")
    path = source / split / file
    raw = path.read_bytes()
    path.write_bytes({"half": raw[: len(raw) // 2], "all but a byte": raw[:-1], "a row more": raw + raw[:26]}[keep])
    said = refused(tmp_path, source)
    assert str(source / split) in said
    assert "bytes" in said
    assert not (tmp_path / "DATA").exists()


@pytest.mark.parametrize("name", WRITE)
def test_a_missing_file_is_named(tmp_path, name):
    for i, path in enumerate(sorted(p for p in WRITE[name](tmp_path / "list").rglob("*") if p.is_file())):
        file = path.relative_to(tmp_path / "list")
        if file.parts[0] in ("val_data.bin", FILE):
            continue
        source = WRITE[name](tmp_path / f"set-{i}")
        (source / file).unlink()
        said = refused(tmp_path, source, format=name)
        assert f"{source / file}: no such file" in said


def test_empty_parts(tmp_path):
    source = write_binary(tmp_path / "nvidia")
    (source / "val_data.bin").write_bytes(b"")
    assert import_dataset(source=source, out=tmp_path / "DATA").splits["train"].holdback_rows == 7
    (source / "test_data.bin").write_bytes(b"")
    assert f"{source / 'test_data.bin'}: holds no rows; the test part needs some" in refused(tmp_path, source)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ("{", "holds no JSON object"),
        ("[]", "holds no JSON object"),
        ("{}", "holds no JSON object"),
        ('{"_c14": 1.5}', "column _c14 has 1.5 kept values"),
        ('{"_c14": true}', "column _c14 has True kept values"),
        ('{"_c14": -1}', "column _c14 has -1 kept values"),
        ('{"_c14": 2147483646}', "feature C1 has 2147483647 ids; at most 2147483646 fit"),
    ],
)
@pytest.mark.parametrize("name", ["split", "binary"])
def test_sizes_that_make_no_sense(tmp_path, name, sizes, said):
    source = WRITE[name](tmp_path / "nvidia")
    if name == "binary" and "2147483646" in sizes:
        sizes = json.dumps({"_c14": 2147483646} | {f"_c{14 + i}": 1 for i in range(1, 26)})
    (source / "model_size.json").write_text(sizes)
    message = refused(tmp_path, source)
    assert f"{source / 'model_size.json'}: {said}" in message


def test_sizes_of_another_set(tmp_path):
    split, binary = write_split(tmp_path / "split"), write_binary(tmp_path / "binary")
    for source in (split, binary):
        write_sizes(source, KEPT[:25])
    assert "cat_25.bin: model_size.json lists 25 columns only" in refused(tmp_path, split)
    assert "lists 25 columns; the records of 160 bytes hold 26" in refused(tmp_path, binary)
    write_sizes(split, (300, *KEPT[1:]))
    said = refused(tmp_path, split)
    assert "cat_0.bin: holds 73 bytes for 73 rows; 2 a row are needed for feature C1 with 300 kept values" in said


@pytest.mark.parametrize("dtype", ["float32", "int8", "bool", "datetime64[s]"])
def test_a_dtype_that_cannot_hold_the_ids(tmp_path, dtype):
    source = write_described(tmp_path / "nvidia")
    description = yaml.safe_load((source / FILE).read_text())
    description["feature_spec"]["cat_6.bin"]["dtype"] = dtype
    description["feature_spec"]["cat_6.bin"]["cardinality"] = 129
    (source / FILE).write_text(yaml.dump(description))
    said = refused(tmp_path, source)
    assert f"{FILE}: feature cat_6.bin has dtype {dtype}; an integer that holds its ids, 0 to 128, is needed" in said


def test_a_description_whose_files_leave_the_folder(tmp_path):
    source = write_described(tmp_path / "nvidia")
    text = (source / FILE).read_text()
    (source / FILE).write_text(text.replace("train/label.bin", "../nvidia/train/label.bin"))
    assert "of feature label leaves the folder" in refused(tmp_path, source)
    (source / FILE).write_text(text)
    shutil.move(source / "validation", tmp_path / "elsewhere")
    (source / "validation").symlink_to(tmp_path / "elsewhere")
    assert "validation/label.bin: leaves the folder of the data set" in refused(tmp_path, source)


def test_which_layout(tmp_path):
    both = write_split(tmp_path / "both")
    shutil.copytree(write_binary(tmp_path / "binary"), both, dirs_exist_ok=True)
    assert "choose one with --format split or --format binary" in refused(tmp_path, both)
    first = import_dataset(source=both, out=tmp_path / "A", format="binary")
    assert first.digest == import_dataset(source=both, out=tmp_path / "B", format="split").digest
    (tmp_path / "empty").mkdir()
    assert "holds no feature_spec.yaml, no model_size.json with" in refused(tmp_path, tmp_path / "empty")
    assert "no such folder" in refused(tmp_path, tmp_path / "none")
    assert "--format tfrecord: auto, feature_spec, split, binary are known" in refused(
        tmp_path, both, format="tfrecord"
    )
    shutil.copytree(both / "val", both / "validation")
    assert "holds both val and validation" in refused(tmp_path, both, format="split")


def test_the_output_touches_no_input(tmp_path):
    source = write_split(tmp_path / "nvidia")
    for out in (".", "nvidia", "nvidia/train"):
        assert "lies in the output folder" in refused(tmp_path, source, out=out)
    assert contents(source / "train") == contents(write_split(tmp_path / "again") / "train")


def test_an_output_folder_with_something_else(tmp_path):
    source = write_binary(tmp_path / "nvidia")
    (tmp_path / "DATA" / "train").mkdir(parents=True)
    (tmp_path / "DATA" / "train" / "thesis.txt").touch()
    assert "thesis.txt: is not of a prepared data set" in refused(tmp_path, source)
    (tmp_path / "FILE").touch()
    assert "is a file" in refused(tmp_path, source, out="FILE")


def test_a_second_import_replaces_the_first(tmp_path, prepared):
    shutil.copytree(prepared.folder, tmp_path / "DATA")
    spec = import_dataset(source=write_binary(tmp_path / "nvidia"), out=tmp_path / "DATA")
    assert read_dataset(tmp_path / "DATA") == spec
    assert not (tmp_path / "DATA" / "vocabulary.parquet").exists()
    read = (tmp_path / "DATA" / "dataset.json").read_text()
    overwrite(tmp_path / "nvidia" / "train_data.bin", 0, b"\7")
    refused(tmp_path, tmp_path / "nvidia")
    assert (tmp_path / "DATA" / "dataset.json").read_text() == read  # the older data set stays whole
    read_dataset(tmp_path / "DATA")


def test_a_file_that_is_cut_while_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(import_nvidia, "BLOCK_ROWS", 8)
    source = write_binary(tmp_path / "nvidia")

    def cut(what, done, total):
        (source / "train_data.bin").write_bytes(b"")

    assert "train_data.bin: became shorter while it was read" in refused(tmp_path, source, progress=cut)


def test_progress_tells_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(import_nvidia, "BLOCK_ROWS", 50)
    told = []
    source = write_binary(tmp_path / "nvidia")
    import_dataset(source=source, out=tmp_path / "DATA", progress=lambda *x: told.append(x))
    assert told == [
        ("import train", 50, 73),
        ("import train", 73, 73),
        ("import validation", 21, 21),
        ("import test", 30, 30),
    ]


def test_a_damaged_import_is_sent_back_to_its_command(tmp_path):
    import_dataset(source=write_binary(tmp_path / "nvidia"), out=tmp_path / "DATA")
    (tmp_path / "DATA" / "test" / "cat_3.bin").unlink()
    with pytest.raises(KitError, match="is missing; run `dlrm import` again"):
        read_dataset(tmp_path / "DATA")


@pytest.mark.parametrize("validation", [None, "val_data.bin"])
def test_a_model_trains_on_it(tmp_path, validation):
    data = tmp_path / "DATA"
    import_dataset(source=write_binary(tmp_path / "nvidia", validation), out=data)
    batch = Part(data, read_dataset(data), "train").read(0, 3)
    assert batch.ids_BT[0].tolist() == list(KEPT)
    train(data=data, out=tmp_path / "RUN", config=tiny_config(), preset="tests")
    record = evaluate(run=tmp_path / "RUN", data=data, split="test")
    assert record.status == "finished"
    assert record.metric("rows", "test").value == 30


def test_a_model_of_other_ids_is_not_scored_on_it(tmp_path):
    """Nothing tells what imported ids stand for; the same training ids are the only proof."""
    data, other = tmp_path / "DATA", tmp_path / "OTHER"
    source = write_binary(tmp_path / "nvidia")
    import_dataset(source=source, out=data)
    train(data=data, out=tmp_path / "RUN", config=tiny_config(), preset="tests")
    overwrite(source / "train_data.bin", 4 * 25, struct.pack("<i", 1))
    import_dataset(source=source, out=other)
    with pytest.raises(KitError, match="its vocabulary differs"):
        evaluate(run=tmp_path / "RUN", data=other, split="test")
