"""The command `prepare`: raw text files in, a prepared data set out; see :mod:`data_prep.pipeline` for its stages."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep.engines import make_engine
from data_prep.estimate import describe, estimate, measure
from data_prep.lock import only_process
from data_prep.pipeline import WORK, Files, Job, clean, run
from data_prep.raw import CATEGORICAL
from dlrm_core.schema.dataset import SPLITS, DatasetSpec, Preparation
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import input_file, keep_apart, make_output_folder, sha256_bytes
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import Metric, recording

DEFAULT_MEMORY_BYTES = 4 << 30
MIN_MEMORY_BYTES = 1 << 30
_OURS = re.compile(r"(label|numerical|cat_\d+)\.bin(\.part)?")


def prepare(  # noqa: PLR0913 - the files of each part, and how
    *,
    train: Sequence[Path],
    test: Sequence[Path] = (),
    out: Path,
    validation: Sequence[Path] = (),
    halve: Path | None = None,
    preparation: Preparation | None = None,
    engine: str = "polars",
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    progress: Progress = silent,
) -> DatasetSpec:
    """Prepare the files of each split as they are given; none is ever split but the one to `halve`.

    Interrupted at any moment, the same call goes on behind the last stage that was done, and ends with the same bytes.

    Parameters
    ----------
    train, test, validation : sequence of Path
        Raw Criteo files, plain or gzip, in input order. Without `validation` the last tenth of the training rows is
        marked, in `dataset.json`, as what training may hold back for its stopping rule.
    out : Path
        The DATA folder: `dataset.json`, `vocabulary.parquet`, `run.json` and one folder a split.
    halve : Path, optional
        A raw file instead of `test` and `validation`, as the seed does with day 23: the first half of its rows, rounded
        down, is the test part, the rest the validation part.
    preparation : Preparation, optional
        Frequency limits, vocabulary, numerical transform, shuffle seed.
    engine : {'polars'}
        What runs the definition.
    memory_bytes : int
        About what may be used.
    progress : callable (what, done, total)
        Called with rows done.

    Raises
    ------
    KitError
        If a file is missing, empty, damaged or malformed (with file and line), or `out` cannot be written. `run.json` says
        failed and why then; stages that were done before wait in `out`/.work for the next try, nothing else is left.
    """
    preparation = preparation or Preparation()
    files = _files(train, test, validation, halve)
    _check(files, out, preparation, memory_bytes)
    runner = make_engine(engine, memory_bytes)
    make_output_folder(out)
    work = out / WORK
    with (
        only_process(work),
        recording(
            out,
            "prepare",
            name=out.resolve().name,
            repeat=_repeat(files, preparation),
            config=preparation.model_dump() | {"engine": engine} | files.names(),
            seeds={"shuffle": preparation.shuffle_seed},
        ) as recorder,
    ):
        try:
            estimate(files.all, out, work).check(out)
            spec = run(Job(files, work, preparation, runner, memory_bytes, progress), out, recorder)
        finally:
            clean(work)
        recorder.update(
            metrics=tuple(
                Metric(name="rows", value=split.rows, unit="rows", split=name, selection="all rows given")
                for name, split in spec.splits.items()
            ),
            dataset_digest=spec.digest,
            outputs={"dataset.json": sha256_bytes(spec.to_json().encode())},
        )
    return spec


def dry_run(**asked: Any) -> list[str]:
    """What :func:`prepare` with the same arguments will read, write and need, as lines for a person; nothing is written.

    Raises
    ------
    KitError
        As there, and if the data set does not fit on the disk.
    """
    files = _files(asked["train"], asked.get("test", ()), asked.get("validation", ()), asked.get("halve"))
    preparation = asked.get("preparation") or Preparation()
    memory_bytes, out = asked.get("memory_bytes", DEFAULT_MEMORY_BYTES), asked["out"]
    _check(files, out, preparation, memory_bytes)
    found = estimate(files.all, out, out / WORK)
    found.check(out)

    def run_small(sample: Path, small: Path) -> object:
        some = {"engine": asked.get("engine", "polars"), "memory_bytes": memory_bytes, "preparation": preparation}
        return prepare(train=[sample], test=[sample], out=small, **some)

    seconds, rows = measure(files.all, found.rows, run_small)
    return describe(found, memory_bytes, seconds / 2, rows)  # the sample is read as training and as test part


def _files(train: Sequence[Path], test: Sequence[Path], validation: Sequence[Path], halve: Path | None) -> Files:
    if halve is not None and (test or validation):
        raise KitError(
            "--halve names the file that makes the test and validation parts; leave out --test and --validation"
        )
    return Files(tuple(train), tuple(validation), tuple(test), halve)


def _check(files: Files, out: Path, preparation: Preparation, memory_bytes: int) -> None:
    if not files.train:
        raise KitError("no train files; name at least one with --train")
    if not files.test and files.halve is None:
        raise KitError("no test files; name at least one with --test, or one for test and validation with --halve")
    if memory_bytes < MIN_MEMORY_BYTES:
        raise KitError(f"--memory: {memory_bytes:,} bytes are too few; at least {MIN_MEMORY_BYTES:,} (1GB) are needed")
    for column, limit in preparation.column_limits.items():
        if column not in CATEGORICAL or limit < 1:
            raise KitError(
                f"--frequency-limit {column}:{limit}: a column from C1 to C26 and a number from 1 on are needed"
            )
    for path in files.all:
        input_file(path, "a raw Criteo file")
    keep_apart(files.all, out)
    _refuse_strangers(out)


def _refuse_strangers(out: Path) -> None:
    """The folders of the splits are replaced whole: nothing but our own files may lie there."""
    for folder in (out / name for name in SPLITS):
        if folder.exists() and not folder.is_dir():
            raise KitError(f"{folder}: is a file, where the {folder.name} part goes; name another --out")
        for path in folder.iterdir() if folder.is_dir() else ():
            if not _OURS.fullmatch(path.name):
                raise KitError(f"{path}: is not of a prepared data set, whose folder is replaced; name another --out")


def _repeat(files: Files, preparation: Preparation) -> str:
    named = " ".join(f"--{name} {' '.join(names)}" for name, names in files.names().items() if names)
    columns = "".join(f",{column}:{limit}" for column, limit in preparation.column_limits.items())
    limits = f"{preparation.frequency_limit}{columns}"
    return f"dlrm prepare {named} --out DATA --frequency-limit {limits} --vocabulary {preparation.vocabulary}"
