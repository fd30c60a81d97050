import hashlib
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data_prep import planted
from data_prep.planted import read_features, write_sample
from data_prep.planted_best import attainable
from data_prep.planted_rows import CARDINALITIES, INTEGER_MISSING, draw_features, rank_probabilities
from data_prep.planted_teacher import build_teacher, load_teacher
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.teacher import read_teacher

ROWS, DAYS, SEED = 70_001, 2, 5  # two chunks a day


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    out = tmp_path_factory.mktemp("planted") / "new" / "raw"
    return out, write_sample(out, rows=ROWS, days=DAYS, seed=SEED)


def contents(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def slow_auc(labels, scores):
    clicks, others = scores[labels], scores[~labels]
    wins = (clicks[:, None] > others[None]).sum() + 0.5 * (clicks[:, None] == others[None]).sum()
    return wins / (len(clicks) * len(others))


def test_lines_are_raw_criteo(sample):
    _, record = sample
    assert [path.name for path in record.files] == ["day_0", "day_1"]
    assert record.rows_per_day == (35_001, 35_000)
    line = re.compile(r"[01](\t(-?\d+)?){13}(\t([0-9a-f]{8})?){26}")
    fields = []
    for path, rows in zip(record.files, record.rows_per_day, strict=True):
        text = path.read_text()
        assert text.endswith("\n")
        lines = text[:-1].split("\n")
        assert len(lines) == rows
        assert all(line.fullmatch(one) for one in lines)
        fields += [one.split("\t") for one in lines[:5000]]
    columns = list(zip(*fields, strict=True))
    assert {value for value in columns[2] if value.startswith("-")} == {"-1", "-2", "-3"}
    assert columns[2].count("-3") < 0.01 * len(fields)
    for column, missing in zip(columns[1:14], INTEGER_MISSING, strict=True):
        assert column.count("") / len(fields) == pytest.approx(missing, abs=0.02)
    large = np.array([int(value or 0) for value in columns[5]])
    assert large.mean() > 1.5 * np.median(large)  # skewed


def test_same_seed_gives_same_bytes(sample, tmp_path, monkeypatch):
    out, _ = sample
    monkeypatch.setattr(planted, "THREADS", 1)
    write_sample(tmp_path / "again", rows=ROWS, days=DAYS, seed=SEED)
    assert contents(tmp_path / "again") == contents(out)


def test_another_seed_gives_other_rows_and_another_teacher(sample, tmp_path):
    out, _ = sample
    write_sample(tmp_path / "other", rows=1000, days=2, seed=SEED + 1)
    first, other = contents(out), contents(tmp_path / "other")
    assert not first["day_0"].startswith(other["day_0"][:100])
    assert first["teacher/teacher.npz"] != other["teacher/teacher.npz"]
    assert other["day_0"][:1000] != other["day_1"][:1000]


@pytest.mark.parametrize("feature", [2, 9])
def test_ids_are_zipf_like(sample, feature):
    _, record = sample
    frame = pl.concat(pl.read_csv(p, separator="\t", has_header=False, infer_schema=False) for p in record.files)
    counts = frame[:, 14 + feature].drop_nulls().value_counts(sort=True)["count"].to_numpy()
    ranks = np.arange(3, 101)  # below 3 the law is rounded, beyond 100 the counts of so few rows are noise
    slope, _ = np.polyfit(np.log(ranks), np.log(counts[2:100]), 1)
    assert 1.0 < -slope < 1.2
    assert len(counts) > 1000


@pytest.mark.parametrize("cardinality", [3, 24, 200_000])
def test_rank_probabilities_are_those_of_zipf(cardinality):
    got = rank_probabilities(cardinality)
    zipf = np.arange(1, cardinality + 1) ** -1.1
    np.testing.assert_allclose(got, zipf / zipf.sum(), rtol=0.12)
    assert got.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("feature", [8, 19, 13])
def test_ranks_follow_their_probabilities(feature):
    features = draw_features(np.random.default_rng(0), 100_000)
    ranks = features.ranks[feature]
    counts = np.bincount(ranks[ranks > 0], minlength=CARDINALITIES[feature] + 1)[1:]
    expected = rank_probabilities(CARDINALITIES[feature]) * counts.sum()
    assert len(counts) == CARDINALITIES[feature]
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_best_auc_and_click_rate(seed):
    teacher = build_teacher(seed)
    rng = np.random.default_rng(100 + seed)
    probabilities = teacher.probabilities(draw_features(rng, 60_000))
    best = attainable(rng.random(60_000) < probabilities, probabilities, (30_000, 30_000))["all"]
    assert 0.775 < best.auc < 0.805
    assert 0.24 < best.click_rate < 0.26
    assert 0.40 < best.log_loss < 0.50


def test_interactions_have_no_main_effect():
    teacher = build_teacher(0)
    features = draw_features(np.random.default_rng(1), 200_000)
    pairs = teacher.pair_effects(features)
    for feature in (5, 13, 16, 19, 21, 22):
        ranks = features.ranks[feature]
        means = [pairs[ranks == rank].mean() for rank in (1, 2, 3)]
        assert np.abs(means).max() < 0.1 * pairs.std()


def test_stored_teacher_is_true_of_the_raw_rows(sample):
    out, record = sample
    stored = read_teacher(out / "teacher" / "teacher.json")
    teacher = load_teacher(out / "teacher" / "teacher.npz")
    labels, features = read_features(teacher, record.files[-1])
    probabilities = teacher.probabilities(features)
    likelihood = np.where(labels, probabilities, 1 - probabilities)
    last = stored.files[-1]
    assert last.best_log_loss == record.best_log_loss == pytest.approx(-np.log(likelihood).mean(), rel=1e-12)
    assert last.best_auc == record.best_auc == pytest.approx(slow_auc(labels, probabilities), rel=1e-12)
    assert [file.name for file in stored.files] == ["day_0", "day_1"]
    assert [file.rows for file in stored.files] == list(record.rows_per_day)
    for file, path in zip(stored.files, record.files, strict=True):
        assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (stored.rows, stored.seed) == (ROWS, SEED) == (ROWS, teacher.seed)
    assert last.click_rate == labels.mean() == pytest.approx(probabilities.mean(), abs=0.01)


def test_a_wrong_teacher_is_noticed(sample, tmp_path):
    _, record = sample
    with pytest.raises(KitError, match="no value of teacher 9"):
        read_features(build_teacher(9), record.files[0])
    (tmp_path / "teacher.npz").write_bytes(b"not an archive")
    with pytest.raises(KitError, match="dlrm sample"):
        load_teacher(tmp_path / "teacher.npz")


def test_nothing_else_is_left(sample):
    out, _ = sample
    assert set(contents(out)) == {"day_0", "day_1", "teacher/teacher.json", "teacher/teacher.npz"}


def test_interrupted_run_leaves_no_whole_sample_and_can_be_repeated(tmp_path):
    write_sample(tmp_path, rows=900, days=4, seed=1)

    def stop(what, done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path, rows=900, days=3, seed=2, progress=stop)
    assert not (tmp_path / "teacher" / "teacher.json").exists()
    assert not list(tmp_path.rglob("*.part"))
    write_sample(tmp_path, rows=900, days=2, seed=3)
    assert {"day_0", "day_1", "teacher"} == {path.name for path in tmp_path.iterdir()}


def test_progress_is_told(tmp_path):
    told = []
    write_sample(tmp_path, rows=400, days=2, seed=0, progress=lambda *words: told.append(words))
    assert told == [("sample", 200, 400), ("sample", 400, 400)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"days": 1}, "--days"),
        ({"rows": 399, "days": 4}, "--rows"),
        ({"rows": -1}, "--rows"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_bad_numbers_are_refused(tmp_path, change, message):
    with pytest.raises(KitError, match=message):
        write_sample(tmp_path / "out", **({"rows": 1000, "days": 2, "seed": 0} | change))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["notes.txt", "day_0", "teacher"])
def test_folder_with_other_things_is_refused_and_kept(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(KitError, match=name):
        write_sample(tmp_path, rows=1000, days=2, seed=0)
    assert contents(tmp_path) == {name: b"mine"}


def test_out_that_is_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(KitError, match="is a file"):
        write_sample(tmp_path / "file", rows=1000, days=2, seed=0)
