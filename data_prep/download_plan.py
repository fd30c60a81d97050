"""What a download would fetch: the files asked for, which of them are there already, sizes, and room on the disk."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from data_prep.options import amount
from data_prep.transfer import part_of
from data_prep.web import InterruptedAnswer, UnusableAnswer, Web
from dlrm_core.schema.base import nearest
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.sources import DOWNLOADS_FILE, DataSource, Downloads, Listing, SourceFile, read_downloads

MOST_PAGES = 1000


@dataclass(frozen=True)
class Item:
    """One file of the plan. `size_bytes` is exact or None; `done` if it is there and recorded with that size."""

    file: SourceFile
    target: Path
    done: bool
    present: bool
    size_bytes: int | None
    kept_bytes: int

    @property
    def missing_bytes(self) -> int:
        """Bytes that are still to come, as far as the size is known."""
        whole = self.size_bytes or self.file.about_bytes or 0
        return 0 if self.present else max(0, whole - self.kept_bytes)


@dataclass(frozen=True)
class Plan:
    """The files of one download and the state of its folder."""

    out: Path
    downloads: Downloads
    items: tuple[Item, ...]

    @property
    def missing_bytes(self) -> int:
        """Bytes of the known sizes that are still to come."""
        return sum(item.missing_bytes for item in self.items)

    def line(self) -> str:
        """The sizes in one sentence."""
        done = sum(item.done for item in self.items)
        sizes = [item.size_bytes or item.file.about_bytes for item in self.items]
        about = "about " if any(item.size_bytes is None for item in self.items) else ""
        total = f"{about}{amount(sum(size or 0 for size in sizes))}"
        unknown = sum(size is None for size in sizes)
        if unknown:
            total = "of unknown size" if unknown == len(sizes) else f"at least {total} ({unknown} of unknown size)"
        rest = amount(self.missing_bytes) if unknown < len(sizes) else "unknown"
        number = "1 file" if len(self.items) == 1 else f"{len(self.items)} files"
        return (
            f"{number}, {total}; {done} complete in {self.out}; to download: {rest}; "
            f"free there: {amount(free_bytes(self.out))}"
        )

    def check_room(self) -> None:
        """Compare what is to come with what is free.

        Raises
        ------
        KitError
            If the disk cannot hold it.
        """
        free = free_bytes(self.out)
        if self.missing_bytes > free:
            raise KitError(
                f"{self.out}: {self.missing_bytes:,} bytes ({amount(self.missing_bytes)}) are to be downloaded, "
                f"{free:,} ({amount(free)}) are free there; make room, name another --out or fewer --days or --files"
            )


def make_plan(source: DataSource, out: Path, *, files: Sequence[str], days: Sequence[int], web: Web) -> Plan:
    """Look up what is asked for, there and here; nothing is written.

    Raises
    ------
    KitError
        If a day or file is unknown, a listing cannot be read, the folder holds another data set, or a complete file there
        is not of the recorded or published size or hash.
    """
    downloads = read_downloads(out) or Downloads(dataset=source.name)
    if downloads.dataset != source.name:
        raise KitError(
            f"{out}: holds files of {downloads.dataset} ({DOWNLOADS_FILE}); files of {source.name} may have the same names and "
            "other content, so name another --out"
        )
    chosen = _choose(source, files, days, web)
    items = [_item(file, out, downloads) for file in chosen]
    return Plan(out, downloads, tuple(_with_sizes(items, web)))


def free_bytes(folder: Path) -> int:
    """Free bytes where `folder` is or will be."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def _choose(source: DataSource, files: Sequence[str], days: Sequence[int], web: Web) -> list[SourceFile]:
    for day in days:
        if day not in source.days:
            has = f"days {source.days[0]} to {source.days[-1]}" if source.days else "no days; leave --days out"
            raise KitError(f"{source.name}: has no day {day}; it has {has}")
    listed = source.files if source.listing is None else _listed(source.listing, days or source.days, web)
    names = [file.name for file in listed]
    for name in files:
        if name not in names:
            known = ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")
            raise KitError(f"{source.name}: unknown file {name!r}{nearest(name, names)}; known: {known}")
    return [f for f in listed if (not files or f.name in files) and (not days or f.day in days)]


def _listed(listing: Listing, days: Sequence[int], web: Web) -> list[SourceFile]:
    """The files of these days by the repository's own index."""
    files: list[SourceFile] = []
    for place in listing.days:
        if place.day in days:
            found = _listed_day(listing, place.folder, place.day, web)
            if not found:
                raise KitError(
                    f"{listing.repository}: its index names no file in {place.folder}; the repository has changed"
                )
            files.extend(found)
    return files


def _listed_day(listing: Listing, folder: str, day: int, web: Web) -> list[SourceFile]:
    url: str | None = (
        f"{listing.endpoint}api/datasets/{listing.repository}/tree/{listing.revision}/{quote(folder)}?recursive=true"
    )
    files: list[SourceFile] = []
    for _ in range(MOST_PAGES):
        if url is None:
            break
        try:
            entries, url = web.json(url)
        except (InterruptedAnswer, UnusableAnswer) as error:
            raise KitError(
                f"{listing.repository}: the list of its files cannot be read; {web.address(str(url))}: {error}; try again later"
            ) from None
        files.extend(_file(listing, entry, day) for entry in _rows(entries, listing) if entry.get("type") == "file")
    return sorted(files, key=lambda file: file.name)


def _rows(entries: object, listing: Listing) -> list[dict]:
    if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
        return entries
    raise KitError(f"{listing.repository}: the list of its files has an unknown form")


def _file(listing: Listing, entry: dict, day: int) -> SourceFile:
    """One entry, {type, path, size, lfs: {oid}}; lfs.oid is the SHA-256 (huggingface_hub 2.4.0, hf_api.py, RepoFile)."""
    path = str(entry.get("path"))
    lfs = entry.get("lfs")
    values = {
        "name": path.removeprefix(listing.strip),
        "day": day,
        "urls": [f"{listing.endpoint}datasets/{listing.repository}/resolve/{listing.revision}/{quote(path)}"],
        "size_bytes": entry.get("size"),
        "sha256": lfs.get("oid") if isinstance(lfs, dict) else None,
        "source": f"index of {listing.repository}, revision {listing.revision}",
    }
    return SourceFile.from_dict(values, source=f"the index of {listing.repository}")


def _item(file: SourceFile, out: Path, downloads: Downloads) -> Item:
    target, recorded = out / file.name, downloads.files.get(file.name)
    present = target.is_file()
    part = part_of(target)
    if recorded and file.sha256 not in (None, recorded.sha256):
        raise KitError(
            f"{file.name}: the source now offers SHA-256 {file.sha256}, {out / DOWNLOADS_FILE} recorded {recorded.sha256}; "
            "the two are other data: name another --out"
        )
    if recorded and present and target.stat().st_size != recorded.size_bytes:
        raise KitError(
            f"{target}: has {target.stat().st_size:,} bytes, {DOWNLOADS_FILE} recorded {recorded.size_bytes:,}; it was changed "
            "after its download: delete it and start again"
        )
    return Item(
        file=file,
        target=target,
        done=bool(recorded and present),
        present=present,
        size_bytes=recorded.size_bytes if recorded else file.size_bytes,
        kept_bytes=part.stat().st_size if part.is_file() else 0,
    )


def _with_sizes(items: Sequence[Item], web: Web) -> list[Item]:
    """Ask the servers for the sizes that are not known; a host that does not answer is asked once."""
    silent_hosts: set[str] = set()
    found = []
    for item in items:
        size = item.size_bytes
        for url in item.file.urls if size is None else ():
            host = urlsplit(web.address(url)).netloc
            if size is None and host not in silent_hosts:
                try:
                    size = web.size_bytes(url)
                except InterruptedAnswer:
                    silent_hosts.add(host)
        found.append(replace(item, size_bytes=size))
    return found
