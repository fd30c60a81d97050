"""The commands that make the same again, from the records."""

import re
import shlex
from collections.abc import Iterable

from reports.html.markup import Html, block, join, tag
from reports.read.collect import Collection, Entry
from reports.read.grouping import Group

ORDER = (
    *("sample", "synthetic", "download", "split", "prepare", "import", "train", "sweep", "baselines", "bench"),
    *("report", "notebook"),
)
EVALUATE = "dlrm evaluate --run RUN --data DATA"
REPORT = "dlrm report --runs DIR --out HTML"


def how_to_repeat(group: Group, collection: Collection, repeat: str) -> Html:
    """All at once with make, or command by command.

    Parameters
    ----------
    group : Group
    collection : Collection
        For the records that made the raw files; they do not name the data set.
    repeat : str
        What to give instead of the `make reproduce` lines that the records suggest; empty for those.
    """
    raw = raw_entries(group, collection)
    lines = [repeat] if repeat else make_lines(group, raw)
    parts: list[object] = (
        [tag("p", "All at once, in a checkout of the same commit:"), block("\n".join(lines))] if lines else []
    )
    words = "Command by command; DIR, DATA, RUN and HTML stand for folders and a file of your choice:"
    return join([*parts, tag("p", words), block("\n".join(commands([*raw, *group.entries])))])


def commands(entries: Iterable[Entry]) -> list[str]:
    """The commands that finished, in the order of the stages, each once; scoring follows each training, the report comes last."""
    lines: dict[str, None] = {}
    for entry in sorted(entries, key=lambda entry: (ORDER.index(entry.record.command), entry.folder)):
        record = entry.record
        if record.status != "finished" or record.command in ("report", "notebook") or record.repeat.startswith("make "):
            continue
        lines[record.repeat] = None
        if record.command == "train":
            lines[f"{EVALUATE}  # the RUN of the line above: {record.name}"] = None
    return [*lines, REPORT]


def raw_entries(group: Group, collection: Collection) -> list[Entry]:
    """The `sample` or `split` records whose files the data set was prepared from."""
    if group.spec is None:
        return []
    sources = {source.sha256 for split in group.spec.splits.values() for source in split.sources}
    rows: dict[str, float] = {name: float(split.rows) for name, split in group.spec.splits.items()}
    found = []
    for entry in collection.entries:
        record = entry.record
        split = {metric.split: metric.value for metric in record.metrics if metric.name == "rows"}
        made = {
            "sample": bool(sources) and sources <= set(record.outputs.values()),
            "split": bool(split) and split.items() <= rows.items(),
        }
        if made.get(record.command):
            found.append(entry)
    return found


def make_lines(group: Group, raw: list[Entry]) -> list[str]:
    """`make reproduce ...` for each DLRM run, once each; none for a table of one's own, which is not raw Criteo text."""
    if any("table" in entry.record.config for entry in group.entries if entry.record.command == "prepare"):
        return []
    own = _own_files(group, raw)
    lines: dict[str, None] = {}
    for variant in group.variants:
        for run in variant.all_runs:
            record = run.entry.record
            words = ["make reproduce", f"PRESET={shlex.quote(str(record.config.get('preset', 'workshop')))}", *own]
            changes = overrides(record.repeat)
            lines[" ".join(words + ([f"SET={shlex.quote(' '.join(changes))}"] if changes else []))] = None
    return list(lines)


def overrides(command: str) -> list[str]:
    """The values after --set in a recorded command.

    >>> overrides("dlrm train --data DATA --set seed=2 --set batch_size=64")
    ['seed=2', 'batch_size=64']
    """
    return re.findall(r"--set (\S+)", command)


def _own_files(group: Group, raw: list[Entry]) -> list[str]:
    """TRAIN and TEST for users' own files; nothing for the planted sample, which is made anew."""
    if group.spec is None or any(entry.record.command == "sample" for entry in raw):
        return []
    for entry in [*raw, *(entry for entry in group.entries if entry.record.command == "prepare")]:
        files = entry.record.config.get("files" if entry.record.command == "split" else "whole")
        if isinstance(files, list):
            return [f"TRAIN={shlex.quote(' '.join(map(str, files)))}"]
    parts = [("TRAIN", group.spec.splits["train"]), ("TEST", group.spec.splits["test"])]
    return [f"{name}={shlex.quote(' '.join(s.name for s in split.sources))}" for name, split in parts if split.sources]
