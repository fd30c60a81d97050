"""Read every record below a folder of runs; what cannot be read is kept as a problem, never left out in silence."""

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dlrm_core.schema.base import Strict
from dlrm_core.schema.dataset import DatasetSpec
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import FILE, RunRecord
from dlrm_core.schema.teacher import TeacherRecord

SCHEMAS: dict[str, type[Strict]] = {FILE: RunRecord, "dataset.json": DatasetSpec, "teacher.json": TeacherRecord}
MODEL_COMMANDS = ("train", "baselines")


@dataclass(frozen=True)
class Entry:
    """A run record and where it lies: `folder` as shown (relative to the runs folder), `path` as it is."""

    folder: str
    path: Path
    record: RunRecord


@dataclass(frozen=True)
class FoundDataset:
    """A `dataset.json` and the folder that it lies in."""

    folder: str
    path: Path
    spec: DatasetSpec


@dataclass(frozen=True)
class Problem:
    """A file that could not be read or does not agree with the others, and what is wrong with it."""

    where: str
    what: str


@dataclass
class Collection:
    """All that was found, in the order of the paths."""

    runs: Path
    entries: list[Entry] = field(default_factory=list)
    datasets: list[FoundDataset] = field(default_factory=list)
    teachers: list[TeacherRecord] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def shown(self, text: str) -> str:
        """`text` without the place of the runs folder on this machine."""
        for root in {str(self.runs), str(self.runs.absolute()), str(self.runs.resolve())} - {"."}:
            text = text.replace(f"{root}/", "")
        return text


def collect(runs: Path) -> Collection:
    """Walk `runs` and read its run.json, dataset.json and teacher.json files.

    Raises
    ------
    KitError
        If `runs` is no folder, or holds no record of a `train` or `baselines` command.
    """
    if not runs.is_dir():
        raise KitError(
            f"{runs}: no such folder; name with --runs the folder that `make reproduce` or `dlrm train` filled"
        )
    found = gather(runs)
    if not any(entry.record.command in MODEL_COMMANDS for entry in found.entries):
        damaged = "".join(f"; {problem.where}: {problem.what}" for problem in found.problems[:3])
        raise KitError(
            f"{runs}: holds no record of a model{damaged}; run `make reproduce`, or `dlrm train` and `dlrm evaluate`, first"
        )
    return found


def gather(runs: Path) -> Collection:
    """The same of any folder, whatever it holds."""
    found = Collection(runs)
    for path in _files(runs, found):
        _read(path, found)
    return found


def committed() -> list[Entry]:
    """The measurements that lie with the sources, below reports/records; none where the kit was installed without them.

    Raises
    ------
    KitError
        If one of them cannot be read.
    """
    folder = Path(__file__).parents[1] / "records"
    found = gather(folder) if folder.is_dir() else Collection(folder)
    if found.problems:
        raise KitError(f"reports/records/{found.problems[0].where}: {found.problems[0].what}; take the sources anew")
    return [Entry(f"reports/records/{entry.folder}", entry.path, entry.record) for entry in found.entries]


def _files(runs: Path, found: Collection) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        where = os.path.relpath(error.filename or runs, runs)
        found.problems.append(Problem(where, f"this folder cannot be read ({error.strerror})"))

    for folder, subfolders, names in os.walk(runs, onerror=unreadable):
        subfolders.sort()
        yield from (Path(folder) / name for name in sorted(names) if name in SCHEMAS)


def _read(path: Path, found: Collection) -> None:
    shown, folder = path.relative_to(found.runs).as_posix(), path.parent
    try:
        document = SCHEMAS[path.name].from_json(path.read_bytes(), source=shown)
        _check(document)
    except OSError as error:
        found.problems.append(Problem(shown, f"it cannot be read ({error.strerror})"))
    except KitError as error:
        found.problems.append(Problem(shown, _reason(error, shown)))
    else:
        name = folder.relative_to(found.runs).as_posix()
        if isinstance(document, RunRecord):
            found.entries.append(Entry(name, folder, document))
        elif isinstance(document, DatasetSpec):
            found.datasets.append(FoundDataset(name, folder, document))
        elif isinstance(document, TeacherRecord):
            found.teachers.append(document)


def _reason(error: KitError, source: str) -> str:
    """The fault without the file's name, and without its content where that is no JSON at all: it may be anything."""
    return re.sub(r"^'\(whole document\)' is .*?; ", "", str(error).removeprefix(f"{source}: "), flags=re.DOTALL)


def _check(document: Strict) -> None:
    """Refuse a record whose numbers no page could show truly."""
    if not isinstance(document, RunRecord):
        return
    for series in document.series:
        if len(series.x) != len(series.y):
            raise KitError(f"series '{series.name}' has {len(series.x)} x and {len(series.y)} y; as many are needed")
    for metric in document.metrics:
        if not math.isfinite(metric.value):
            raise KitError(f"metric '{metric.name}' of {metric.split} is {metric.value}; a finite number is needed")
