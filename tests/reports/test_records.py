"""The records that come with the kit: whole, of a finished run, and without a place on anybody's machine."""

import re
from pathlib import Path

import pytest

from dlrm_core.schema.record import FILE, read_record

RECORDS = Path(__file__).resolve().parents[2] / "reports" / "records"
FOLDERS = sorted(path.parent for path in RECORDS.rglob(FILE))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(RECORDS).as_posix())
def test_a_record_says_what_was_measured_with_what_on_what(folder):
    record = read_record(folder)
    assert record.status == "finished"
    assert record.metrics
    assert record.repeat.startswith("dlrm ")
    assert re.fullmatch("[0-9a-f]{64}", record.environment.source_digest)
    assert re.search(r'"/|\.\./|/(home|tmp|root|work)/', (folder / FILE).read_text()) is None


def test_there_are_some():
    assert FOLDERS
