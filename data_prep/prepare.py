"""Raw text files -> a prepared data set: parse and count, number, encode, write."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import narwhals as nw
import numpy as np
import polars as pl

from data_prep import definition, polars_engine
from data_prep.raw import CATEGORICAL, LABEL, NUMERICAL, read_blocks
from data_prep.writer import SplitWriter, shuffled_positions
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
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import input_file, keep_apart, make_output_folder, sha256_bytes, sha256_file, write_atomic
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import Metric, Recorder, recording

SplitName = Literal["train", "validation", "test"]
MERGE_EVERY = 16
_OURS = re.compile(r"(label|numerical|cat_\d+)\.bin(\.part)?")


@dataclass(frozen=True)
class _Job:
    """What one call was asked for, and where it works."""

    files: dict[str, list[Path]]
    work: Path
    preparation: Preparation
    progress: Progress


@dataclass
class _Parsed:
    """Frames of codes on disk, in input order, one file a block."""

    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    blocks: dict[str, list[Path]] = field(default_factory=lambda: {name: [] for name in SPLITS})


def prepare(
    *,
    train: Sequence[Path],
    test: Sequence[Path],
    out: Path,
    validation: Sequence[Path] = (),
    preparation: Preparation | None = None,
    engine: str = polars_engine.NAME,
    progress: Progress = silent,
) -> DatasetSpec:
    """Prepare the files of each split as they are given; none is ever split.

    Parameters
    ----------
    train, test, validation : sequence of Path
        Raw Criteo files, plain or gzip, in input order. Without `validation` the last tenth of the training rows is
        marked, in `dataset.json`, as what training may hold back for its stopping rule.
    out : Path
        The DATA folder: `dataset.json`, `vocabulary.parquet`, `run.json` and one folder a split.
    preparation : Preparation, optional
        Frequency limit, vocabulary, numerical transform, shuffle seed.
    engine : {'polars'}
        What runs the definition.
    progress : callable (what, done, total)
        Called with rows done.

    Raises
    ------
    KitError
        If a file is missing, empty, damaged or malformed (with file and line), or `out` cannot be written. Nothing but
        `run.json`, which says failed and why, is left in `out` then.
    """
    preparation = preparation or Preparation()
    if engine != polars_engine.NAME:
        raise KitError(f"--engine {engine}: only '{polars_engine.NAME}' is built; use that")
    files: dict[str, list[Path]] = {"train": list(train), "validation": list(validation), "test": list(test)}
    for name in ("train", "test"):
        if not files[name]:
            raise KitError(f"no {name} files; name at least one with --{name}")
    for path in (path for paths in files.values() for path in paths):
        input_file(path, "a raw Criteo file")
    keep_apart((path for paths in files.values() for path in paths), out)
    _refuse_strangers(out)
    make_output_folder(out)
    config = (
        preparation.model_dump() | {"engine": engine} | {name: [p.name for p in paths] for name, paths in files.items()}
    )
    with recording(
        out,
        "prepare",
        name=out.resolve().name,
        repeat=_repeat(files, preparation),
        config=config,
        seeds={"shuffle": preparation.shuffle_seed},
    ) as recorder:
        work = out / ".work"
        shutil.rmtree(work, ignore_errors=True)
        try:
            return _prepare(_Job(files, work, preparation, progress), out, recorder)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _refuse_strangers(out: Path) -> None:
    """The folders of the splits are replaced whole: nothing but our own files may lie there."""
    for folder in (out / name for name in SPLITS):
        if folder.exists() and not folder.is_dir():
            raise KitError(f"{folder}: is a file, where the {folder.name} part goes; name another --out")
        for path in folder.iterdir() if folder.is_dir() else ():
            if not _OURS.fullmatch(path.name):
                raise KitError(f"{path}: is not of a prepared data set, whose folder is replaced; name another --out")


def _prepare(job: _Job, out: Path, recorder: Recorder) -> DatasetSpec:
    preparation = job.preparation
    with recorder.timed("parse and count"):
        parsed, counts = _parse_and_count(job)
    with recorder.timed("number"):
        vocabularies = {c: definition.number_values(counts[c], preparation.frequency_limit) for c in CATEGORICAL}
        features = tuple(_feature(i, c, len(vocabularies[c]), preparation) for i, c in enumerate(CATEGORICAL))
    with recorder.timed("encode and write"):
        splits = {name: _write_split(job, name, parsed, vocabularies, features) for name in SPLITS}
    spec = _describe(splits, features, vocabularies, preparation)
    with recorder.timed("publish"):
        _publish(job.work, out, spec, vocabularies)
        read_dataset(out)
    rows = tuple(
        Metric(name="rows", value=split.rows, unit="rows", split=name, selection="all rows given")
        for name, split in splits.items()
    )
    recorder.update(
        metrics=rows, dataset_digest=spec.digest, outputs={"dataset.json": sha256_bytes(spec.to_json().encode())}
    )
    return spec


def _parse_and_count(job: _Job) -> tuple[_Parsed, dict[str, nw.DataFrame]]:
    parsed = _Parsed()
    parts: dict[str, list[nw.DataFrame]] = {c: [] for c in CATEGORICAL}
    counted = SPLITS if job.preparation.vocabulary == "all" else ("train",)
    job.work.mkdir()
    for name in SPLITS:
        for block in (block for path in job.files[name] for block in read_blocks(path)):
            frame = polars_engine.parse(block)
            target = job.work / f"{name}-{len(parsed.blocks[name]):06d}.arrow"
            frame.write_ipc(target)
            parsed.blocks[name].append(target)
            parsed.rows[name] += frame.height
            if name in counted:
                _count_block(frame, parts)
            job.progress("parse and count", sum(parsed.rows.values()), 0)
    return parsed, {c: definition.merge_counts(parts[c]) for c in CATEGORICAL}


def _count_block(frame: pl.DataFrame, parts: dict[str, list[nw.DataFrame]]) -> None:
    narwhal = nw.from_native(frame, eager_only=True)
    for column, counts in parts.items():
        counts.append(definition.count_values(narwhal, column))
        if len(counts) >= MERGE_EVERY:
            counts[:] = [definition.merge_counts(counts)]


def _feature(index: int, name: str, kept: int, preparation: Preparation) -> CategoricalFeature:
    cardinality = kept + 1
    return CategoricalFeature(
        name=name,
        file=f"cat_{index}.bin",
        cardinality=cardinality,
        dtype=id_dtype(cardinality),
        frequency_limit=preparation.frequency_limit,
    )


def _write_split(
    job: _Job,
    name: str,
    parsed: _Parsed,
    vocabularies: dict[str, nw.DataFrame],
    features: tuple[CategoricalFeature, ...],
) -> Split:
    rows = parsed.rows[name]
    holdback = rows // 10 if name == "train" and not job.files["validation"] else 0
    seed = job.preparation.shuffle_seed if name == "train" else None
    positions = np.arange(rows, dtype=np.int64) if seed is None else shuffled_positions(rows, holdback, seed)
    writer = SplitWriter(job.work / name, rows, NUMERICAL, features)
    start = 0
    for frame in _encoded(parsed.blocks[name], vocabularies, job.preparation):
        stop = start + len(frame)
        writer.put(
            positions[start:stop],
            frame[LABEL].to_numpy(),
            frame.select(NUMERICAL).to_numpy(),
            {c: frame[c].to_numpy() for c in CATEGORICAL},
        )
        start = stop
        job.progress(f"encode and write {name}", start, rows)
    return Split(
        rows=rows,
        digests=writer.finish(),
        sources=tuple(Source(name=p.name, size_bytes=p.stat().st_size, sha256=sha256_file(p)) for p in job.files[name]),
        shuffle_seed=seed,
        holdback_rows=holdback,
    )


def _encoded(
    blocks: list[Path], vocabularies: dict[str, nw.DataFrame], preparation: Preparation
) -> Iterator[nw.DataFrame]:
    numerical = [definition.transform_numerical(c, preparation.numerical_transform) for c in NUMERICAL]
    for path in blocks:
        native = pl.read_ipc(path, memory_map=False)
        frame = nw.from_native(native, eager_only=True).with_row_index(definition.ROW).with_columns(*numerical)
        for column in CATEGORICAL:
            frame = definition.encode(frame, column, vocabularies[column])
        yield frame.sort(definition.ROW)
        path.unlink()


def _describe(
    splits: dict[str, Split],
    features: tuple[CategoricalFeature, ...],
    vocabularies: dict[str, nw.DataFrame],
    preparation: Preparation,
) -> DatasetSpec:
    values = {
        c: sha256_bytes(np.ascontiguousarray(v[definition.VALUE].to_numpy(), dtype="<u4").tobytes())
        for c, v in vocabularies.items()
    }
    vocabulary_digest = sha256_bytes(json.dumps(values).encode())
    return DatasetSpec(
        numerical=NUMERICAL,
        categorical=features,
        preparation=preparation,
        engine=polars_engine.NAME,
        vocabulary_digest=vocabulary_digest,
        splits=splits,  # type: ignore[arg-type]
        digest=DatasetSpec.digest_of(features, preparation, vocabulary_digest, splits),
    )


def _publish(work: Path, out: Path, spec: DatasetSpec, vocabularies: dict[str, nw.DataFrame]) -> None:
    (out / "dataset.json").unlink(missing_ok=True)
    for name in SPLITS:
        shutil.rmtree(out / name, ignore_errors=True)
        (work / name).replace(out / name)
    vocabulary = pl.concat(
        v.to_native().select(pl.lit(c).alias("feature"), definition.VALUE, definition.ID)
        for c, v in vocabularies.items()
    )
    part = work / "vocabulary.parquet"
    vocabulary.write_parquet(part)
    part.replace(out / "vocabulary.parquet")
    write_atomic(out / "dataset.json", spec.to_json())


def _repeat(files: dict[str, list[Path]], preparation: Preparation) -> str:
    named = " ".join(f"--{name} {' '.join(path.name for path in paths)}" for name, paths in files.items() if paths)
    return f"dlrm prepare {named} --out DATA --frequency-limit {preparation.frequency_limit} --vocabulary {preparation.vocabulary}"
