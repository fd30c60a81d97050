"""Made-up raw rows and one small prepared data set. No row here comes from a real file."""

import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from data_prep.prepare import prepare
from data_prep.raw import CATEGORICAL, COLUMNS, LABEL, NUMERICAL
from dlrm_core.schema.dataset import DatasetSpec, Preparation

LIMIT = 3


def raw_line(**fields: object) -> str:
    """One raw line without its end; columns by name (label, I1, C1, ...), the rest as in a sound row."""
    unknown = set(fields) - set(COLUMNS)
    assert not unknown, f"no such raw columns: {unknown}"
    sound = {LABEL: "0"} | dict.fromkeys(NUMERICAL, "1") | dict.fromkeys(CATEGORICAL, "0000000a")
    return "\t".join(str(fields.get(column, sound[column])) for column in COLUMNS)


def random_rows(num_rows: int, *, seed: int) -> list[str]:
    """Lines with everything the preprocessing distinguishes.

    Column C_k has about 2 + 2 k values of falling frequency, so that many counts tie and many meet a small limit; every
    field but the label is missing now and then; integers cross -3, the edge of the logarithm.
    """
    generator = np.random.default_rng(seed)
    lines = []
    for _ in range(num_rows):
        fields: dict[str, object] = {LABEL: int(generator.random() < 0.3)}
        for column in NUMERICAL:
            wide = generator.random() < 0.2
            x = int(generator.integers(-(2**31) + 1, 2**31) if wide else generator.integers(-5, 12))
            fields[column] = "" if generator.random() < 0.15 else x
        for k, column in enumerate(CATEGORICAL):
            place = int((2 + 2 * k) * generator.random() ** 2)
            # An odd multiplier scatters the codes over all 32 bits: neither order of first sight nor of place.
            code = (place * 2654435761 + 40503 * k) % 2**32
            fields[column] = "" if generator.random() < 0.1 else f"{code:08x}"
        lines.append(raw_line(**fields))
    return lines


def write_raw(path: Path, rows: Iterable[str], *, end: str = "\n", last_end: bool = True) -> Path:
    """Write lines as a raw file, gzip where the name ends in .gz; gives back `path`."""
    text = end.join(rows) + (end if last_end else "")
    raw = text.encode()
    path.write_bytes(gzip.compress(raw, mtime=0) if path.suffix == ".gz" else raw)
    return path


@dataclass(frozen=True)
class Prepared:
    """A prepared folder and the raw lines that it was made from."""

    folder: Path
    spec: DatasetSpec
    files: dict[str, list[Path]]
    lines: dict[str, list[str]]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """417 training rows in three files (one gzip), no validation part, 60 test rows; frequency limit 3. Read only."""
    raw = tmp_path_factory.mktemp("raw")
    lines = {"train": random_rows(417, seed=1), "validation": [], "test": random_rows(60, seed=2)}
    train = lines["train"]
    files = {
        "train": [
            write_raw(raw / "day_0", train[:200]),
            write_raw(raw / "day_1.gz", train[200:201]),
            write_raw(raw / "day_2", train[201:], last_end=False),
        ],
        "validation": [],
        "test": [write_raw(raw / "day_3.gz", lines["test"])],
    }
    folder = tmp_path_factory.mktemp("prepared") / "DATA"
    spec = prepare(train=files["train"], test=files["test"], out=folder, preparation=Preparation(frequency_limit=LIMIT))
    return Prepared(folder=folder, spec=spec, files=files, lines=lines)
