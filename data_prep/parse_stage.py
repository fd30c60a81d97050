"""The stage parse: raw file k becomes codes of k, each file once."""

from collections.abc import Iterator
from pathlib import Path

from data_prep.engines.base import Rows
from data_prep.job import Files, Input, Job
from data_prep.published import check_rows
from dlrm_core.schema.dataset import SPLITS, Source
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.stages import Made, fingerprint, once


def parse_files(job: Job) -> Input:
    """Read each file once; say which of its rows belong to which split.

    Raises
    ------
    KitError
        If a file is damaged, malformed, or of another length than published.
    """
    found, done = [], 0
    for split, number, path in _numbered(job.files):
        name = f"parse-{split}-{number:04d}"
        status = path.stat()
        key = fingerprint(**job.common_key, file=[str(path.resolve()), status.st_size, status.st_mtime_ns])
        folder, before = job.work / name, done

        def parse(path: Path = path, folder: Path = folder, before: int = before) -> Made:
            parsed = job.engine.parse(path, folder, lambda rows: job.progress("parse", before + rows, 0))
            return Made(parsed.files, {"rows": parsed.rows, "sha256": parsed.sha256})

        result = once(job.marker(name), key, folder, parse)
        check_rows(path, result["rows"])
        done += result["rows"]
        source = Source(name=path.name, size_bytes=status.st_size, sha256=result["sha256"])
        found.append((split, Rows(folder, 0, result["rows"]), fingerprint(key=key, sha256=source.sha256), source))
    return _assigned(found)


def _assigned(found: list[tuple[str, Rows, str, Source]]) -> Input:
    """Give each file's rows to the splits that they belong to."""
    read, before = Input(), 0
    cut = 6 * sum(len(rows) for split, rows, _, _ in found if split == "whole") // 7
    for split, rows, key, source in found:
        for part, start, stop in _parts(split, len(rows), cut - before):
            if stop > start or split == part:
                read.add(part, Rows(rows.folder, start, stop), key, source)
        before += len(rows) if split == "whole" else 0
    if cut == 0 and before:
        raise KitError("the files hold a single row; at least 2 are needed, since the last seventh is the test part")
    return read


def _numbered(files: Files) -> Iterator[tuple[str, int, Path]]:
    for split in SPLITS:
        for number, path in enumerate(getattr(files, split)):
            yield split, number, path
    if files.halve is not None:
        yield "halve", 0, files.halve
    for number, path in enumerate(files.whole):
        yield "whole", number, path


def _parts(split: str, rows: int, cut: int) -> list[tuple[str, int, int]]:
    """Which rows of a file belong to which split (`run_spark.sh:113-124` for the halves); `cut` is for files of a whole."""
    if split == "halve":
        return [("test", 0, rows // 2), ("validation", rows // 2, rows)]
    if split == "whole":
        cut = min(max(cut, 0), rows)
        return [("train", 0, cut), ("test", cut, rows)]
    return [(split, 0, rows)]
