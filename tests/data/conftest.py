"""One small data set, a copy for each test, which may spoil it."""

from pathlib import Path

import pytest

from tests.train.builders import write_dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "DATA")
    return tmp_path / "DATA"
