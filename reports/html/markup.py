"""Small pieces of HTML; every text is escaped unless it is an `Html` already."""

import csv
import html
import io
import json
import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

SHORT = 24  # letters of a cell that is never broken


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def esc(text: object) -> Html:
    """Escape a text; leave `Html` as it is."""
    return text if isinstance(text, Html) else Html(html.escape(str(text)))


def tag(name: str, content: object = "", **attributes: str) -> Html:
    """One element; a trailing underscore of an attribute's name is dropped, other underscores are hyphens."""
    named = "".join(f' {key.rstrip("_").replace("_", "-")}="{html.escape(v)}"' for key, v in attributes.items())
    return Html(f"<{name}{named}>{esc(content)}</{name}>")


def join(parts: Iterable[object], by: str = "\n") -> Html:
    """Parts, escaped where need be, one after the other."""
    return Html(by.join(esc(part) for part in parts))


def slug(text: str) -> str:
    """A text as an id.

    >>> slug("How good?")
    'how-good'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def section(level: int, title: str, *parts: object, id_: str = "") -> Html:
    """A section with its heading."""
    name = id_ or slug(title)
    return tag("section", join([tag(f"h{level}", title, id=name), *parts]))


def details(summary: str, content: object) -> Html:
    """Something to unfold."""
    return tag("details", join([tag("summary", summary), content]))


def table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str) -> Html:
    """A table in a box that scrolls by itself, and below it the same as CSV and JSON, within the page.

    The first cell of each row is its header, columns of numbers stand right.
    """
    rows = list(rows)
    kinds = [{}, *(_column_class([row[column] for row in rows]) for column in range(1, len(head)))]
    top = join((tag("th", name, scope="col", **kind) for name, kind in zip(head, kinds, strict=True)), "")
    body = join(
        tag("tr", join([tag("th", first, scope="row"), *map(_cell, rest, kinds[1:])], "")) for first, *rest in rows
    )
    parts = [tag("caption", tag("span", caption)), tag("thead", tag("tr", top)), tag("tbody", body)]
    box = tag("div", tag("table", join(parts)), class_="scroll", tabindex="0", role="group", aria_label=caption)
    return join([box, _downloads(head, rows, caption)])


def _downloads(head: Sequence[str], rows: Sequence[Sequence[object]], caption: str) -> Html:
    """Links that hold the table itself; minus signs are ASCII there, so that programs read the numbers."""
    plain = [[_plain(cell) for cell in row] for row in rows]
    target = io.StringIO()
    csv.writer(target, lineterminator="\n").writerows([head, *plain])
    split = json.dumps({"columns": list(head), "data": plain}, ensure_ascii=False)  # pandas calls it orient="split"
    texts = {
        "csv": ("text/csv", target.getvalue()),
        "json": ("application/json", split),
    }
    links = [
        data_link(kind.upper(), f"{slug(caption)[:60]}.{kind}", mime, text, f"{kind.upper()} of the table: {caption}")
        for kind, (mime, text) in texts.items()
    ]
    return tag("p", join(links, " "), class_="download")


def data_link(label: str, file: str, mime: str, text: str, spoken: str) -> Html:
    """A link that saves `text`, which it holds itself, as `file`; `spoken` is its name for those who cannot see where it stands."""
    return tag("a", label, download=file, href=f"data:{mime};charset=utf-8,{quote(text)}", aria_label=spoken)


def _plain(cell: object) -> str:
    """The text of a cell."""
    text = re.sub(r"<br ?/?>", "; ", str(cell)) if isinstance(cell, Html) else str(cell)
    text = html.unescape(re.sub(r"<[^>]*>", "", text)) if isinstance(cell, Html) else text
    return re.sub(r"−(?=\d)", "-", text)


def _cell(content: object, kind: dict[str, str]) -> Html:
    return tag("td", content, **kind)


def _column_class(cells: Sequence[object]) -> dict[str, str]:
    """Numbers (with a per cent sign, perhaps) and gaps stand right; short texts never break, long ones get room."""
    texts = [re.sub("<[^>]*>", "", str(cell)) for cell in cells]
    if texts and all(re.fullmatch(r"[+−-]?[\d,.]+(e[+-]\d+)?( %)?|–|", text) for text in texts):
        return {"class_": "number"}
    return {"class_": "short" if max(map(len, texts), default=0) <= SHORT else "long"}


def facts(rows: Iterable[tuple[str, object]], caption: str) -> Html:
    """A table of names and values."""
    return table(["what", "value"], rows, caption)


def code(text: str) -> Html:
    """A short text in a fixed-width font."""
    return tag("code", text)


def block(text: str) -> Html:
    """Lines in a fixed-width font, in a box that scrolls by itself."""
    return tag("pre", tag("code", text), tabindex="0")


def listing(items: Sequence[str]) -> str:
    """Words as a listing in a sentence.

    >>> listing(["constant", "logistic", "trees"])
    'constant, logistic and trees'
    """
    return " and ".join(part for part in (", ".join(items[:-1]), *items[-1:]) if part)
