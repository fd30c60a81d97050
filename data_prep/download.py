"""The command `download`: raw files from their publishers, whole and checked, or not at all."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

from data_prep.download_plan import Item, Plan, make_plan
from data_prep.options import amount
from data_prep.transfer import Retry, Transfer, difference, digests, known
from data_prep.web import Web
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import make_output_folder, write_atomic
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import Metric, recording
from dlrm_core.schema.sources import (
    DOWNLOADS_FILE,
    DataSource,
    Downloaded,
    Downloads,
    read_downloads,
    read_sources,
)

SOURCES = Path(__file__).with_name("sources.yaml")
FILES_SHOWN = 48  # progress of more files than this is told as one
Say = Callable[[str], None]


def _mute(line: str) -> None:
    """Say nothing."""


def download(  # noqa: PLR0913 - one function is the command: each argument is one of its options
    *,
    dataset: str,
    out: Path,
    files: Sequence[str] = (),
    days: Sequence[int] = (),
    accept_licence: bool = False,
    dry_run: bool = False,
    progress: Progress = silent,
    say: Say = _mute,
    base_url: str | None = None,
    sources: Path = SOURCES,
    retry: Retry | None = None,
) -> Downloads:
    """Bring files of a data set into `out`; without `files` and `days` all of them.

    Licence, warnings and sizes are said before anything is fetched. What is complete and recorded in `out`/downloads.json
    is left alone, an unfinished NAME.part is gone on with; `out`/run.json tells how it went.

    Parameters
    ----------
    dataset
        A name in `sources`.
    accept_licence
        Whether the user accepts the licence that is said.
    dry_run
        Say what would be done, write nothing.
    say
        Is given each line for the user.
    base_url
        Scheme and host (and a path) to ask in place of the published ones: a copy of one's own.

    Raises
    ------
    KitError
        If the licence is not accepted, a name is unknown, the disk has too little room or gets full, no address gives a
        file, or a file is not what was published or first downloaded.
    """
    retry = retry or Retry()
    source = read_sources(sources).dataset(dataset)
    for line in _notice(source):
        say(line)
    web = Web(timeout_s=retry.timeout_s, base_url=base_url)
    plan = make_plan(source, out, files=files, days=days, web=web)
    say(plan.line())
    if dry_run:
        return plan.downloads
    if not accept_licence:
        raise KitError(
            f"the licence of {source.name}, {source.licence.name}, is not accepted; read {source.licence.url} and start again with "
            "--accept-licence"
        )
    plan.check_room()
    make_output_folder(out)
    with _alone(out):
        downloads = _download(plan, source, {"files": list(files), "days": list(days)}, web, retry, progress)
    say(f"next: {source.next_step}")
    return downloads


def verify(*, out: Path, progress: Progress = silent) -> Downloads:
    """Read every recorded file of `out` again and compare it with downloads.json.

    Raises
    ------
    KitError
        If there is no record, or a file is missing or differs in size or SHA-256.
    """
    downloads = read_downloads(out)
    if downloads is None:
        raise KitError(f"{out}: holds no {DOWNLOADS_FILE}; a folder written by `dlrm download` is needed")
    for name, recorded in downloads.files.items():
        path = out / name
        if not path.is_file():
            raise KitError(f"{path}: is recorded but not there; `dlrm download {downloads.dataset}` brings it again")
        size = path.stat().st_size
        sha256, _ = digests(path, lambda done, name=name, size=size: progress(f"check {name}", done, size))  # type: ignore[misc]
        if (size, sha256) != (recorded.size_bytes, recorded.sha256):
            raise KitError(
                f"{path}: has {size:,} bytes and SHA-256 {sha256}, its download had {recorded.size_bytes:,} and "
                f"{recorded.sha256}; delete it and download it again"
            )
    return downloads


def _notice(source: DataSource) -> Iterator[str]:
    yield f"{source.name}: {source.title}. {source.description}"
    yield f"licence: {source.licence.name}, {source.licence.url}. {source.licence.terms}"
    yield f"please cite: {source.citation}"
    yield from (f"note: {warning}" for warning in source.warnings)
    if source.about_bytes:
        yield f"all files: about {amount(source.about_bytes)} ({source.about_source})"


def _download(
    plan: Plan, source: DataSource, asked: dict[str, list], web: Web, retry: Retry, progress: Progress
) -> Downloads:
    chosen = [f"--files {' '.join(asked['files'])}"] if asked["files"] else []
    chosen += [f"--days {','.join(map(str, asked['days']))}"] if asked["days"] else []
    start = time.perf_counter()
    with recording(
        plan.out,
        "download",
        name=f"{source.name}, {len(plan.items)} files",
        repeat=" ".join(["dlrm download", source.name, "--out DIR", *chosen, "--accept-licence"]),
        config={"dataset": source.name, **asked, "licence_accepted": source.licence.name},
    ) as recorder:
        downloads = plan.downloads
        progress = progress if len(plan.items) <= FILES_SHOWN else _over_all(plan, progress)
        for item in plan.items:
            if not item.done:
                got = _get(item, downloads.files.get(item.file.name), web, retry, progress)
                downloads = downloads.model_copy(update={"files": downloads.files | {item.file.name: got}})
                write_atomic(plan.out / DOWNLOADS_FILE, downloads.to_json())
        new = sum(downloads.files[item.file.name].size_bytes for item in plan.items if not item.present)
        recorder.update(
            outputs={item.file.name: downloads.files[item.file.name].sha256 for item in plan.items},
            metrics=_metrics(new, time.perf_counter() - start),
        )
    return downloads


def _over_all(plan: Plan, progress: Progress) -> Progress:
    """Progress of thousands of files as one count of bytes."""
    sizes = {item.file.name: item.size_bytes or 0 for item in plan.items if not item.present}
    before = dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))

    def tell(what: str, done: int, _: int) -> None:
        if what in before:
            progress(f"{len(sizes)} files", before[what] + done, sum(sizes.values()) if all(sizes.values()) else 0)

    return tell


def _get(item: Item, recorded: Downloaded | None, web: Web, retry: Retry, progress: Progress) -> Downloaded:
    if item.present:
        return _adopt(item, progress)
    transfer = Transfer(web=web, file=item.file, target=item.target, recorded=recorded, retry=retry, progress=progress)
    return transfer.run()


def _adopt(item: Item, progress: Progress) -> Downloaded:
    """Record a complete file that is not recorded: the process ended right after the rename, or the user put it there."""
    size = item.target.stat().st_size
    if item.size_bytes not in (None, size):
        raise KitError(
            f"{item.target}: has {size:,} bytes, {item.size_bytes:,} are needed; move it away and start again"
        )
    sha256, md5 = digests(item.target, lambda done: progress(f"check {item.file.name}", done, size))
    fault = difference(item.file, None, sha256, md5)
    if fault:
        raise KitError(f"{item.target}: {fault}; move it away and start again")
    return Downloaded(size_bytes=size, sha256=sha256, url="found in the folder", checked_against=known(item.file))


def _metrics(new_bytes: int, seconds: float) -> tuple[Metric, ...]:
    how = "files that were not there before, checks included"
    return (
        Metric(name="downloaded", value=new_bytes, unit="bytes", split="all", selection=how),
        Metric(name="download_rate", value=new_bytes / seconds, unit="bytes/s", split="all", selection=how),
    )


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the folder: two downloads into it at once would write into each other's files."""
    folder = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise KitError(f"{out}: another download is writing there; wait for its end or name another --out") from None
    except OSError as error:  # of the small files beside the data, for example where the disk has no byte left
        raise KitError(
            f"{error.filename or out}: cannot be written ({error.strerror}); mend it and start the same command again, it goes on"
        ) from None
    finally:
        os.close(folder)
