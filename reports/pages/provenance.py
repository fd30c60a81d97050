"""What went wrong, where every number comes from, and what it was made with."""

from collections.abc import Iterable, Sequence

from dlrm_core.schema.environment import Environment
from reports.html.markup import Html, code, details, facts, join, section, table, tag
from reports.read.collect import Collection, Entry, Problem
from reports.read.grouping import is_scored

GIB = 1 << 30


def failed_section(collection: Collection) -> Html:
    """Runs that failed, were killed, or were never scored, each with its reason."""
    rows = [
        [entry.folder, entry.record.name, state, reason, code(entry.record.repeat)]
        for entry in collection.entries
        for state, reason in _fault(entry, collection)
    ]
    if not rows:
        return section(
            2, "Failed or killed runs", tag("p", f"None: all {len(collection.entries)} recorded runs finished.")
        )
    head = ["folder", "name", "how it ended", "reason", "command"]
    return section(2, "Failed or killed runs", table(head, rows, "Runs without a result"))


def unreadable_section(problems: Sequence[Problem]) -> Html | None:
    """Files that could not be read or do not agree with the others; None if there are none."""
    if not problems:
        return None
    rows = [[problem.where, problem.what] for problem in problems]
    return section(
        2,
        "Could not be read",
        table(
            ["file or folder", "what is wrong"], rows, "Files that could not be read, or do not agree with the others"
        ),
    )


def gpu_sentence(entries: Sequence[Entry]) -> str:
    """Whether any record names a GPU."""
    names = sorted({gpu for entry in entries for gpu in entry.record.environment.gpus})
    count = sum(bool(entry.record.environment.gpus) for entry in entries)
    if not names:
        return f"Not run on a GPU: none of the {len(entries)} records names one, every figure comes from a CPU."
    return f"{count} of the {len(entries)} records name a GPU that PyTorch saw: {', '.join(names)}."


def provenance_section(collection: Collection) -> Html:
    """Every record with its sources, seeds, data set and times; then the machines and packages."""
    entries = collection.entries
    environments = _numbered(entry.record.environment for entry in entries)
    parts = [
        tag("p", gpu_sentence(entries)),
        _runs_table(entries, environments),
        _sources_table(entries),
        details("Wall time of each part", _times_table(entries)),
        *(_environment(number, environment) for environment, number in environments),
    ]
    return section(2, "Provenance", *parts)


def foot(collection: Collection, repeat: str) -> Html:
    """At the end of every page: what it was made from, and the command that makes it again."""
    environments = [entry.record.environment for entry in collection.entries]
    commits = sorted({environment.git_commit or "none" for environment in environments})
    digests = sorted({entry.record.dataset_digest for entry in collection.entries if entry.record.dataset_digest})
    seeds = sorted({seed for entry in collection.entries for seed in entry.record.seeds.values()})
    machines = sorted({f"{e.processor}, {e.cores} cores, {', '.join(e.gpus) or 'no GPU'}" for e in environments})
    rows = [
        ("git commits", join(map(code, commits), ", ")),
        ("sources", join((code(d[:12]) for d in sorted({e.source_digest for e in environments})), ", ")),
        ("data sets", join((code(digest[:12]) for digest in digests), ", ") or "none"),
        ("seeds", ", ".join(map(str, seeds)) or "none"),
        ("hardware", "; ".join(machines) or "none recorded yet"),
        (
            "Python",
            ", ".join(sorted({f"{e.python}, {_main_packages(e)}" for e in environments})) or "none recorded yet",
        ),
        ("repeat this", code(repeat)),
    ]
    return tag("footer", facts(rows, "Where this page comes from"))


def _main_packages(environment: Environment) -> str:
    """The packages that figures depend on most; the others stand on the report's first page."""
    return ", ".join(
        f"{name} {environment.packages[name]}" for name in ("torch", "numpy") if name in environment.packages
    )


def _fault(entry: Entry, collection: Collection) -> list[tuple[str, str]]:
    record = entry.record
    if record.status == "failed":
        return [("failed", collection.shown(record.reason or "no reason was recorded"))]
    if record.status == "running":
        return [("did not finish", "its record still says running: it was killed, or it runs at this moment")]
    if record.command == "train" and not is_scored(entry):
        return [("not scored", "trained, but without test scores; give `dlrm evaluate` on this run")]
    return []


Numbered = list[tuple[Environment, int]]


def _numbered(environments: Iterable[Environment]) -> Numbered:
    """The environments that differ in more than their sources, numbered from 1."""
    distinct: Numbered = []
    for environment in environments:
        if _number(environment, distinct) == 0:
            distinct.append((environment, len(distinct) + 1))
    return distinct


def _number(environment: Environment, numbered: Numbered) -> int:
    return next((number for other, number in numbered if _machine(other) == _machine(environment)), 0)


def _machine(environment: Environment) -> dict[str, object]:
    # GPUs are seen only by commands that load PyTorch, so that one machine would else count as two.
    return environment.model_dump(exclude={"git_commit", "git_dirty", "source_digest", "gpus"})


def _runs_table(entries: Sequence[Entry], environments: Numbered) -> Html:
    rows = []
    sources = _source_digests(entries)
    for entry in entries:
        record = entry.record
        rows.append(
            [
                entry.folder,
                record.command,
                record.name,
                record.status,
                ", ".join(f"{name} {seed}" for name, seed in record.seeds.items()) or "–",
                code(record.dataset_digest[:12]) if record.dataset_digest else "–",
                sources.index(record.environment.source_digest) + 1,
                _number(record.environment, environments),
                f"{record.timings_s['total']:.1f}" if "total" in record.timings_s else "–",
            ]
        )
    head = ["folder", "command", "name", "status", "seeds", "data set", "sources", "machine", "seconds"]
    return table(head, rows, "Every record")


def _source_digests(entries: Sequence[Entry]) -> list[str]:
    return list(dict.fromkeys(entry.record.environment.source_digest for entry in entries))


def _sources_table(entries: Sequence[Entry]) -> Html:
    seen: dict[tuple[str, str, str], int] = {}
    for entry in entries:
        environment = entry.record.environment
        dirty = {None: "unknown", True: "yes", False: "no"}[environment.git_dirty]
        key = (environment.source_digest, environment.git_commit or "not in a git checkout", dirty)
        seen[key] = seen.get(key, 0) + 1
    digests = _source_digests(entries)
    rows = [[digests.index(d) + 1, code(d), code(commit), dirty, n] for (d, commit, dirty), n in seen.items()]
    made = table(["sources", "digest", "git commit", "uncommitted changes", "records"], rows, "Versions of the sources")
    note = f"The records come from {len(digests)} versions of the sources; compare them with care."
    return join([made, tag("p", note, class_="note")]) if len(digests) > 1 else made


def _times_table(entries: Sequence[Entry]) -> Html:
    rows = [[e.folder, part, f"{seconds:.3f}"] for e in entries for part, seconds in e.record.timings_s.items()]
    return table(["folder", "part", "seconds"], rows, "Wall time by part")


def _environment(number: int, environment: Environment) -> Html:
    rows: list[tuple[str, object]] = [
        ("Python", environment.python),
        ("operating system", environment.operating_system),
        ("processor", environment.processor),
        ("cores", environment.cores),
        ("memory [GiB]", f"{environment.memory_bytes / GIB:.1f}"),
        ("GPUs", ", ".join(environment.gpus) or "none"),
    ]
    packages = table(["package", "version"], list(environment.packages.items()), f"Packages of machine {number}")
    return join([facts(rows, f"Machine {number}"), details(f"Packages of machine {number}", packages)])
