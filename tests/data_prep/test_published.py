import pytest

from data_prep import published
from data_prep.prepare import prepare
from data_prep.published import SOURCES, check_rows
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.sources import DOWNLOADS_FILE, Downloads, read_sources
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
