"""`run.json`: what a command did, with what, and what came out; written atomically from its start to its end."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dlrm_core.schema.base import Strict
from dlrm_core.schema.environment import Environment, describe_environment
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import make_output_folder, write_atomic

FILE = "run.json"
Command = Literal[
    "sample",
    "synthetic",
    "download",
    "split",
    "prepare",
    "import",
    "train",
    "baselines",
    "report",
    "notebook",
    "bench",
    "sweep",
]
MAKERS = {"prepare", "import"}  # of data sets: the newer one replaces the older, whole, whoever made it
Status = Literal["running", "finished", "failed"]


class Metric(Strict):
    """One number. `selection` says which state of the model it belongs to and by what rule that was chosen."""

    name: str
    value: float
    unit: str
    split: str
    selection: str


class Series(Strict):
    """One curve of equal-length x and y."""

    name: str
    split: str
    x_label: str
    y_label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


class RunRecord(Strict):
    """The record of one run of one command."""

    schema_version: Literal[1] = 1
    command: Command
    name: str
    status: Status
    reason: str | None = None
    repeat: str
    config: dict[str, Any]
    choices: dict[str, str] = Field(default_factory=dict)
    dataset_digest: str | None = None
    seeds: dict[str, int] = Field(default_factory=dict)
    environment: Environment
    metrics: tuple[Metric, ...] = ()
    series: tuple[Series, ...] = ()
    outputs: dict[str, str] = Field(default_factory=dict)
    timings_s: dict[str, float] = Field(default_factory=dict)

    def metric(self, name: str, split: str) -> Metric | None:
        """The metric of that name and split, or None."""
        return next((m for m in self.metrics if m.name == name and m.split == split), None)


def read_record(folder: Path) -> RunRecord:
    """Read `folder`/run.json.

    Raises
    ------
    KitError
        If there is none or it does not fit the schema.
    """
    path = folder / FILE
    if not path.is_file():
        raise KitError(f"{folder}: holds no {FILE}; a folder written by a `dlrm` command is needed")
    return RunRecord.from_json(path.read_bytes(), source=str(path))


def write_record(folder: Path, record: RunRecord) -> None:
    """Write `folder`/run.json atomically."""
    write_atomic(folder / FILE, record.to_json())


class Recorder:
    """Keeps `folder`/run.json true while a command runs."""

    def __init__(self, folder: Path, record: RunRecord) -> None:
        self.folder = folder
        self.record = record
        write_record(folder, record)

    def update(self, **fields: Any) -> None:
        """Replace fields of the record and write it."""
        self.record = self.record.model_copy(update=fields)
        write_record(self.folder, self.record)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Record the wall time, in seconds, of the block as `part`; several blocks of one name add up."""
        start = time.perf_counter()
        yield
        spent = self.record.timings_s.get(part, 0.0) + time.perf_counter() - start
        self.record = self.record.model_copy(update={"timings_s": self.record.timings_s | {part: round(spent, 3)}})


@contextmanager
def recording(
    folder: Path, command: Command, *, name: str, repeat: str, config: dict[str, Any], **fields: Any
) -> Iterator[Recorder]:
    """Run a block with a `run.json` in `folder` that says running, then finished or failed with the reason.

    Raises
    ------
    KitError
        If the folder cannot be written or holds the record of another command; whatever the block raises passes through.
    """
    make_output_folder(folder)
    _keep_other_records(folder, command)
    record = RunRecord(
        command=command,
        name=name,
        status="running",
        repeat=repeat,
        config=config,
        environment=describe_environment(),
        **fields,
    )
    recorder = Recorder(folder, record)
    start = time.perf_counter()
    try:
        yield recorder
    except BaseException as error:
        recorder.update(status="failed", reason=_reason(error))
        raise
    total = round(time.perf_counter() - start, 3)
    recorder.update(status="finished", timings_s=recorder.record.timings_s | {"total": total})


def _keep_other_records(folder: Path, command: Command) -> None:
    """Refuse a folder in which another command left what its `run.json` describes; one that is damaged describes nothing."""
    try:
        there = read_record(folder).command if (folder / FILE).is_file() else command
    except KitError:
        return
    if there != command and not {there, command} <= MAKERS:
        raise KitError(
            f"{folder}: holds the record of `{there}`, `{command}` would replace it; name another --out, or remove the folder"
        )


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted by the user"
    text = str(error) if isinstance(error, KitError) else f"{type(error).__name__}: {error}"
    return without_folders(text)


def without_folders(text: str) -> str:
    """`text` with the folders of absolute paths left out: a record must not say where on whose machine it was made.

    >>> without_folders("/home/somebody/day_0:17: has 38 fields")
    'day_0:17: has 38 fields'
    """
    for place in {str(Path.cwd()), str(Path.home())} - {"/"}:
        text = text.replace(f"{place}/", "")
    return re.sub(r"(?<![\w.~:/-])/(?:[^/\s:;,'\"()]+/)+(?=[^/\s])", "", text)
