"""DATA folders that the tests of this room read and never change."""

import shutil
from pathlib import Path

import pytest

from tests.train.builders import tiny_config, trained, write_dataset


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


@pytest.fixture(scope="session")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs on `data`."""
    run = tmp_path_factory.mktemp("finished") / "RUN"
    trained(data, run, tiny_config(epochs=2))
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run that a test may spoil."""
    shutil.copytree(finished, tmp_path / "RUN")
    return tmp_path / "RUN"
