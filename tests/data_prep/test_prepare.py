import dataclasses
import gzip
import hashlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data_prep.job import WORK
from data_prep.permutation import shuffled_positions
from data_prep.prepare import prepare
from dlrm_core.schema.dataset import SPLITS, Preparation, read_dataset
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import read_record
from dlrm_core.schema.stages import Marker
from tests.conftest import LIMIT, random_rows, raw_line, write_raw
from tests.data_prep.twin import Rules, code_log, no_log, readme_log, same_files, twin


def places(spec):
    """Where each input row of each split should lie on disk."""
    train = spec.splits["train"]
    return {name: range(spec.splits[name].rows) for name in SPLITS} | {
        "train": shuffled_positions(train.rows, train.holdback_rows, train.shuffle_seed)
    }


def agrees(made, rules=Rules(), limit=LIMIT):  # noqa: B008 (frozen)
    return same_files(made.folder, made.lines, limit, rules, places(made.spec))


def tree(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "run.json"
    }


def run(tmp_path, lines, **choices):
    """Prepare lines (by split) in a folder of its own; the binaries are those of `lines`."""
    files = {name: [write_raw(tmp_path / f"{name}.tsv", lines[name])] for name in SPLITS if lines[name]}
    preparation = Preparation(**choices)
    spec = prepare(**files, out=tmp_path / "DATA", preparation=preparation)
    return tmp_path / "DATA", spec


# --- the definition against its twin


def test_every_byte_is_what_the_twin_makes(prepared):
    assert agrees(prepared)


def count_one_too_few(count, limit):
    return count > limit


WRONG = {
    "a count equal to the limit is dropped": Rules(kept=count_one_too_few),
    "one too few is kept": Rules(kept=lambda count, limit: count >= limit - 1),
    "ties by value falling": Rules(order=lambda item: (-item[1], -int(item[0], 16))),
    "ties by first sight": Rules(order=lambda item: -item[1]),
    "ids by count rising": Rules(order=lambda item: (item[1], item[0])),
    "ids by value alone": Rules(order=lambda item: item[0]),
    "ids from 0": Rules(first_id=0),
    "missing is a value": Rules(counts_missing=True),
    "test rows are counted": Rules(counted=("train", "test")),
    "ln(x + 2)": Rules(number=lambda x: code_log(None if x is None else x - 1)),
    "missing is ln 3": Rules(number=lambda x: code_log(0 if x is None else x)),
    "x = -3 gives ln 1 of |x|": Rules(number=lambda x: code_log(None if x is None else abs(x))),
    "x = -2 and below clipped to -1": Rules(number=lambda x: code_log(None if x is None else max(x, -1))),
    "README's numbers": Rules(number=readme_log),
    "no logarithm": Rules(number=no_log),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_definition_would_be_found_out(prepared, name):
    assert not agrees(prepared, WRONG[name])


def test_a_wrong_shuffle_would_be_found_out(prepared):
    train = prepared.spec.splits["train"]
    for wrong in (
        range(train.rows),
        shuffled_positions(train.rows, 0, train.shuffle_seed),
        shuffled_positions(train.rows, train.holdback_rows, train.shuffle_seed + 1),
        np.argsort(shuffled_positions(train.rows, train.holdback_rows, train.shuffle_seed)),
    ):
        bent = places(prepared.spec) | {"train": wrong}
        assert not same_files(prepared.folder, prepared.lines, LIMIT, Rules(), bent)


SMALL = {"train": random_rows(150, seed=11), "validation": random_rows(40, seed=12), "test": random_rows(30, seed=13)}


@pytest.mark.parametrize("limit", [1, 2, 15, 1000])
@pytest.mark.parametrize("vocabulary", ["train", "all"])
def test_limits_and_vocabularies(tmp_path, limit, vocabulary):
    folder, spec = run(tmp_path, SMALL, frequency_limit=limit, vocabulary=vocabulary)
    rules = Rules(counted=SPLITS if vocabulary == "all" else ("train",))
    assert same_files(folder, SMALL, limit, rules, places(spec))
    values, _ = twin(SMALL, limit, rules)
    assert list(spec.cardinalities.values()) == [len(column) + 1 for column in values]
    if limit == 1:
        other = Rules(counted=("train",) if vocabulary == "all" else SPLITS)
        assert not same_files(folder, SMALL, limit, other, places(spec))


@pytest.mark.parametrize(
    ("transform", "number"), [("readme_missing_0_log_x_plus_2", readme_log), ("log_x_plus_3_missing_0", code_log)]
)
def test_numerical_transforms(tmp_path, transform, number):
    folder, spec = run(tmp_path, SMALL, frequency_limit=2, numerical_transform=transform)
    assert same_files(folder, SMALL, 2, Rules(number=number), places(spec))


def test_no_transform_keeps_small_numbers(tmp_path):
    lines = {"train": [raw_line(I1=x, I2="", I3=-x) for x in range(12)], "validation": [], "test": [raw_line(I1=2048)]}
    folder, spec = run(tmp_path, lines, frequency_limit=1, numerical_transform="none")
    assert same_files(folder, lines, 1, Rules(number=no_log), places(spec))


def test_numbers_that_float16_cannot_hold_are_refused(tmp_path):
    # Without a logarithm 65520 rounds to infinity, which makes every loss that row touches infinite.
    lines = {"train": [raw_line(), raw_line(I5=65520)], "validation": [], "test": [raw_line()]}
    with pytest.raises(KitError, match="I5"):
        run(tmp_path, lines, frequency_limit=1, numerical_transform="none")


def test_limits_of_single_columns(tmp_path):
    _, spec = run(tmp_path, SMALL, frequency_limit=2, column_limits={"C3": 9, "C26": 1})
    limits = {f"C{i}": 2 for i in range(1, 27)} | {"C3": 9, "C26": 1}
    assert {f.name: f.frequency_limit for f in spec.categorical} == limits
    for name, limit in limits.items():
        values, _ = twin(SMALL, limit, Rules())
        assert spec.cardinalities[name] == len(values[int(name[1:]) - 1]) + 1


@pytest.mark.parametrize("rows", [30, 31])
def test_a_halved_file_is_test_first_and_validation_then(tmp_path, rows):
    # run_spark.sh:113-124: the former half, rounded down, is the test part.
    train, last = random_rows(100, seed=14), random_rows(rows, seed=15)
    files = write_raw(tmp_path / "day_22", train), write_raw(tmp_path / "day_23", last)
    spec = prepare(train=[files[0]], halve=files[1], out=tmp_path / "DATA", preparation=Preparation(frequency_limit=2))
    lines = {"train": train, "validation": last[rows // 2 :], "test": last[: rows // 2]}
    assert spec.splits["train"].holdback_rows == 0
    assert [source.name for source in spec.splits["test"].sources] == ["day_23"]
    assert same_files(tmp_path / "DATA", lines, 2, Rules(), places(spec))


def test_halves_and_test_files_exclude_each_other(tmp_path):
    path = write_raw(tmp_path / "day", SMALL["train"])
    with pytest.raises(KitError, match="--halve"):
        prepare(train=[path], test=[path], halve=path, out=tmp_path / "DATA")


@pytest.mark.parametrize("limits", [{"C27": 3}, {"I1": 3}, {"C1": 0}])
def test_limits_of_no_column_are_refused(tmp_path, limits):
    path = write_raw(tmp_path / "day", SMALL["train"])
    with pytest.raises(KitError, match=r"--frequency-limit \w+:\d"):
        prepare(train=[path], test=[path], out=tmp_path / "DATA", preparation=Preparation(column_limits=limits))


def test_little_memory_is_refused_and_many_ranges_count_the_same(tmp_path, monkeypatch):
    from data_prep.engines import polars_engine

    path = write_raw(tmp_path / "day", SMALL["train"])
    with pytest.raises(KitError, match="--memory"):
        prepare(train=[path], test=[path], out=tmp_path / "DATA", memory_bytes=1 << 20)
    monkeypatch.setattr(polars_engine, "BYTES_PER_DISTINCT_VALUE", 1 << 26)  # as if each of them took 64 MiB
    folder, spec = run(tmp_path, SMALL, frequency_limit=2)
    assert same_files(folder, SMALL, 2, Rules(), places(spec))


def test_vocabulary_file_is_the_numbering(prepared):
    values, _ = twin(prepared.lines, LIMIT, Rules())
    table = pl.read_parquet(prepared.folder / "vocabulary.parquet")
    got = {name: rows["value"].to_list() for (name,), rows in table.group_by("feature", maintain_order=True)}
    wanted = {f"C{i}": [int(x, 16) for x in column] for i, column in enumerate(values, start=1) if column}
    assert got == wanted
    for _, rows in table.group_by("feature"):
        assert rows["id"].to_list() == list(range(1, len(rows) + 1))


# --- what dataset.json says


def test_description_is_that_of_the_files(prepared):
    spec = prepared.spec
    assert read_dataset(prepared.folder) == spec
    assert {name: split.rows for name, split in spec.splits.items()} == {"train": 417, "validation": 0, "test": 60}
    for name, split in spec.splits.items():
        folder = prepared.folder / name
        assert set(split.digests) == {path.name for path in folder.iterdir()}
        for file, digest in split.digests.items():
            assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest
        for source, path in zip(split.sources, prepared.files[name], strict=True):
            assert (source.name, source.size_bytes) == (path.name, path.stat().st_size)
            assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [f.file for f in spec.categorical] == [f"cat_{i}.bin" for i in range(26)]
    assert {f.frequency_limit for f in spec.categorical} == {LIMIT}


def test_nothing_else_lies_in_the_folder(prepared):
    names = sorted(path.name for path in prepared.folder.iterdir())
    known = ["dataset.json", "feature_spec.yaml", "run.json", "test", "train", "validation", "vocabulary.parquet"]
    assert names == known


def test_held_back_rows_are_the_last_tenth_of_the_input(tmp_path):
    # I1 tells the row: without a logarithm, float16 holds whole numbers up to 2048.
    lines = {"train": [raw_line(I1=i) for i in range(207)], "validation": [], "test": [raw_line()]}
    folder, spec = run(tmp_path, lines, numerical_transform="none")
    assert spec.splits["train"].holdback_rows == 20
    rows = np.fromfile(folder / "train" / "numerical.bin", "<f2").reshape(-1, 13)[:, 0].astype(int)
    assert sorted(rows[-20:]) == list(range(187, 207))
    assert sorted(rows[:-20]) == list(range(187))
    assert rows[-20:].tolist() != list(range(187, 207))


def test_nothing_is_held_back_beside_a_validation_part(tmp_path):
    _, spec = run(tmp_path, SMALL)
    assert {name: split.holdback_rows for name, split in spec.splits.items()} == dict.fromkeys(SPLITS, 0)
    assert {name: split.shuffle_seed for name, split in spec.splits.items()} == {
        "train": 12345,
        "validation": None,
        "test": None,
    }


@pytest.mark.parametrize(
    ("distinct", "cardinality", "dtype"), [(125, 126, "int8"), (126, 127, "int16"), (127, 128, "int16")]
)
def test_width_of_ids_at_the_edge_of_8_bits(tmp_path, distinct, cardinality, dtype):
    lines = {"train": [raw_line(C3=f"{i:08x}") for i in range(distinct)], "validation": [], "test": [raw_line(C3="")]}
    folder, spec = run(tmp_path, lines, frequency_limit=1)
    feature = spec.categorical[2]
    assert (feature.cardinality, feature.dtype) == (cardinality, dtype)
    ids = np.fromfile(folder / "train" / "cat_2.bin", dtype)
    assert sorted(ids.tolist()) == list(range(1, distinct + 1))


def test_width_of_ids_at_the_edge_of_16_bits(tmp_path):
    values = [f"{i:08x}" for i in range(32766)]
    rows = [raw_line(C1=value, C2=values[i // 2 * 2] if i == 32765 else value) for i, value in enumerate(values)]
    folder, spec = run(tmp_path, {"train": rows, "validation": [], "test": rows[:1]}, frequency_limit=1)
    first, second = spec.categorical[:2]
    assert (first.cardinality, first.dtype) == (32767, "int32")
    assert (second.cardinality, second.dtype) == (32766, "int16")
    assert sorted(np.fromfile(folder / "train" / "cat_0.bin", "int32").tolist()) == list(range(1, 32767))
    assert set(np.fromfile(folder / "train" / "cat_1.bin", "int16").tolist()) == set(range(1, 32766))


@pytest.mark.parametrize("last_end", [True, False])
def test_smallest_data_set(tmp_path, last_end):
    empty = "1" + "\t" * 39
    path = write_raw(tmp_path / "one", [empty], last_end=last_end)
    spec = prepare(train=[path], test=[path], out=tmp_path / "DATA", preparation=Preparation(frequency_limit=1))
    assert set(spec.cardinalities.values()) == {1}
    assert spec.splits["train"].holdback_rows == 0
    assert (tmp_path / "DATA/train/label.bin").read_bytes() == b"\1"
    assert (tmp_path / "DATA/train/numerical.bin").read_bytes() == bytes(26)
    assert (tmp_path / "DATA/test/cat_25.bin").read_bytes() == b"\0"


# --- what must not matter, and what must


def test_partitions_do_not_matter(prepared, tmp_path):
    # Every file is at least one block: 40 of them pass the number at which counts are merged (16) twice.
    train = prepared.lines["train"]
    cuts = np.linspace(0, len(train), 41).astype(int)
    files = [
        write_raw(tmp_path / f"day_{i}{'.gz' if i % 3 else ''}", train[start:stop])
        for i, (start, stop) in enumerate(pairwise(cuts))
    ]
    one = [write_raw(tmp_path / "day", train)]
    for name, given in {"parts": files, "whole": one}.items():
        spec = prepare(
            train=given,
            test=prepared.files["test"],
            out=tmp_path / name,
            preparation=Preparation(frequency_limit=LIMIT),
        )
        assert spec.digest == prepared.spec.digest
        assert tree(tmp_path / name).keys() == tree(prepared.folder).keys()
        for file, raw in tree(tmp_path / name).items():
            if file != "dataset.json":  # names the sources, which differ
                assert raw == tree(prepared.folder)[file], file


def test_a_repeat_gives_the_same_bytes(prepared, tmp_path):
    preparation = Preparation(frequency_limit=LIMIT)
    prepare(train=prepared.files["train"], test=prepared.files["test"], out=tmp_path / "a", preparation=preparation)
    assert tree(tmp_path / "a") == tree(prepared.folder)


def test_order_of_files_changes_rows_but_not_ids(prepared, tmp_path):
    turned = prepare(
        train=prepared.files["train"][::-1],
        test=prepared.files["test"],
        out=tmp_path / "a",
        preparation=Preparation(frequency_limit=LIMIT),
    )
    assert turned.vocabulary_digest == prepared.spec.vocabulary_digest
    assert turned.categorical == prepared.spec.categorical
    assert turned.splits["train"].digests != prepared.spec.splits["train"].digests
    assert turned.digest != prepared.spec.digest


def test_every_choice_changes_the_digest(tmp_path):
    choices = [{}, {"frequency_limit": 2}, {"vocabulary": "all"}, {"shuffle_seed": 1}]
    choices += [{"numerical_transform": "readme_missing_0_log_x_plus_2"}]
    digests = set()
    for i, choice in enumerate(choices):
        (tmp_path / str(i)).mkdir()
        digests.add(run(tmp_path / str(i), SMALL, **choice)[1].digest)
    assert len(digests) == len(choices)


def test_a_file_given_twice_counts_twice(tmp_path):
    path = write_raw(tmp_path / "day", SMALL["train"])
    test = write_raw(tmp_path / "test", SMALL["test"])
    spec = prepare(train=[path, path], test=[test], out=tmp_path / "DATA", preparation=Preparation(frequency_limit=4))
    doubled = {"train": SMALL["train"] * 2, "validation": [], "test": SMALL["test"]}
    assert same_files(tmp_path / "DATA", doubled, 4, Rules(), places(spec))


def test_progress_tells_rows(tmp_path):
    heard = []
    path = write_raw(tmp_path / "day", SMALL["train"])
    prepare(train=[path], test=[path], out=tmp_path / "DATA", progress=lambda *words: heard.append(words))
    assert ("encode train", 150, 150) in heard
    assert ("write test", 150, 150) in heard
    assert max(done for what, done, _ in heard if what.startswith("parse")) == 300


# --- the record


def test_record_of_a_finished_run(prepared):
    record = read_record(prepared.folder)
    assert (record.command, record.status, record.reason) == ("prepare", "finished", None)
    assert record.dataset_digest == prepared.spec.digest
    assert record.seeds == {"shuffle": 12345}
    assert record.config["frequency_limit"] == LIMIT
    assert record.config["train"] == ["day_0", "day_1.gz", "day_2"]
    assert {(m.split, m.value) for m in record.metrics} == {("train", 417.0), ("validation", 0.0), ("test", 60.0)}
    assert set(record.timings_s) == {"parse", "count", "encode", "write", "publish", "total"}
    text = (prepared.folder / "dataset.json").read_bytes()
    assert record.outputs["dataset.json"] == hashlib.sha256(text).hexdigest()


def test_no_folder_of_this_machine_stands_in_what_is_left(prepared):
    places_here = {str(path.parent) for paths in prepared.files.values() for path in paths}
    places_here |= {str(prepared.folder), str(Path.home()) + "/", str(Path.cwd())}
    for name in ("run.json", "dataset.json"):
        text = (prepared.folder / name).read_text()
        assert not [place for place in places_here if place in text]


def assert_only_finished_work(out):
    """Nothing is left but the record and, for the next try, what whole stages made."""
    assert {path.name for path in out.iterdir()} <= {"run.json", WORK}
    work, known = out / WORK, set()
    for path in (work / "stages").glob("*.json"):
        state = Marker(work, path.stem).read()
        assert state["status"] == "finished"
        assert Marker(work, path.stem).holds(state["key"])
        known |= {path, *(work / name for name in state["outputs"])}
    assert {path for path in work.rglob("*") if path.is_file()} <= known | {work / "lock"}


# --- bad input


def corrupt_gzip(path, rows):
    write_raw(path, rows)
    path.write_bytes(path.read_bytes()[:-20])


GOOD = random_rows(30, seed=21)


def with_line(line):
    return lambda path: write_raw(path, [*GOOD[:16], line, *GOOD[17:]])


BAD = {
    "38 fields": ("bad", with_line("\t".join(raw_line().split("\t")[:38])), ["bad:17: has 38 fields; 40 are needed"]),
    "41 fields": ("bad", with_line(raw_line() + "\t5"), ["bad:17: has 41 fields; 40 are needed"]),
    "label 2": ("bad", with_line(raw_line(label=2)), ["bad:17:", "label", "'2'", "0 or 1"]),
    "no label": ("bad", with_line(raw_line(label="")), ["bad:17:", "label", "''", "0 or 1"]),
    "letters": ("bad", with_line(raw_line(I3="abc")), ["bad:17:", "I3", "'abc'", "integer"]),
    "too wide": ("bad", with_line(raw_line(I3=4294967296)), ["bad:17:", "I3", "'4294967296'", "32 bits"]),
    "plus": ("bad", with_line(raw_line(I3="+7")), ["bad:17:", "I3", "'+7'", "integer"]),
    "category": ("bad", with_line(raw_line(C9="xyz")), ["bad:17:", "C9", "'xyz'", "8 hexadecimal digits"]),
    "NUL": ("bad", with_line(raw_line(C9="\0" * 8)), ["bad:17:", "C9", "8 hexadecimal digits"]),
    "blank line": ("bad", with_line(""), ["bad:17: has 1 fields; 40 are needed"]),
    "byte order mark": ("bad", lambda p: write_raw(p, ["\ufeff" + GOOD[0], *GOOD[1:]]), ["bad:1:", "label", "0 or 1"]),
    "CRLF": ("bad", lambda p: write_raw(p, GOOD, end="\r\n"), ["bad:1:"]),
    "CR": ("bad", lambda p: write_raw(p, GOOD, end="\r"), ["bad:1: has 1171 fields"]),
    "spaces for tabs": ("bad", lambda p: write_raw(p, [GOOD[0].replace("\t", " ")]), ["bad:1: has 1 fields"]),
    "cut last line": ("bad", lambda p: write_raw(p, [*GOOD, raw_line()[:-3]], last_end=False), ["bad:31:", "C26"]),
    "truncated gz": ("bad.gz", lambda p: corrupt_gzip(p, GOOD), ["bad.gz:", "breaks off", "fetch the file again"]),
    "empty gz": ("bad.gz", lambda p: p.write_bytes(gzip.compress(b"")), ["bad.gz", "no rows", "needed"]),
}


@pytest.mark.parametrize(
    ("kind", "split"),
    [(kind, "train") for kind in BAD] + [(k, s) for k in ("38 fields", "letters", "truncated gz") for s in SPLITS[1:]],
)
def test_bad_rows_leave_only_a_record_that_says_why(tmp_path, kind, split):
    file, make, said = BAD[kind]
    good, bad = write_raw(tmp_path / "good", GOOD), tmp_path / file
    make(bad)
    files = {name: [good] for name in SPLITS} | {split: [good, bad]}
    out = tmp_path / "DATA"
    with pytest.raises(KitError) as caught:
        prepare(**files, out=out)
    assert [part for part in said if part not in str(caught.value)] == []
    assert_only_finished_work(out)
    record = read_record(out)
    assert record.status == "failed"
    assert [part for part in said if part not in record.reason] == []


def test_reason_in_the_record_names_no_folder_of_this_machine(tmp_path):
    bad = write_raw(tmp_path / "bad", [raw_line(label=7)])
    with pytest.raises(KitError):
        prepare(train=[bad], test=[bad], out=tmp_path / "DATA")
    assert str(tmp_path) not in (tmp_path / "DATA" / "run.json").read_text()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.touch(), "is empty"),
    ],
    ids=["missing", "folder", "empty"],
)
@pytest.mark.parametrize("split", SPLITS)
def test_bad_files_are_refused_before_anything_is_made(tmp_path, make, said, split):
    good, bad = write_raw(tmp_path / "good", GOOD), tmp_path / "bad"
    make(bad)
    with pytest.raises(KitError, match=said) as caught:
        prepare(**({name: [good] for name in SPLITS} | {split: [good, bad]}), out=tmp_path / "DATA")
    assert str(bad) in str(caught.value)
    assert "needed" in str(caught.value)
    assert not (tmp_path / "DATA").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"train": []}, "--train"), ({"test": []}, "--test"), ({"engine": "polar"}, "--engine polar: .*'polars'")],
)
def test_impossible_requests_are_refused_before_anything_is_made(tmp_path, changed, said):
    good = write_raw(tmp_path / "good", GOOD)
    with pytest.raises(KitError, match=said):
        prepare(**({"train": [good], "test": [good]} | changed), out=tmp_path / "DATA")
    assert not (tmp_path / "DATA").exists()


# --- the output folder


@pytest.mark.parametrize("place", ["a file", "below a file", "/proc", "a loose link"])
def test_outputs_that_cannot_be_written(tmp_path, place):
    good = write_raw(tmp_path / "good", GOOD)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "else")
    out = {
        "a file": good,
        "below a file": good / "DATA",
        "/proc": Path("/proc/DATA"),
        "a loose link": tmp_path / "link",
    }
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(KitError, match="another --out") as caught:
        prepare(train=[good], test=[good], out=out[place])
    assert str(out[place]) in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before
    assert good.read_text().splitlines() == GOOD


def test_a_second_run_replaces_the_first_wholly(tmp_path):
    folder, _ = run(tmp_path, SMALL)
    lines = {"train": SMALL["test"], "validation": [], "test": SMALL["train"]}
    (folder / ".work").mkdir()
    (folder / ".work" / "left by a killed run").touch()
    (folder / "train" / "cat_26.bin").touch()
    again = prepare(
        train=[write_raw(tmp_path / "a", lines["train"])], test=[write_raw(tmp_path / "b", lines["test"])], out=folder
    )
    assert same_files(folder, lines, 15, Rules(), places(again))
    assert read_dataset(folder) == again
    assert not (folder / ".work").exists()
    assert not (folder / "train" / "cat_26.bin").exists()


def test_a_failed_second_run_leaves_whole_data_or_none(tmp_path):
    folder, _ = run(tmp_path, SMALL)
    before = tree(folder)
    bad = write_raw(tmp_path / "bad", [*GOOD, raw_line(label=3)])
    with pytest.raises(KitError):
        prepare(train=[bad], test=[bad], out=folder)
    assert read_record(folder).status == "failed"
    assert tree(folder) == before


@pytest.mark.parametrize("layout", ["{}/day", "{}", ".work/{}"])
def test_raw_files_inside_the_output_folder_survive(tmp_path, layout):
    out = tmp_path / "data"
    files = {}
    for name in ("train", "test"):
        path = out / layout.format(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        files[name] = [write_raw(path, GOOD)]
    with pytest.raises(KitError, match="--out"):
        prepare(**files, out=out)
    for paths in files.values():
        assert paths[0].read_text().splitlines() == GOOD


def test_strangers_files_in_the_output_folder_survive(tmp_path):
    good = write_raw(tmp_path / "good", GOOD)
    notes = tmp_path / "DATA" / "train" / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    with pytest.raises(KitError, match="--out"):
        prepare(train=[good], test=[good], out=tmp_path / "DATA")
    assert notes.read_text() == "mine"


@pytest.mark.parametrize("name", ["a b", "[x]", "{y,z}*?", "é=1"])
def test_folders_of_any_name(tmp_path, name):
    place = tmp_path / name
    place.mkdir()
    path = write_raw(place / "day", SMALL["train"])
    spec = prepare(train=[path], test=[path], out=place / "DATA", preparation=Preparation(frequency_limit=2))
    assert read_dataset(place / "DATA") == spec


def test_relative_output_folder_has_a_name(tmp_path, monkeypatch):
    good = write_raw(tmp_path / "good", GOOD)
    (tmp_path / "DATA").mkdir()
    monkeypatch.chdir(tmp_path / "DATA")
    prepare(train=[good], test=[good], out=Path("."))
    assert read_record(Path(".")).name == "DATA"


def test_interrupted_run_says_so_and_leaves_nothing_else(tmp_path):
    good = write_raw(tmp_path / "good", GOOD)

    def interrupt(what, done, total):
        if what.startswith("encode"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(train=[good], test=[good], out=tmp_path / "DATA", progress=interrupt)
    assert_only_finished_work(tmp_path / "DATA")
    assert read_record(tmp_path / "DATA").reason == "interrupted by the user"


def test_twin_refuses_a_changed_byte(prepared, tmp_path):
    """The comparison itself sees one wrong id."""
    for path in prepared.folder.rglob("*.bin"):
        target = tmp_path / path.relative_to(prepared.folder)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    copy = dataclasses.replace(prepared, folder=tmp_path)
    assert agrees(copy)
    file = tmp_path / "test" / "cat_7.bin"
    raw = bytearray(file.read_bytes())
    raw[5] ^= 1
    file.write_bytes(raw)
    assert not agrees(copy)


def test_dataset_json_is_plain_json(prepared):
    text = (prepared.folder / "dataset.json").read_text()
    assert json.loads(text)["id_zero"] == "missing, rare or unseen"
    assert text.endswith("}\n")


@pytest.mark.parametrize("parts", ["train and test", "halved"])
def test_a_part_of_one_class_is_told(tmp_path, parts):
    lines = random_rows(60, seed=8)
    train, test = (
        write_raw(tmp_path / "a", lines),
        write_raw(tmp_path / "b", [raw_line(label=1)] * 3 + [raw_line()] * 3),
    )
    if parts == "halved":
        asked, named = {"train": [train], "halve": test}, {"test": 1, "validation": 0}
    else:
        asked, named = {"train": [train], "test": [write_raw(tmp_path / "c", [raw_line()] * 5)]}, {"test": 0}
    with pytest.warns(
        UserWarning, match="the test part: every row has the label .: AUC is undefined on them"
    ) as caught:
        prepare(**asked, out=tmp_path / "DATA")
    assert len(caught) == len(named)
    assert read_record(tmp_path / "DATA").choices == {
        f"warning of the {name} part": f"every row has the label {label}: AUC is undefined on them; name other files"
        for name, label in named.items()
    }


def test_nothing_is_told_of_parts_with_both_classes(prepared):
    assert read_record(prepared.folder).choices == {}
