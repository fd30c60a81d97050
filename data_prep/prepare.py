"""The command `prepare`: raw text files in, a prepared data set out; see :mod:`data_prep.pipeline` for its stages."""

import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from data_prep.engines import make_engine
from data_prep.estimate import check_memory, describe, estimate, measure
from data_prep.job import WORK, Files, Job
from data_prep.output import outcome, refuse_strangers
from data_prep.pipeline import clean, run
from data_prep.published import check_days
from data_prep.raw import CATEGORICAL
from data_prep.table_reader import check_tables
from dlrm_core.schema.dataset import DatasetSpec, Preparation
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import input_file, keep_apart, make_output_folder
from dlrm_core.schema.lock import only_process
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import recording
from dlrm_core.schema.table import TableSpec

DEFAULT_MEMORY_BYTES = 4 << 30
MIN_MEMORY_BYTES = 1 << 30


@dataclass(frozen=True)
class Request:
    """What to prepare, from what, and how.

    Attributes
    ----------
    out : Path
        The DATA folder: `dataset.json`, `feature_spec.yaml`, `vocabulary.parquet`, `run.json` and one folder a split.
    train, test, validation : sequence of Path
        Raw Criteo files, plain or gzip, in input order. Without `validation` the last tenth of the training rows is
        marked, in `dataset.json`, as what training may hold back for its stopping rule.
    halve : Path, optional
        A raw file instead of `test` and `validation`, as the seed does with day 23: the first half of its rows, rounded
        down, is the test part, the rest the validation part.
    whole : sequence of Path
        Files instead of all these: of their rows, in order, the first floor(6 n / 7) are the training part, the rest the
        test part.
    table : TableSpec, optional
        The files are tables of one's own, CSV or Parquet, with these columns, instead of raw Criteo text.
    preparation : Preparation
        Frequency limits, vocabulary, numerical transform, shuffle seed.
    engine : {'polars', 'cudf', 'dask-cuda', 'spark'}
        What runs the definition; every engine makes the same bytes.
    engine_options : mapping of str to str
        See :func:`data_prep.engines.make_engine`.
    memory_bytes : int
        About what may be used.
    """

    out: Path
    train: Sequence[Path] = ()
    test: Sequence[Path] = ()
    validation: Sequence[Path] = ()
    halve: Path | None = None
    whole: Sequence[Path] = ()
    table: TableSpec | None = None
    preparation: Preparation = field(default_factory=Preparation)
    engine: str = "polars"
    engine_options: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int = DEFAULT_MEMORY_BYTES

    @property
    def files(self) -> Files:
        """The files of each part."""
        return Files(tuple(self.train), tuple(self.validation), tuple(self.test), self.halve, tuple(self.whole))

    @property
    def config(self) -> dict[str, Any]:
        """For a record: no folder of this machine stands in it."""
        jars = {"spark.jars": _names(self.engine_options["spark.jars"])} if "spark.jars" in self.engine_options else {}
        table = {"table": self.table.model_dump(mode="json")} if self.table else {}
        options = {"engine": self.engine, "engine_options": {**self.engine_options, **jars}}
        return self.preparation.model_dump() | options | self.files.names() | table

    @property
    def repeat(self) -> str:
        """The command that prepares the same again."""
        parts = self.files.names()
        named = parts.pop("whole", [])  # without an option of its own
        named += [word for option, names in parts.items() if names for word in (f"--{option}", *names)]
        columns = "".join(f",{column}:{limit}" for column, limit in self.preparation.column_limits.items())
        choices = [f"--frequency-limit {self.preparation.frequency_limit}{columns}"]
        choices += [f"--vocabulary {self.preparation.vocabulary}"]
        if self.preparation.numerical_transform != (self.table or Preparation()).numerical_transform:
            choices.append(f"--numerical-transform {self.preparation.numerical_transform}")
        spec = "--spec SPEC " if self.table else ""
        return f"dlrm prepare {spec}{shlex.join(named)} --out DATA {' '.join(choices)}"

    def check(self) -> None:
        """Refuse what cannot be done, before anything is written.

        Raises
        ------
        KitError
            If files are missing, are in the way of the output, or do not go together; or a number is out of range.
        """
        self._check_parts()
        if self.memory_bytes < MIN_MEMORY_BYTES:
            raise KitError(
                f"--memory: {self.memory_bytes:,} bytes are too few; at least {MIN_MEMORY_BYTES:,} (1GB) are needed"
            )
        columns = self.table.categorical if self.table else CATEGORICAL
        for column, limit in self.preparation.column_limits.items():
            if column not in columns or limit < 1:
                raise KitError(
                    f"--frequency-limit {column}:{limit}: a categorical column ({columns[0]} ... {columns[-1]}) and a number "
                    "from 1 on are needed"
                )
        for path in self.files.all:
            input_file(path, "a CSV or Parquet file" if self.table else "a raw Criteo file")
        keep_apart(self.files.all, self.out)
        if self.table is not None:
            check_tables(self.files.all, self.table)
            check_days(self.files.all)
        refuse_strangers(self.out)

    def _check_parts(self) -> None:
        if self.whole and (self.train or self.test or self.validation or self.halve):
            raise KitError(
                "files without --train or --test are split by the kit; leave these options out, or name all parts"
            )
        if self.halve is not None and (self.test or self.validation):
            raise KitError(
                "--halve names the file that makes the test and validation parts; leave out --test and --validation"
            )
        if not self.train and not self.whole:
            raise KitError(
                "no train files; name at least one with --train, or give files to be split, without an option"
            )
        if not self.test and self.halve is None and not self.whole:
            raise KitError("no test files; name at least one with --test, or one for test and validation with --halve")


def prepare(*, progress: Progress = silent, **asked: Any) -> DatasetSpec:
    """Prepare the files of each split as they are given; none is ever split but those that are asked to be.

    Interrupted at any moment, the same call goes on behind the last stage that was done, and ends with the same bytes.

    Parameters
    ----------
    progress : callable (what, done, total)
        Called with rows done.
    **asked
        Fields of :class:`Request`.

    Raises
    ------
    KitError
        If a file is missing, empty, damaged or malformed (with file and line), or `out` cannot be written. `run.json` says
        failed and why then; stages that were done before wait in `out`/.work for the next try, nothing else is left.
    """
    request = Request(**asked)
    request.check()
    engine = make_engine(request.engine, request.memory_bytes, request.engine_options, request.table)
    make_output_folder(request.out)
    work = request.out / WORK
    with (
        only_process(work),
        recording(
            request.out,
            "prepare",
            name=request.out.resolve().name,
            repeat=request.repeat,
            config=request.config,
            seeds={"shuffle": request.preparation.shuffle_seed},
        ) as recorder,
    ):
        try:
            estimate(request.files.all, request.out, work, request.table).check(request.out)
            job = Job(request.files, work, request.preparation, engine, request.memory_bytes, progress)
            spec = run(job, request.out, recorder)
        finally:
            clean(work)
        recorder.update(**outcome(spec))
    return spec


def dry_run(**asked: Any) -> list[str]:
    """What :func:`prepare` with the same arguments will read, write and need, as lines for a person; nothing is written.

    Raises
    ------
    KitError
        As there, and if the data set does not fit on the disk, or --memory into the machine.
    """
    request = Request(**asked)
    request.check()
    check_memory(request.memory_bytes)
    files = request.files.all
    found = estimate(files, request.out, request.out / WORK, request.table)
    found.check(request.out)

    def run_small(sample: Path, small: Path) -> object:
        return prepare(
            **{**asked, "train": [sample], "test": [sample], "validation": (), "halve": None, "whole": (), "out": small}
        )

    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of the sample, not of the data
        seconds, rows = measure(files[0], request.table, run_small)
    # The sample is read as training and as test part.
    return describe(found, request.memory_bytes, seconds / 2 * found.rows, rows)


def _names(paths: str) -> str:
    return ",".join(PurePath(path).name for path in paths.split(","))
