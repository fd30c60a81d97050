"""The planted sample: a click log in the raw Criteo format whose best attainable AUC and log loss are known.

Without the real logs nothing could be said about a model's quality, so the project draws its own: the same lines
(label, 13 integers, 26 categorical values, tab separated, missing fields empty), clicks from a seeded teacher. The
teacher and what it can attain lie in a folder of their own, so that no reader of the raw files meets them.
"""

import math
import os
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data_prep.planted_best import attainable, describe
from data_prep.planted_rows import CARDINALITIES, INTEGER_MISSING, MISSING_INTEGER, Features, FloatArray, draw_features
from data_prep.planted_teacher import Teacher, build_teacher
from data_prep.threads import in_order
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import make_output_folder, sha256_file, write_atomic
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import FILE

CHUNK_ROWS = 1 << 15  # one random stream each: part of what fixes the bytes, not a setting
MIN_ROWS_PER_DAY = 100
THREADS = 2  # more are of little use: Polars has its own
TEACHER_FOLDER = "teacher"


@dataclass(frozen=True)
class SampleRecord:
    """What `write_sample` wrote.

    Attributes
    ----------
    files : tuple of Path
        day_0, day_1, ...
    rows_per_day : tuple of int
    click_rate : float
        Over all rows.
    best_auc, best_log_loss : float
        Attainable on the last day, the one that models are tested on; see `Attainable`.
    seconds : float
    """

    files: tuple[Path, ...]
    rows_per_day: tuple[int, ...]
    click_rate: float
    best_auc: float
    best_log_loss: float
    seconds: float


@dataclass(frozen=True)
class _Chunk:
    text: bytes
    labels: NDArray[np.bool_]
    probabilities: FloatArray


def write_sample(out: Path, *, rows: int, days: int, seed: int, progress: Progress = silent) -> SampleRecord:
    """Write out/day_0, out/day_1, ... with `rows` rows in all, and the teacher under out/teacher.

    The same rows, days and seed give the same bytes, whatever the number of threads. An earlier sample in `out` is
    replaced; teacher/teacher.json comes last, so that its presence means a whole sample.

    Parameters
    ----------
    out : Path
        New or empty folder, or one that holds an earlier sample and nothing else.
    rows, days : int
        The first days are a row longer where `days` does not divide `rows`.
    seed : int
        Of the teacher and of the rows.
    progress : callable (what, done, total)
        Called in this thread with the rows written so far and the rows in all.

    Returns
    -------
    SampleRecord

    Raises
    ------
    KitError
        If days < 2, there are fewer than 100 rows a day, seed < 0, or `out` is a file or holds something else.
    """
    started = time.perf_counter()
    check_request(out, rows, days, seed)
    teacher = build_teacher(seed)
    # The teacher's arrays go first: they mark the folder as ours if this run is interrupted.
    folder = _prepare(out, days)
    with _whole_file(folder / "teacher.npz") as handle:
        teacher.save(handle)
    rows_per_day = tuple(rows // days + (day < rows % days) for day in range(days))
    labels, probabilities = _write_days(out, teacher, rows_per_day, progress)
    best = attainable(labels, probabilities, rows_per_day)
    digests = [sha256_file(out / f"day_{day}") for day in range(days)]
    write_atomic(folder / "teacher.json", describe(seed, digests, best).to_json())
    return SampleRecord(
        files=tuple(out / f"day_{day}" for day in range(days)),
        rows_per_day=rows_per_day,
        click_rate=best["all"].click_rate,
        best_auc=best["last_day"].auc,
        best_log_loss=best["last_day"].log_loss,
        seconds=time.perf_counter() - started,
    )


def read_features(teacher: Teacher, path: Path) -> tuple[NDArray[np.bool_], Features]:
    """Read a raw day file back: labels bool (N,), and the rows as the teacher takes them.

    Raises
    ------
    KitError
        If a categorical value is not the teacher's.
    """
    frame = pl.read_csv(path, separator="\t", has_header=False, infer_schema=False)
    columns = [frame[:, column] for column in range(1 + len(INTEGER_MISSING) + len(CARDINALITIES))]
    integers = [c.cast(pl.Int32).fill_null(MISSING_INTEGER).to_numpy() for c in columns[1 : 1 + len(INTEGER_MISSING)]]
    ranks = np.zeros((len(CARDINALITIES), len(frame)), np.int32)
    for feature, column in enumerate(columns[1 + len(INTEGER_MISSING) :]):
        present = column.is_not_null().to_numpy()
        values = column.drop_nulls().str.to_integer(base=16, dtype=pl.UInt32).to_numpy()
        ranks[feature, present] = teacher.ranks_of(feature, values)
    return columns[0].to_numpy() == "1", Features(np.stack(integers), ranks)


def check_request(out: Path, rows: int, days: int, seed: int) -> None:
    """Refuse what :func:`write_sample` cannot do, before anything is written.

    Raises
    ------
    KitError
        As there.
    """
    if days < 2:
        raise KitError(f"days {days}: at least 2 are needed, the last one is for testing; give a larger --days")
    if rows < MIN_ROWS_PER_DAY * days:
        raise KitError(
            f"rows {rows} for {days} days: at least {MIN_ROWS_PER_DAY} a day, {MIN_ROWS_PER_DAY * days} in all, are "
            "needed; give more --rows or fewer --days"
        )
    if seed < 0:
        raise KitError(f"seed {seed}: a number from 0 on is needed; give another --seed")
    if not out.is_dir():
        return  # `make_output_folder` tells a file from a new folder
    names = {path.name for path in out.iterdir()} - {FILE}
    # Without a teacher beside them, files named day_N may be the real logs, which took a day to fetch.
    ours = (out / TEACHER_FOLDER / "teacher.npz").is_file()
    foreign = sorted(
        n for n in names if not (ours and (n == TEACHER_FOLDER or re.fullmatch(r"day_\d+(\.\d+\.part)?", n)))
    )
    if foreign:
        raise KitError(
            f"{out}: holds {', '.join(foreign[:3])}{' and more' if len(foreign) > 3 else ''}; an empty folder, or one "
            "with nothing but an earlier planted sample, is needed; name another --out"
        )


def _prepare(out: Path, days: int) -> Path:
    """Make the folders and take away what an earlier sample would leave behind; return the teacher's folder."""
    make_output_folder(out)
    folder = out / TEACHER_FOLDER
    make_output_folder(folder)
    (folder / "teacher.json").unlink(missing_ok=True)
    for path in out.glob("day_*"):
        if path.suffix == ".part" or int(path.name.removeprefix("day_")) >= days:
            path.unlink()
    return folder


def _write_days(
    out: Path, teacher: Teacher, rows_per_day: tuple[int, ...], progress: Progress
) -> tuple[NDArray[np.bool_], FloatArray]:
    """Write the day files; return every row's label, bool (N,), and click probability, float64 (N,)."""
    total, done = sum(rows_per_day), 0
    labels, probabilities = np.empty(total, np.bool_), np.empty(total)
    names = [_field_names(teacher, feature) for feature in range(len(CARDINALITIES))]
    jobs = [
        (day, chunk, min(CHUNK_ROWS, rows - chunk * CHUNK_ROWS))
        for day, rows in enumerate(rows_per_day)
        for chunk in range(math.ceil(rows / CHUNK_ROWS))
    ]
    with closing(in_order(lambda job: _draw_chunk(teacher, names, *job), jobs, threads=THREADS)) as chunks:
        for day, rows in enumerate(rows_per_day):
            with _whole_file(out / f"day_{day}") as handle:
                for chunk in islice(chunks, math.ceil(rows / CHUNK_ROWS)):
                    handle.write(chunk.text)
                    end = done + len(chunk.labels)
                    labels[done:end], probabilities[done:end] = chunk.labels, chunk.probabilities
                    done = end
                    progress("sample", done, total)
    return labels, probabilities


def _draw_chunk(teacher: Teacher, names: list[pl.Series], day: int, chunk: int, rows: int) -> _Chunk:
    """Draw the rows of one chunk from its own random stream and write them as text."""
    rng = np.random.default_rng(np.random.SeedSequence(teacher.seed, spawn_key=(day, chunk)))
    features = draw_features(rng, rows)
    probabilities = teacher.probabilities(features)
    labels = rng.random(rows) < probabilities
    columns = [pl.Series("label", labels.astype(np.int8))]
    for j, values in enumerate(features.integers):
        column = pl.Series(f"I{j + 1}", values)
        columns.append(column.set(column == MISSING_INTEGER, None) if INTEGER_MISSING[j] else column)
    for f, ranks in enumerate(features.ranks):
        columns.append(names[f].gather(pl.Series(ranks.view(np.uint32))).alias(f"C{f + 1}"))
    # Never quote: an empty string would be written as "".
    text = pl.DataFrame(columns).write_csv(include_header=False, separator="\t", quote_style="never")
    return _Chunk(text.encode(), labels, probabilities)


def _field_names(teacher: Teacher, feature: int) -> pl.Series:
    """Text of the ranks 0 .. K of one feature: the empty field, then eight hexadecimal digits each."""
    digits = teacher.names_of(feature).astype(">u4").tobytes().hex()
    return pl.Series(["", *(digits[start : start + 8] for start in range(0, len(digits), 8))])


@contextmanager
def _whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that is flushed to disk and renamed onto `path` on success, and taken away otherwise."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
