import polars as pl
import pytest

from data_prep import published
from data_prep.options import table_spec
from data_prep.prepare import dry_run, prepare
from data_prep.published import SOURCES, check_days, check_rows
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.sources import DOWNLOADS_FILE, Downloaded, Downloads, read_sources
from tests.conftest import random_rows, write_raw


@pytest.fixture
def downloaded(tmp_path):
    """A folder that says it holds files of the gzip copy of the 1TB logs."""
    record = Downloads(dataset="criteo_1tb_gz", files={})
    (tmp_path / DOWNLOADS_FILE).write_text(record.to_json())
    return tmp_path


def test_each_day_of_the_1tb_logs_has_a_published_count(downloaded):
    days = {
        day: r.rows for r in read_sources(SOURCES).dataset("criteo_1tb_gz").rows if len(r.days) == 1 for day in r.days
    }
    assert sorted(days) == list(range(24))
    assert sum(days[day] for day in range(23)) == 4_195_197_692  # the seed's logs: 128,028 steps of 32,768
    for day, rows in days.items():
        check_rows(downloaded / f"day_{day}.gz", rows)
        with pytest.raises(KitError, match=rf"day_{day}.gz: holds {rows - 1:,} rows, {rows:,} are published"):
            check_rows(downloaded / f"day_{day}.gz", rows - 1)


def test_nothing_is_said_of_other_files(downloaded, tmp_path):
    check_rows(downloaded / "mine.tsv", 3)
    (downloaded / DOWNLOADS_FILE).unlink()
    check_rows(tmp_path / "day_0.gz", 3)


def test_prepare_refuses_a_downloaded_file_of_another_length(downloaded):
    path = write_raw(downloaded / "day_3.gz", random_rows(50, seed=1))
    with pytest.raises(KitError, match=r"day_3.gz: holds 50 rows, 181,115,208 are published for day 3"):
        prepare(train=[path], test=[path], out=downloaded / "DATA")


def test_the_data_file_is_the_one_that_is_shipped():
    assert published.SOURCES.is_file()


# --- the Parquet copy: many files a day

ROWS = {"day=2015-02-15/a.parquet": 5, "day=2015-02-15/b.parquet": 7, "day=2015-02-16/a.parquet": 4}


def write_day_file(path, rows):
    spec = table_spec("criteo_1tb")
    columns = {name: list(range(rows)) for name in spec.numerical} | dict.fromkeys(spec.categorical, ["0a"] * rows)
    path.parent.mkdir(exist_ok=True)
    pl.DataFrame({spec.label: [i % 2 for i in range(rows)]} | columns).write_parquet(path)
    return path


@pytest.fixture
def parquet(tmp_path, monkeypatch):
    """Two days of the Parquet copy, 12 and 4 rows, for which 12 and 4 are published; names to paths."""
    source = read_sources(SOURCES).dataset("criteo_1tb")
    counts = {(0,): 12, (1,): 4}
    rows = tuple(r.model_copy(update={"rows": counts.get(r.days, r.rows)}) for r in source.rows)
    small = source.model_copy(update={"rows": rows})
    monkeypatch.setattr(
        published, "read_sources", lambda path: read_sources(path).model_copy(update={"datasets": (small,)})
    )
    file = Downloaded(size_bytes=1, sha256="0" * 64, url="https://example.org/a", checked_against="nothing")
    record = Downloads(dataset="criteo_1tb", files=dict.fromkeys(ROWS, file))
    (tmp_path / DOWNLOADS_FILE).write_text(record.to_json())
    return {name: write_day_file(tmp_path / name, rows) for name, rows in ROWS.items()}


def asked(parquet, out):
    first, second, third = parquet.values()
    return {"train": [first, second], "test": [third], "table": table_spec("criteo_1tb"), "out": out}


def test_whole_days_of_the_parquet_copy_pass(parquet, tmp_path):
    spec = prepare(**asked(parquet, tmp_path / "DATA"))
    assert (spec.splits["train"].rows, spec.splits["test"].rows) == (12, 4)
    check_days([*parquet.values(), *parquet.values()])


@pytest.mark.parametrize(
    ("name", "rows", "sum_"), [("day=2015-02-15/b.parquet", 6, 11), ("day=2015-02-16/a.parquet", 5, 5)]
)
@pytest.mark.parametrize("command", [prepare, dry_run])
def test_a_day_of_another_count_is_refused_before_anything_is_read(parquet, tmp_path, name, rows, sum_, command):
    write_day_file(parquet[name], rows)
    day = "day 0" if sum_ == 11 else "day 1"
    with pytest.raises(
        KitError, match=rf"{name[:14]}: its \d files hold {sum_} rows, \d+ are published for {day} .* fetch it again"
    ):
        command(**asked(parquet, tmp_path / "DATA"))
    assert not (tmp_path / "DATA").exists()


def test_a_day_taken_in_part_on_purpose_holds_no_more_than_the_day(parquet):
    first = parquet["day=2015-02-15/a.parquet"]
    check_days([first])
    write_day_file(first, 13)
    with pytest.raises(KitError, match="its 1 files hold 13 rows, 12 are published"):
        check_days([first])


def test_nothing_is_said_of_other_tables(parquet, tmp_path):
    write_day_file(parquet["day=2015-02-16/a.parquet"], 9)
    (tmp_path / DOWNLOADS_FILE).unlink()
    check_days(list(parquet.values()))


def test_each_day_of_the_parquet_copy_has_a_published_count():
    source = read_sources(SOURCES).dataset("criteo_1tb")
    assert [published._of_day(source, day.day).rows > 10**8 for day in source.listing.days] == [True] * 24
