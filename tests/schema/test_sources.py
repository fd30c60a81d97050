import re
from pathlib import Path

import pytest

from dlrm_core.schema.errors import KitError
from dlrm_core.schema.sources import (
    DataSource,
    Downloaded,
    Downloads,
    PartState,
    SourceFile,
    parse_days,
    read_downloads,
    read_sources,
)

DATA_FILE = Path(__file__).resolve().parents[2] / "data_prep" / "sources.yaml"
SOURCES = read_sources(DATA_FILE)
FILE = {"name": "day_0.gz", "day": 0, "urls": ["https://example.org/day_0.gz"]}
DATASET = {
    "name": "logs",
    "title": "Logs",
    "description": "Made up.",
    "content": "tsv.gz",
    "licence": {"name": "L", "url": "https://example.org/l", "terms": "Be fair.", "source": "made up"},
    "citation": "nobody",
    "next_step": "none",
    "files": [FILE],
}
LISTING = {
    "endpoint": "https://example.org/",
    "repository": "a/b",
    "revision": "main",
    "strip": "",
    "days": [{"day": 0, "folder": "x"}],
}


# The data file of the kit


def test_the_public_copy_of_the_1tb_logs_comes_first():
    first = SOURCES.datasets[0]
    assert first.name == "criteo_1tb"
    assert first.listing is not None
    assert (first.listing.endpoint, first.listing.repository) == ("https://huggingface.co/", "criteo/CriteoClickLogs")
    assert first.days == tuple(range(24))
    assert [first.listing.days[d].folder for d in (0, 13, 14, 23)] == [
        f"data/day=2015-{day}" for day in ("02-15", "02-28", "03-01", "03-10")
    ]


def test_both_criteo_sets_are_there_with_licence_citation_and_address():
    assert {"criteo_1tb", "criteo_1tb_gz", "criteo_kaggle"} <= {dataset.name for dataset in SOURCES.datasets}
    for dataset in SOURCES.datasets:
        assert "NC" in dataset.licence.name
        assert re.fullmatch(r"[A-Z].*\.", dataset.licence.terms)
        assert "Criteo" in dataset.citation
        assert all(url.startswith("https://") for file in dataset.files for url in file.urls)


def test_every_figure_names_a_page_and_what_nobody_published_is_null():
    for dataset in SOURCES.datasets:
        assert all(re.search(r"https://\S+", rows.source) for rows in dataset.rows)
        assert dataset.about_source is None or re.search(r"https://\S+", dataset.about_source)
        for file in dataset.files:
            figures = (file.size_bytes, file.about_bytes, file.sha256, file.md5)
            assert (file.source is not None) == any(figures)
            assert file.source is None or re.search(r"https://\S+", file.source)
    assert all(f.sha256 is None and f.size_bytes is None for d in SOURCES.datasets for f in d.files)


def test_the_published_row_counts_agree_with_each_other():
    for name in ("criteo_1tb", "criteo_1tb_gz"):
        rows = SOURCES.dataset(name).rows
        by_day = {r.days[0]: r.rows for r in rows if len(r.days) == 1}
        assert sorted(by_day) == list(range(24))
        for published in rows:
            assert published.rows == sum(by_day[day] for day in published.days), published.what
        assert {r.rows for r in rows} >= {4_195_197_692, 178_274_637}
    assert [r.rows for r in SOURCES.dataset("criteo_kaggle").rows] == [45_840_617]


def test_no_address_stands_in_two_data_sets():
    """Copies of other content are other data sets; one address cannot be in both."""
    urls = [url for dataset in SOURCES.datasets for file in dataset.files for url in file.urls]
    assert len(urls) == len(set(urls))


def test_unknown_data_set_names_the_nearest():
    with pytest.raises(
        KitError, match=r"unknown data set 'criteo1tb' \(did you mean 'criteo_1tb'\?\); known: criteo_1tb,"
    ):
        SOURCES.dataset("criteo1tb")


# The schema


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size_bytes": 5}, "has a size or a hash but no source"),
        ({"about_bytes": 5}, "has a size or a hash but no source"),
        ({"sha256": "0" * 64}, "has a size or a hash but no source"),
        ({"md5": "0" * 32}, "has a size or a hash but no source"),
        ({"size_bytes": 0, "source": "x"}, "'size_bytes' is 0"),
        ({"size_bytes": "5", "source": "x"}, "'size_bytes' is '5'"),
        ({"sha256": "F" * 64, "source": "x"}, "'sha256' is 'F"),
        ({"md5": "0" * 31, "source": "x"}, "'md5' is '0"),
        ({"urls": []}, "'urls' is"),
        ({"urls": ["http://example.org/day_0.gz"]}, r"'urls\.0' is 'http://example"),
        ({"urls": ["ftp://example.org/day_0.gz"]}, r"'urls\.0' is 'ftp:"),
        ({"urls": ["http://127.0.0.1.example.org/x"]}, r"'urls\.0' is"),
        ({"name": "../x"}, "'name' is"),
        ({"name": "/x"}, "'name' is"),
        ({"name": "a/b/c"}, "'name' is"),
        ({"name": ".x"}, "'name' is"),
        ({"name": "a\nb"}, "'name' is"),
        ({"url": "x"}, r"unknown key 'url' \(did you mean 'urls'\?\)"),
    ],
)
def test_odd_files_are_refused(change, message):
    with pytest.raises(KitError, match=message):
        SourceFile.from_dict(FILE | change, source="a test")


@pytest.mark.parametrize("name", ["day_0.gz", "day=2015-02-15/part-00015-99c3.c000.snappy.parquet", "dac.tar.gz"])
def test_good_names(name):
    assert SourceFile.from_dict(FILE | {"name": name}, source="a test").name == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": []}, "needs either files or a listing"),
        ({"listing": LISTING}, "needs either files or a listing"),
        ({"files": [FILE, FILE]}, "stands for more than one file of logs"),
        ({"about_bytes": 5}, "about_bytes and about_source go together"),
        ({"licence": None}, "'licence' is None"),
    ],
)
def test_odd_data_sets_are_refused(change, message):
    with pytest.raises(KitError, match=message):
        DataSource.from_dict(DATASET | change, source="a test")


def test_days_of_files_and_of_a_listing():
    assert DataSource.from_dict(DATASET, source="a test").days == (0,)
    assert DataSource.from_dict(DATASET | {"files": [], "listing": LISTING}, source="a test").days == (0,)
    undated = DATASET | {"files": [FILE | {"day": None}]}
    assert DataSource.from_dict(undated, source="a test").days == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "holds list, a mapping is needed"),
        ("{", "is not YAML"),
        ("schema_version: 2\ndatasets: []\n", "schema_version"),
    ],
)
def test_odd_data_files_are_refused(tmp_path, text, message):
    path = tmp_path / "sources.yaml"
    path.write_text(text)
    with pytest.raises(KitError, match=message):
        read_sources(path)
    with pytest.raises(KitError, match="no such file"):
        read_sources(tmp_path / "absent.yaml")


# Days, records, parts


@pytest.mark.parametrize(
    ("text", "days"), [("3", (3,)), ("0-3", (0, 1, 2, 3)), ("23, 0-1", (23, 0, 1)), ("1,1-2", (1, 2))]
)
def test_days(text, days):
    assert parse_days(text) == days


@pytest.mark.parametrize("text", ["", "3-1", "a", "1-", "-1", "1,,2", "0-3-5", "1.5"])
def test_odd_days(text):
    with pytest.raises(KitError, match="names no days; write 3, 0-3"):
        parse_days(text)


def test_record_round_trip(tmp_path):
    assert read_downloads(tmp_path) is None
    file = Downloaded(size_bytes=5, sha256="0" * 64, url="https://x/y", checked_against="nothing")
    record = Downloads(dataset="logs", files={"day_0.gz": file})
    (tmp_path / "downloads.json").write_text(record.to_json())
    assert read_downloads(tmp_path) == record
    (tmp_path / "downloads.json").write_text('{"dataset": "logs", "file": {}}')
    with pytest.raises(KitError, match="did you mean 'files'"):
        read_downloads(tmp_path)


@pytest.mark.parametrize(
    ("answer", "same"),
    [
        (('"a"', "Mon", 5), True),
        (('"a"', None, None), True),
        ((None, None, None), True),
        (('"b"', "Mon", 5), False),
        (('"a"', "Tue", 5), False),
        (('"a"', "Mon", 6), False),
    ],
)
def test_a_part_knows_its_version(answer, same):
    assert PartState(url="u", etag='"a"', last_modified="Mon", total=5).is_of(*answer) is same
