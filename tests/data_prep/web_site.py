"""A local HTTP server that keeps, drops, changes or misstates files as a test asks."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = 1 << 14


@dataclass
class Served:
    """One path. `drop_after` bytes of an answer the connection closes, `drops` times; `pause_s` after each piece.
    A range is answered `shift` bytes too late."""

    data: bytes
    etag: str | None = '"one"'
    last_modified: str | None = None
    ranges: bool = True
    head: bool = True
    drop_after: int | None = None
    drops: int = 10**9
    length: int | None = None
    chunked: bool = False
    shift: int = 0
    pause_s: float = 0.0
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    range: str | None
    if_range: str | None
    accept_encoding: str | None


class Site:
    """The files by path, what was asked of them, and how many body bytes went out."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.files: dict[str, Served] = {}
        self.asked: list[Asked] = []
        self.sent_bytes = 0

    def serve(self, path: str, data: bytes, **how: object) -> str:
        """Put a file there; gives back its url."""
        self.files[path] = Served(data, **how)  # type: ignore[arg-type]
        return self.address + path

    def gets(self, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == "GET" and asked.path == path]


class Handler(BaseHTTPRequestHandler):
    """Answers for the site of its server."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        method = "GET" if body else "HEAD"
        names = ("Range", "If-Range", "Accept-Encoding")
        self.server.site.asked.append(Asked(method, self.path, *(self.headers.get(name) for name in names)))
        served = self.server.site.files.get(self.path)
        status = 404 if served is None else 405 if not body and not served.head else 200
        if body and served and served.statuses:
            status = served.statuses.pop(0)
        if served is None or status != 200:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._send(served, body=body)

    def _send(self, served: Served, *, body: bool) -> None:
        start, size = self._start(served), len(served.data)
        if start is not None and start >= size:
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200 if start is None else 206)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        rest = served.data[start or 0 :]
        if served.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(served.length if served.length is not None else len(rest)))
        marks = {"ETag": served.etag, "Last-Modified": served.last_modified} | served.headers
        for name, value in marks.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if body:
            self._body(served, rest)

    def _start(self, served: Served) -> int | None:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        condition = self.headers.get("If-Range")
        same = condition is None or condition in (served.etag, served.last_modified)
        return int(found[1]) + served.shift if found and served.ranges and same else None

    def _body(self, served: Served, rest: bytes) -> None:
        drop = served.drop_after is not None and served.drops > 0
        if drop:
            served.drops -= 1
            rest = rest[: served.drop_after]
        if served.length is not None:
            rest = rest[: served.length]
            self.close_connection = True
        for at in range(0, len(rest), PIECE):
            piece = rest[at : at + PIECE]
            frame = b"%x\r\n%s\r\n" % (len(piece), piece) if served.chunked else piece
            try:
                self.wfile.write(frame)
            except OSError:
                self.close_connection = True
                return
            self.server.site.sent_bytes += len(piece)
            time.sleep(served.pause_s)
        if drop:
            self.close_connection = True
        elif served.chunked:
            self.wfile.write(b"0\r\n\r\n")


class Server(ThreadingHTTPServer):
    """A server that knows its site."""

    site: Site


@contextmanager
def running_site() -> Iterator[Site]:
    """A site on a free port of this machine."""
    server = Server(("127.0.0.1", 0), Handler)
    site = Site(f"http://127.0.0.1:{server.server_address[1]}")
    server.site = site
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
