"""The stages of preprocessing, each done once and found again by its marker: parse, count, encode, write.

::

    raw file k --parse--> codes of k --count column c--> vocabulary of c --encode k--> buckets of k --write--> final files

A stage's key is the digest of all that it depends on. So a killed run goes on where it was, and a run with another
frequency limit reads no text again as long as the work folder is there.
"""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import narwhals as nw
import numpy as np
import polars as pl

from data_prep import definition, feature_spec
from data_prep.engines.base import Engine, Rows
from data_prep.permutation import shuffled_positions
from data_prep.published import check_rows
from data_prep.threads import in_order
from data_prep.writer import RowLayout, Scatter, gather
from dlrm_core.schema.dataset import (
    SPLITS,
    CategoricalFeature,
    DatasetSpec,
    Preparation,
    Source,
    Split,
    id_dtype,
    read_dataset,
)
from dlrm_core.schema.environment import source_digest
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_bytes, write_atomic
from dlrm_core.schema.progress import Progress
from dlrm_core.schema.record import Recorder
from dlrm_core.schema.stages import Made, Marker, fingerprint, once

WORK = ".work"
ROOMS = ("data_prep", "dlrm_core/schema")
BYTES_PER_VOCABULARY_VALUE = 64  # value, id, and the hash table of a join
Vocabularies = dict[str, pl.DataFrame]


@dataclass(frozen=True)
class Files:
    """Raw files of each part, in input order.

    Attributes
    ----------
    train, validation, test : tuple of Path
    halve : Path, optional
        The first half of its rows is the test part, the rest the validation part.
    whole : tuple of Path
        Of all their rows, in order, the first floor(6 n / 7) are the training part, the rest the test part.
    """

    train: tuple[Path, ...]
    validation: tuple[Path, ...]
    test: tuple[Path, ...]
    halve: Path | None = None
    whole: tuple[Path, ...] = ()

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file, as often as it was named."""
        return (*self.train, *self.validation, *self.test, *([self.halve] if self.halve else []), *self.whole)

    def names(self) -> dict[str, list[str]]:
        """Names without folders, for a record."""
        named = {name: [path.name for path in getattr(self, name)] for name in SPLITS}
        named |= {"halve": [self.halve.name]} if self.halve else {}
        return named | ({"whole": [path.name for path in self.whole]} if self.whole else {})


@dataclass(frozen=True)
class Job:
    """What one call was asked for, and where it works."""

    files: Files
    work: Path
    preparation: Preparation
    engine: Engine
    memory_bytes: int
    progress: Progress

    def marker(self, name: str) -> Marker:
        """Where a stage says that it is done."""
        return Marker(self.work, name)

    @property
    def common_key(self) -> dict[str, str]:
        """What every stage depends on: the engine, what it reads, and our sources."""
        return {"engine": self.engine.name, "reads": self.engine.reads, "sources": source_digest(ROOMS)}


@dataclass
class Input:
    """What was read: the rows of each split, where each comes from, and the key of each part."""

    parts: dict[str, list[Rows]] = field(default_factory=lambda: {name: [] for name in SPLITS})
    keys: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in SPLITS})
    sources: dict[str, list[Source]] = field(default_factory=lambda: {name: [] for name in SPLITS})

    def rows(self, split: str) -> int:
        """Rows of a split."""
        return sum(map(len, self.parts[split]))

    def add(self, split: str, rows: Rows, key: str, source: Source) -> None:
        """Append a part to a split."""
        self.parts[split].append(rows)
        self.keys[split].append(f"{key} {rows.start} {rows.stop}")
        self.sources[split].append(source)


def run(job: Job, out: Path, recorder: Recorder) -> DatasetSpec:
    """Run what is not done yet, and publish the data set in `out`.

    Raises
    ------
    KitError
        If a file is damaged or malformed, or the vocabularies do not fit into memory.
    """
    with recorder.timed("parse"):
        read = _parse(job)
    with recorder.timed("count"):
        vocabularies = _count(job, read)
    columns = job.engine.columns
    features = tuple(_feature(i, c, len(vocabularies[c]), job.preparation) for i, c in enumerate(columns.categorical))
    vocabulary_digest = _vocabulary_digest(vocabularies)
    splits: dict[str, Split] = {}
    for name in SPLITS:
        plan = _SplitPlan.of(job, name, read, features)
        with recorder.timed("encode"):
            scattered = _encode(job, plan, vocabularies, vocabulary_digest)
        with recorder.timed("write"):
            digests = _write(job, plan, scattered)
        splits[name] = Split(
            rows=plan.layout.rows,
            digests=digests,
            sources=tuple(read.sources[name]),
            shuffle_seed=plan.seed,
            holdback_rows=plan.holdback_rows,
        )
    with recorder.timed("publish"):
        spec = DatasetSpec(
            numerical=columns.numerical,
            categorical=features,
            preparation=job.preparation,
            engine=job.engine.name,
            vocabulary_digest=vocabulary_digest,
            splits=splits,  # type: ignore[arg-type]
            digest=DatasetSpec.digest_of(features, job.preparation, vocabulary_digest, splits),
        )
        _publish(job.work, out, spec, vocabularies)
        read_dataset(out)
    return spec


def clean(work: Path) -> None:
    """Take away the work of a data set that is published, or else what no finished stage stands for."""
    if not work.is_dir():
        return
    kept = {work / "lock"}
    published = not (work / "stages").is_dir()
    for path in () if published else (work / "stages").iterdir():
        marker = Marker(work, path.stem)
        kept |= {path, *(work / name for name in marker.read()["outputs"])}
    for path in sorted(work.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in kept:
            path.unlink()
    if {path.name for path in work.iterdir()} <= {"lock"}:
        shutil.rmtree(work)


def _parse(job: Job) -> Input:
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


def _count(job: Job, read: Input) -> Vocabularies:
    counted = SPLITS if job.preparation.vocabulary == "all" else ("train",)
    parts = [part for split in counted for part in read.parts[split]]
    keys = [key for split in counted for key in read.keys[split]]
    vocabularies = {}
    for number, column in enumerate(job.engine.columns.categorical):
        limit, folder = job.preparation.limit_of(column), job.work / _count_folder(number, column)
        path = folder / "vocabulary.parquet"

        def count(column: str = column, limit: int = limit, path: Path = path) -> None:
            frequent = nw.from_native(job.engine.frequent(parts, column, limit), eager_only=True)
            path.parent.mkdir()
            definition.number_values(frequent).to_native().write_parquet(path)

        once(
            job.marker(folder.name),
            fingerprint(**job.common_key, parts=keys, column=column, limit=limit),
            folder,
            count,
        )
        vocabularies[column] = pl.read_parquet(path, glob=False)
        job.progress("count: columns", number + 1, len(job.engine.columns.categorical))
    _check_memory(job, vocabularies)
    return vocabularies


def _count_folder(number: int, column: str) -> str:
    """Named by the column, or by its number where a folder cannot be called so."""
    return f"count-{column if re.fullmatch(r'[A-Za-z0-9_]{1,80}', column) else f'no-{number}'}"


def _check_memory(job: Job, vocabularies: Vocabularies) -> None:
    needed = sum(map(len, vocabularies.values())) * BYTES_PER_VOCABULARY_VALUE
    if needed > job.memory_bytes // 2:
        raise KitError(
            f"the vocabularies hold {sum(map(len, vocabularies.values())):,} values and need about {needed >> 20:,} MiB while "
            f"rows are encoded, half of --memory is {job.memory_bytes >> 21:,} MiB; give a larger --memory or a higher "
            "--frequency-limit"
        )


def _feature(index: int, name: str, kept: int, preparation: Preparation) -> CategoricalFeature:
    cardinality = kept + 1
    return CategoricalFeature(
        name=name,
        file=f"cat_{index}.bin",
        cardinality=cardinality,
        dtype=id_dtype(cardinality),
        frequency_limit=preparation.limit_of(name),
    )


def _vocabulary_digest(vocabularies: Vocabularies) -> str:
    return sha256_bytes(
        json.dumps({c: sha256_bytes(_bytes(v[definition.VALUE])) for c, v in vocabularies.items()}).encode()
    )


def _bytes(values: pl.Series) -> bytes:
    """Values in the order of their ids as bytes that no other values have."""
    if values.dtype == pl.UInt32:
        return np.ascontiguousarray(values.to_numpy(), dtype="<u4").tobytes()
    return json.dumps([str(values.dtype), values.to_list()]).encode()


@dataclass(frozen=True)
class _SplitPlan:
    """Where the rows of a split come from and where they go."""

    name: str
    parts: list[Rows]
    keys: list[str]
    layout: RowLayout
    seed: int | None
    holdback_rows: int

    @classmethod
    def of(cls, job: Job, name: str, read: Input, features: tuple[CategoricalFeature, ...]) -> "_SplitPlan":
        rows = read.rows(name)
        train = name == "train"
        layout = RowLayout(rows, job.engine.columns.numerical, features, bucket_bytes=job.memory_bytes >> 7)
        holdback = rows // 10 if train and not read.rows("validation") else 0
        seed = job.preparation.shuffle_seed if train else None
        return cls(name, read.parts[name], read.keys[name], layout, seed, holdback)

    def positions(self, start: int, count: int) -> np.ndarray:
        """Final positions of `count` input rows from `start` on."""
        if self.seed is None:
            return np.arange(start, start + count, dtype=np.int64)
        return shuffled_positions(self.layout.rows, self.holdback_rows, self.seed, start, start + count)


def _encode(job: Job, plan: _SplitPlan, vocabularies: Vocabularies, vocabulary_digest: str) -> list[Path]:
    start, folders = 0, []
    for number, (part, part_key) in enumerate(zip(plan.parts, plan.keys, strict=True)):
        folder = job.work / f"encode-{plan.name}-{number:04d}"
        key = fingerprint(
            **job.common_key,
            part=part_key,
            vocabulary=vocabulary_digest,
            preparation=job.preparation.model_dump(),
            place=[start, plan.layout.rows, plan.holdback_rows, plan.layout.bucket_bytes],
        )

        def encode(part: Rows = part, folder: Path = folder, start: int = start) -> None:
            _scatter(
                job, plan, job.engine.encoded(part, vocabularies, job.preparation.numerical_transform), folder, start
            )

        once(job.marker(folder.name), key, folder, encode)
        folders.append(folder)
        start += len(part)
    return folders


def _scatter(job: Job, plan: _SplitPlan, frames: Iterable[pl.DataFrame], folder: Path, start: int) -> None:
    """Send each row to its bucket; one thread does that while the engine makes the next frame."""
    scatter, sent, columns = Scatter(folder, plan.layout), start, job.engine.columns

    def placed() -> Iterator[tuple[int, pl.DataFrame]]:
        at = start
        for frame in frames:
            yield at, frame
            at += len(frame)

    def put(job_: tuple[int, pl.DataFrame]) -> int:
        at, frame = job_
        numerical = frame.select(columns.numerical).to_numpy() if columns.numerical else np.empty((len(frame), 0))
        ids = {c: frame[c].to_numpy() for c in columns.categorical}
        scatter.put(plan.positions(at, len(frame)), frame[columns.label].to_numpy(), numerical, ids)
        return len(frame)

    with closing(in_order(put, placed(), threads=1)) as counts:
        for count in counts:
            sent += count
            job.progress(f"encode {plan.name}", sent, plan.layout.rows)


def _write(job: Job, plan: _SplitPlan, scattered: list[Path]) -> dict[str, str]:
    folder = job.work / f"write-{plan.name}"
    keys = [job.marker(path.name).read()["key"] for path in scattered]
    key = fingerprint(
        **job.common_key, parts=keys, layout=[plan.layout.rows, [f.model_dump() for f in plan.layout.features]]
    )

    def write() -> Made:
        digests = gather(scattered, plan.layout, folder)
        return Made({folder / name: digest for name, digest in digests.items()}, digests)

    digests: dict[str, str] = once(job.marker(folder.name), key, folder, write)
    job.progress(f"write {plan.name}", plan.layout.rows, plan.layout.rows)
    return digests


def _publish(work: Path, out: Path, spec: DatasetSpec, vocabularies: Vocabularies) -> None:
    types = {v[definition.VALUE].dtype for v in vocabularies.values()}
    value = pl.col(definition.VALUE) if len(types) == 1 else pl.col(definition.VALUE).cast(pl.String)
    vocabulary = pl.concat(v.select(pl.lit(c).alias("feature"), value, definition.ID) for c, v in vocabularies.items())
    vocabulary.write_parquet(work / "vocabulary.parquet")
    (out / "dataset.json").unlink(missing_ok=True)
    for name in SPLITS:
        shutil.rmtree(out / name, ignore_errors=True)
        (work / f"write-{name}").replace(out / name)
    (work / "vocabulary.parquet").replace(out / "vocabulary.parquet")
    write_atomic(out / feature_spec.FILE, feature_spec.feature_spec_of(spec))
    write_atomic(out / "dataset.json", spec.to_json())
    shutil.rmtree(work / "stages")  # from here on the work folder stands for nothing
