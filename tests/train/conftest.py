"""DATA folders that the tests of this room read and never change."""

from pathlib import Path

import pytest

from tests.train.builders import write_dataset


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """230 training rows, of which the last 23 are held back; 90 test rows; no validation part."""
    folder = tmp_path_factory.mktemp("train-room") / "DATA"
    write_dataset(folder)
    return folder


@pytest.fixture(scope="session")
def data_with_validation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a validation part of 60 rows."""
    folder = tmp_path_factory.mktemp("train-room") / "DATA-VALIDATION"
    write_dataset(folder, validation=60)
    return folder
