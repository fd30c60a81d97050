"""One file over HTTP: resumed after an interruption, tried again a bounded number of times, checked, then renamed.

NAME.part holds the bytes so far; NAME.part.json says of which version of which address. NAME appears only whole.
"""

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.web import RANGE_REFUSED, InterruptedAnswer, UnusableAnswer, Web, whole_number
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import CHUNK_BYTES, write_atomic
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.sources import Downloaded, PartState, SourceFile

if TYPE_CHECKING:
    from data_prep.web import Response


@dataclass(frozen=True)
class Retry:
    """How patient a transfer is with one address. `attempts` in a row may bring no new byte; `most` bounds them all."""

    attempts: int = 5
    most: int = 500
    wait_s: float = 1.0
    longest_wait_s: float = 60.0
    timeout_s: float = 60.0
    piece_bytes: int = 1 << 16  # what is lost of an answer that breaks off


def flush(descriptor: int) -> None:
    """Bring an open file's bytes to the disk."""
    os.fsync(descriptor)


def part_of(target: Path) -> Path:
    """Where the bytes of an unfinished file are kept."""
    return target.with_name(f"{target.name}.part")


class Transfer:
    """The way of one file to `target`; `recorded` is what an earlier complete download of it left in downloads.json."""

    def __init__(
        self,
        *,
        web: Web,
        file: SourceFile,
        target: Path,
        recorded: Downloaded | None = None,
        retry: Retry,
        progress: Progress = silent,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._web, self._file, self._target, self._recorded = web, file, target, recorded
        self._retry, self._progress, self._sleep = retry, progress, sleep
        self._part = part_of(target)
        self._state_path = target.with_name(f"{target.name}.part.json")

    def run(self) -> Downloaded:
        """Fetch, check and rename; the addresses are tried in turn, first the one that the .part came from.

        Raises
        ------
        KitError
            If no address gives the file, what arrives is not what was published or recorded, or the disk is full (then the
            .part stays).
        """
        self._target.parent.mkdir(parents=True, exist_ok=True)
        reasons = []
        state = self._state()
        for url in sorted(self._file.urls, key=lambda url: state is None or url != state.url):
            try:
                self._fetch(url)
                return self._finish(url)
            except UnusableAnswer as error:
                reasons.append(f"{self._web.address(url)}: {error}")
        raise KitError(f"{self._file.name}: no address gave the file; {'; '.join(reasons)}")

    def _fetch(self, url: str) -> None:
        """Bring the .part to its full length."""
        furthest = idle = 0
        for _ in range(self._retry.most):
            try:
                return self._attempt(url)
            except InterruptedAnswer as error:
                size = self._size() if self._state_of(url) else 0
                idle = idle + 1 if size <= furthest else 0
                furthest = max(furthest, size)
                if idle >= self._retry.attempts:
                    raise UnusableAnswer(f"{error}, {idle} times in a row ({size:,} bytes are kept)") from None
                wait_s = min(self._retry.wait_s * 2**idle, self._retry.longest_wait_s)
                self._sleep(max(wait_s, min(error.wait_s, 10 * self._retry.longest_wait_s)))
        raise UnusableAnswer(f"interrupted {self._retry.most} times")

    def _attempt(self, url: str) -> None:
        state = self._state_of(url)
        offset = self._size() if state else 0
        if state and offset and offset == state.total:
            return
        with self._web.open(url, self._range(state, offset)) as answer:
            if answer.status_code == RANGE_REFUSED:
                self._drop()
                raise InterruptedAnswer("has no such range, so the file changed; started again")
            offset, total = self._place(url, answer, state, offset)
            done = self._copy(answer, offset, total)
        if total is not None and done < total:
            raise InterruptedAnswer(f"the connection broke off after {done:,} of {total:,} bytes")

    def _range(self, state: PartState | None, offset: int) -> dict[str, str]:
        """Ask for the rest, on condition that the file is the same; without a way to tell, for the whole file."""
        if state is None or not offset:
            return {}
        strong = state.etag if state.etag and not state.etag.startswith("W/") else state.last_modified
        if strong:
            return {"Range": f"bytes={offset}-", "If-Range": strong}
        checked = state.etag or self._file.sha256 or self._file.md5 or self._recorded
        return {"Range": f"bytes={offset}-"} if checked else {}

    def _place(self, url: str, answer: "Response", state: PartState | None, offset: int) -> tuple[int, int | None]:
        """From which byte on the answer is to be written, and the file's size as the server tells it."""
        etag, modified = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
        if answer.status_code == 206:
            found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
            total = whole_number(found[2]) if found else None
            same = state and found and int(found[1]) == offset and state.is_of(etag, modified, total)
            if not same:
                self._drop()
                raise InterruptedAnswer("answered with another range or another version; started again")
        else:
            offset, total = 0, whole_number(answer.headers.get("Content-Length"))
        self._check_size(total, url)
        now = PartState(url=url, etag=etag, last_modified=modified, total=total)
        with self._disk():
            if not offset:  # emptied before the new state: bytes of one version never stand under another's name
                self._part.write_bytes(b"")
            write_atomic(self._state_path, now.to_json())
        return offset, total

    def _check_size(self, size: int | None, url: str) -> None:
        recorded = self._recorded.size_bytes if self._recorded else None
        for needed, who in ((self._file.size_bytes, "were published"), (recorded, "were recorded in downloads.json")):
            if None not in (size, needed) and size != needed:
                if self._state_of(url):
                    self._drop()
                raise UnusableAnswer(f"the file has {size:,} bytes there, {needed:,} {who}")

    def _copy(self, answer: "Response", offset: int, total: int | None) -> int:
        with self._part.open("r+b", buffering=0) as handle:
            handle.seek(offset)
            for piece in answer.iter_content(self._retry.piece_bytes):
                rest = memoryview(piece)
                with self._disk():
                    while rest:  # a nearly full disk takes a part of it first
                        rest = rest[handle.write(rest) :]
                offset += len(piece)
                self._progress(self._file.name, offset, total or 0)
        return offset

    def _finish(self, url: str) -> Downloaded:
        size = self._size()
        self._check_size(size, url)
        with self._disk(), self._part.open("rb") as handle:
            flush(handle.fileno())
        sha256, md5 = digests(self._part, lambda done: self._progress(f"check {self._file.name}", done, size))
        fault = difference(self._file, self._recorded, sha256, md5)
        if fault:
            self._drop()
            raise UnusableAnswer(f"{fault}; what arrived was deleted")
        state = self._state()
        self._part.replace(self._target)
        self._state_path.unlink(missing_ok=True)
        etag = state.etag if state else None
        return Downloaded(size_bytes=size, sha256=sha256, url=url, etag=etag, checked_against=known(self._file))

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _state(self) -> PartState | None:
        """What the .part is of; None if that cannot be read, and then the .part is worth nothing."""
        try:
            return PartState.from_json(self._state_path.read_bytes(), source=self._state_path.name)
        except (OSError, KitError):
            return None

    def _state_of(self, url: str) -> PartState | None:
        state = self._state()
        return state if state and state.url == url else None

    def _drop(self) -> None:
        self._part.unlink(missing_ok=True)
        self._state_path.unlink(missing_ok=True)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Failures of the disk, in words; the .part stays."""
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise KitError(f"{self._part}: cannot be written ({error.strerror}); mend it and start again") from None
            free = shutil.disk_usage(self._part.parent).free
            if self._part.exists():  # give one piece back: the record of this failure needs room too
                os.truncate(self._part, max(0, self._size() - self._retry.piece_bytes))
            raise KitError(
                f"{self._file.name}: the disk is full after {self._size():,} bytes ({free:,} free); make room and start the same "
                "command again, it goes on from there"
            ) from None


def digests(path: Path, progress: Callable[[int], None]) -> tuple[str, str]:
    """SHA-256 and MD5 of a file, read once; MD5 only because that is what was published for some."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as handle:
        while piece := handle.read(CHUNK_BYTES):
            sha256.update(piece)
            md5.update(piece)
            progress(handle.tell())
    return sha256.hexdigest(), md5.hexdigest()


def difference(file: SourceFile, recorded: Downloaded | None, sha256: str, md5: str) -> str | None:
    """In what a complete file differs from what was published or recorded of it; None if in nothing."""
    if file.sha256 not in (None, sha256):
        return f"its SHA-256 is {sha256}, {file.sha256} was published ({file.source})"
    if file.md5 not in (None, md5):
        return f"its MD5 is {md5}, {file.md5} was published ({file.source})"
    if recorded and recorded.sha256 != sha256:
        return f"its SHA-256 is {sha256}, the first download had {recorded.sha256} (downloads.json)"
    return None


def known(file: SourceFile) -> str:
    """What a complete file could be checked against."""
    figures = {"sha256": file.sha256, "md5": file.md5, "size_bytes": file.size_bytes}
    names = [name for name, figure in figures.items() if figure is not None]
    return f"published {', '.join(names)}" if names else "nothing: no size or hash is published"
