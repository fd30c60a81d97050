"""HTTP as the download needs it; the one place that imports requests, and only when it is used."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dlrm_core.schema.errors import KitError

if TYPE_CHECKING:
    from requests import Response as Response

RANGE_REFUSED = 416
TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class InterruptedAnswer(Exception):
    """The address did not answer, or not to the end; the same request may work later. `wait_s` is what it asked for."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class UnusableAnswer(Exception):
    """The address answered something that another attempt will not change."""


class Web:
    """A session without compression on the way: a range must count the bytes of the file itself.

    `base_url` replaces scheme and host of every address, for a copy of one's own.
    """

    def __init__(self, *, timeout_s: float, base_url: str | None = None) -> None:
        try:
            import requests
        except ModuleNotFoundError:
            raise KitError("downloads need the package requests; pip install requests") from None
        self._session = requests.Session()
        self._session.headers.update({"Accept-Encoding": "identity", "User-Agent": "dlrm-kit"})
        self._failures = requests.RequestException
        self._timeout_s = timeout_s
        self._base_url = base_url

    def address(self, url: str) -> str:
        """`url`, at the base url if there is one."""
        if self._base_url is None:
            return url
        parts = urlsplit(url)
        return self._base_url.rstrip("/") + parts.path + (f"?{parts.query}" if parts.query else "")

    @contextmanager
    def open(self, url: str, headers: dict[str, str]) -> Iterator["Response"]:
        """The answer to a GET, its body not read yet: of status 200, 206 or 416.

        Raises
        ------
        InterruptedAnswer, UnusableAnswer
            For every other status and every failure of the connection, also while the body is read.
        """
        try:
            with self._session.get(self.address(url), headers=headers, stream=True, timeout=self._timeout_s) as answer:
                check(answer, self.address(url))
                yield answer
        except self._failures as error:
            raise InterruptedAnswer(_in_words(error)) from None

    def json(self, url: str) -> tuple[Any, str | None]:
        """Plain data at an address, and the address of the next page if there is one.

        Raises
        ------
        InterruptedAnswer, UnusableAnswer
            If it does not answer, or not with JSON.
        """
        with self.open(url, {}) as answer:
            following = answer.links.get("next", {}).get("url")
            try:
                return answer.json(), following
            except ValueError:
                raise UnusableAnswer("did not answer with JSON") from None

    def size_bytes(self, url: str) -> int | None:
        """The size that a HEAD request tells, None if it tells none.

        Raises
        ------
        InterruptedAnswer
            If there is no connection.
        """
        try:
            answer = self._session.head(self.address(url), allow_redirects=True, timeout=self._timeout_s)
        except self._failures as error:
            raise InterruptedAnswer(_in_words(error)) from None
        return whole_number(answer.headers.get("Content-Length")) if answer.ok else None


def whole_number(text: str | None) -> int | None:
    """A header's number, None if it is absent or odd.

    >>> whole_number("17"), whole_number("-1"), whole_number(None)
    (17, None, None)
    """
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def check(answer: "Response", url: str) -> None:
    """Let an answer of status 200, 206 or 416 through, if it came uncompressed and as safely as it was asked for.

    Raises
    ------
    InterruptedAnswer, UnusableAnswer
        For any other.
    """
    status = answer.status_code
    if url.startswith("https:") and not answer.url.startswith("https:"):
        raise UnusableAnswer("leads to an address without encryption, where anybody can change the file")
    if status in TRY_AGAIN:
        wait_s = whole_number(answer.headers.get("Retry-After")) or 0
        raise InterruptedAnswer(f"answered {status} {answer.reason}", wait_s)
    if status not in (200, 206, RANGE_REFUSED):
        raise UnusableAnswer(f"answered {status} {answer.reason}")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise UnusableAnswer("compresses the file on the way, so its size and ranges do not count the file's own bytes")


def _in_words(error: Exception) -> str:
    words = {
        "ConnectTimeout": "did not answer in time",
        "ReadTimeout": "stopped sending",
        "ChunkedEncodingError": "the connection broke off",
        "SSLError": "its certificate could not be checked",
        "ProxyError": "the proxy could not be reached",
        "TooManyRedirects": "sends the request in circles",
    }
    if "NameResolutionError" in str(error):
        return "the host name is not known here; is there a network?"
    return words.get(type(error).__name__, "could not be reached or closed the connection")
