"""The stages encode and write: codes become ids in buckets, buckets become the final files, split by split."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from data_prep.count_stage import Vocabularies
from data_prep.engines.base import Rows
from data_prep.job import Input, Job
from data_prep.permutation import shuffled_positions
from data_prep.threads import in_order
from data_prep.writer import RowLayout, Scatter, digests_of, gather
from dlrm_core.schema.dataset import CategoricalFeature
from dlrm_core.schema.stages import Made, fingerprint, once


@dataclass(frozen=True)
class SplitPlan:
    """Where the rows of a split come from and where they go."""

    name: str
    parts: list[Rows]
    keys: list[str]
    layout: RowLayout
    seed: int | None
    holdback_rows: int

    @classmethod
    def of(cls, job: Job, name: str, read: Input, features: tuple[CategoricalFeature, ...]) -> "SplitPlan":
        """The plan of the split called `name`."""
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


def encode_split(job: Job, plan: SplitPlan, vocabularies: Vocabularies, vocabulary_digest: str) -> list[Path]:
    """Turn each part's codes into ids and numbers, in buckets of final positions; say in which folders."""
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

        def encode(part: Rows = part, folder: Path = folder, start: int = start) -> Made:
            frames = job.engine.encoded(part, vocabularies, job.preparation.numerical_transform)
            _scatter(job, plan, frames, folder, start)
            return Made(digests_of(folder))

        once(job.marker(folder.name), key, folder, encode)
        folders.append(folder)
        start += len(part)
    return folders


def _scatter(job: Job, plan: SplitPlan, frames: Iterable[pl.DataFrame], folder: Path, start: int) -> None:
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


def write_split(job: Job, plan: SplitPlan, scattered: list[Path]) -> dict[str, str]:
    """Make the final files from the buckets; give the SHA-256 of each."""
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
