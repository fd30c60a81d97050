"""What the tests of downloads share: made-up bytes, data files of sources, and what a whole download looks like."""

import hashlib
import json
import random
from pathlib import Path

from data_prep.download import download
from data_prep.transfer import Retry
from dlrm_core.schema.record import read_record
from dlrm_core.schema.sources import read_downloads

ROOT = Path(__file__).resolve().parents[2]
DATA = random.Random(7).randbytes(300_000)
OTHER = random.Random(8).randbytes(300_000)
SHA = hashlib.sha256(DATA).hexdigest()
PATIENCE = Retry(attempts=3, wait_s=0, timeout_s=5, piece_bytes=1 << 14)
LICENCE = {"name": "CC BY-NC-SA 4.0", "url": "https://example.org/licence", "terms": "Be fair.", "source": "made up"}


def source(*files: dict, name: str = "logs", **fields: object) -> dict:
    base = {
        "name": name,
        "title": "Made-up logs",
        "description": "Random bytes.",
        "content": "tsv.gz",
        "licence": LICENCE,
        "citation": "nobody",
        "next_step": "look at them",
    }
    return base | ({"files": list(files)} if files else {}) | fields


def write_sources(folder: Path, *datasets: dict) -> Path:
    path = folder / "sources.yaml"
    path.write_text(json.dumps({"schema_version": 1, "datasets": list(datasets)}))
    return path


def one_file(folder: Path, *urls: str, **figures: object) -> Path:
    cited = {"source": "made up"} if figures else {}
    return write_sources(folder, source({"name": "day_0.gz", "day": 0, "urls": list(urls)} | figures | cited))


def fetch(folder: Path, sources: Path, **arguments: object):
    given = {"dataset": "logs", "out": folder / "out", "accept_licence": True, "retry": PATIENCE} | arguments
    return download(sources=sources, **given)  # type: ignore[arg-type]


def assert_whole(folder: Path, data: bytes = DATA, name: str = "day_0.gz") -> None:
    out = folder / "out"
    assert (out / name).read_bytes() == data
    recorded = read_downloads(out).files[name]  # type: ignore[union-attr]
    assert (recorded.size_bytes, recorded.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert list(out.rglob("*.part*")) == []
    assert read_record(out).status == "finished"


def assert_nothing_final(folder: Path) -> None:
    assert not (folder / "out" / "day_0.gz").exists()
    assert read_record(folder / "out").status == "failed"
    assert (folder / "out" / "day_0.gz") not in list((folder / "out").iterdir())


def interrupt_after(size: int):
    def progress(what: str, done: int, total: int) -> None:
        if done >= size:
            raise KeyboardInterrupt

    return progress
