"""What every page has: head, style, a way to the other pages, and figures with their words and numbers."""

from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

from reports.html.drawing import Drawing
from reports.html.markup import Html, details, join, table, tag
from reports.html.svg import to_svg


class Link(NamedTuple):
    """A page of the same folder: its file and what it is called."""

    file: str
    title: str


def document(title: str, body: Html, *, pages: Sequence[Link] = (), here: str = "", more_style: str = "") -> str:
    """One self-contained HTML file; `pages` are the pages beside it, `here` is the file of this one."""
    style = (resources.files("reports") / "style.css").read_text() + more_style
    head = join(
        [
            Html('<meta charset="utf-8">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<meta name="color-scheme" content="light dark">'),
            tag("title", title),
            Html(f"<style>\n{style}</style>"),
        ]
    )
    skip = tag("a", "Skip to the content", class_="skip", href="#content")
    content = tag("main", body, id="content", tabindex="-1")
    parts = join([skip, *([_pages(pages, here)] if len(pages) > 1 else []), content])
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{parts}\n</body>\n</html>\n'


def _pages(pages: Sequence[Link], here: str) -> Html:
    items = [
        tag("li", tag("a", link.title, href=link.file, **({"aria_current": "page"} if link.file == here else {})))
        for link in pages
    ]
    return tag("nav", tag("ul", join(items)), class_="pages", aria_label="Pages")


def contents(links: Sequence[tuple[str, str]]) -> Html:
    """The sections of a page, (id, title) each."""
    items = join(tag("li", tag("a", name, href=f"#{id_}")) for id_, name in links)
    return tag("nav", tag("ol", items), class_="contents", aria_label="Contents")


def figure(drawn: Drawing, number: int) -> Html:
    """A drawing with its caption and a table of its numbers; call it within :func:`reports.html.svg.drawing`."""
    svg = to_svg(drawn.figure, prefix=f"f{number}", alt=drawn.alt)
    caption = tag("figcaption", f"Figure {number}. {drawn.caption}")
    words = f"Numbers of figure {number}; of long curves, some points"
    numbers = details(f"Numbers of figure {number}", table(drawn.head, drawn.rows, words))
    return tag("figure", join([tag("div", svg, class_="plot"), caption, numbers]), id=f"figure-{number}")
