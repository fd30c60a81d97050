"""The stages that the notebooks share; each is done once, see :mod:`dlrm_core.schema.stages`."""

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrm_core.schema.config import Preset
from dlrm_core.schema.dataset import Preparation, read_dataset
from dlrm_core.schema.environment import source_digest
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import input_file, sha256_file
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.stages import Marker, fingerprint, once
from dlrm_core.train.sweep import MODEL_ROOMS, OtherSweepError, sweep
from dlrm_core.train.sweep_request import Request

DATA_ROOMS = ("data_prep", "dlrm_core/schema")
BASELINE_ROOMS = (*MODEL_ROOMS, "dlrm_core/baselines.py")
BENCH_ROOMS = (*MODEL_ROOMS, "dlrm_core/bench")


@dataclass(frozen=True)
class Raw:
    """Raw files to prepare, and whether they are the planted sample (whose rows may be shown).

    Without `test` the last seventh of the rows of `train` is the test part.
    """

    train: list[Path]
    test: list[Path]
    planted: bool

    @property
    def parts(self) -> dict[str, list[Path]]:
        """The files as `prepare` takes them."""
        return {"train": self.train, "test": self.test} if self.test else {"whole": self.train}

    def __str__(self) -> str:
        train, test = (", ".join(path.name for path in files) for files in (self.train, self.test))
        return (
            f"{train} to train on, {test} to test on" if test else f"{train}, the last seventh of the rows to test on"
        )


def ensure_raw(folder: Path, preset: Preset, train: list[str], test: list[str], progress: Progress = silent) -> Raw:
    """The raw files: the user's own, or the planted sample, made if need be.

    Raises
    ------
    KitError
        If a file is missing, or the preset has no sample and no file was named.
    """
    own_train, own_test = [Path(name) for name in train], [Path(name) for name in test]
    for path in own_train + own_test:
        input_file(path, "a raw Criteo file")
    if own_test and not own_train:
        raise KitError("test files came without training files; name some (TRAIN=... with make)")
    return Raw(own_train, own_test, planted=False) if own_train else _sample(folder, preset, progress)


def _sample(folder: Path, preset: Preset, progress: Progress) -> Raw:
    from data_prep.sample import make_sample

    sample = preset.sample
    if sample is None:
        raise KitError(
            "this preset has no planted sample; name your own raw files (make reproduce PRESET=... TRAIN=...)"
        )
    raw = folder / "raw"
    key = fingerprint(sample=sample.model_dump(), sources=source_digest(DATA_ROOMS))
    once(
        Marker(folder, "sample"),
        key,
        raw,
        lambda: make_sample(out=raw, rows=sample.rows, days=sample.days, seed=sample.seed, progress=progress),
    )
    days = [raw / f"day_{day}" for day in range(sample.days)]
    return Raw(days[:-1], days[-1:], planted=True)


def ensure_data(folder: Path, preset: Preset, raw: Raw, progress: Progress = silent) -> Path:
    """The prepared data set, FOLDER/data, made if need be."""
    from data_prep.prepare import prepare

    data = folder / "data"
    digests = [[sha256_file(path) for path in files] for files in (raw.train, raw.test)]
    key = fingerprint(files=digests, preparation=preset.prepare.model_dump(), sources=source_digest(DATA_ROOMS))
    once(
        Marker(folder, "prepare"),
        key,
        data,
        lambda: prepare(**raw.parts, out=data, preparation=preset.prepare, progress=progress),
    )
    return data


def ensure_baselines(folder: Path, data: Path, name: str, preset: Preset, progress: Progress = silent) -> Path:
    """The baselines of the preset called `name`, fitted on `data`, FOLDER/baselines, made if need be."""
    from dlrm_core.baselines import run_baselines

    out = folder / "baselines"
    key = fingerprint(
        data=read_dataset(data).digest, config=preset.baselines.model_dump(), sources=source_digest(BASELINE_ROOMS)
    )
    once(
        Marker(folder, "baselines"),
        key,
        out,
        lambda: run_baselines(data=data, out=out, config=preset.baselines, preset=name, progress=progress),
    )
    return out


def run_name(preset: Preset, overrides: list[str]) -> str:
    """Folder name of a run: by seed, and by a digest of the other overrides if there are any."""
    others = sorted(override for override in overrides if not override.startswith("seed="))
    variant = f"{fingerprint(overrides=others)[:8]}-" if others else ""
    return f"dlrm-{variant}seed-{preset.train.seed}"


def ensure_run(
    folder: Path,
    data: Path,
    name: str,
    preset: Preset,
    overrides: list[str],
    listener: Callable[[Any], None],
    progress: Progress = silent,
) -> Path:
    """A model trained and evaluated on `data`, FOLDER/dlrm-seed-N, made if need be."""
    from dlrm_core.train.run import train
    from dlrm_core.train.scoring import evaluate

    run = folder / run_name(preset, overrides)
    key = fingerprint(
        data=read_dataset(data).digest, config=preset.train.model_dump(), sources=source_digest(MODEL_ROOMS)
    )

    def fit() -> None:
        train(data=data, out=run, config=preset.train, preset=name, overrides=overrides, listener=listener)
        evaluate(run=run, data=data, progress=progress)

    once(Marker(folder, run.name), key, run, fit)
    return run


def ensure_throughput(folder: Path, asked: Any, progress: Progress = silent) -> Path:
    """The training speeds that an `Asked` of `dlrm_core.bench` names, FOLDER/throughput, measured if need be."""
    from dlrm_core.bench.throughput import bench_throughput

    out = folder / "throughput"
    key = fingerprint(asked=asked.to_dict(), sources=source_digest(BENCH_ROOMS))
    once(Marker(folder, "throughput"), key, out, lambda: bench_throughput(out=out, asked=asked, progress=progress))
    return out


def ensure_sweep(folder: Path, data: Path, request: Request, progress: Progress = silent) -> Path:
    """A sweep over seeds and precisions on `data`, FOLDER/sweep, done as far as need be; one of other data goes first."""
    others = fingerprint(overrides=list(request.overrides))[:8] if request.overrides else ""
    out = folder / (f"sweep-{others}" if others else "sweep")
    try:
        sweep(data=data, out=out, request=request, progress=progress)
    except OtherSweepError:
        shutil.rmtree(out)
        sweep(data=data, out=out, request=request, progress=progress)
    return out


TIMED_ROWS = 20_000


def time_engines(path: Path, engines: list[str], preparation: Preparation) -> list[list[object]]:
    """Prepare the first rows of a raw file with each engine, twice; rows of a table: engine, rows, seconds, rows/s, digest.

    Raises
    ------
    KitError
        If an engine is not installed, with what to install.
    """
    from data_prep.prepare import prepare
    from data_prep.raw import read_blocks

    lines = next(read_blocks(path, block_bytes=8 << 20)).data.split(b"\n")[:TIMED_ROWS]
    lines = [line for line in lines if line]
    found: list[list[object]] = []
    with tempfile.TemporaryDirectory() as place:
        sample = Path(place) / "sample"
        sample.write_bytes(b"\n".join(lines) + b"\n")
        for engine in engines:
            for _ in range(2):  # the first run starts the engine, compiles, loads libraries
                start = time.perf_counter()
                spec = prepare(
                    train=[sample], test=[sample], out=Path(place) / engine, engine=engine, preparation=preparation
                )
                seconds = time.perf_counter() - start
            rate = f"{2 * len(lines) / seconds:,.0f}"
            found.append([engine, 2 * len(lines), f"{seconds:.2f}", rate, spec.digest[:16]])
    return found
