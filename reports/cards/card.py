"""A card: one small structure of sections that is written both as Markdown with the Hub's metadata and as HTML."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlrm_core.schema.base import dump_yaml
from dlrm_core.schema.files import sha256_bytes
from dlrm_core.schema.record import without_folders
from reports.html.markup import Html, block, code, details, join, section, slug, table, tag

MOST_ROWS = 100  # of a table; a data set may come from thousands of files
MOST_LETTERS = 60  # of a name within a file's name


@dataclass(frozen=True)
class Code:
    """A digest or a name that stands in a fixed-width font."""

    text: str


Cell = str | int | Code


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """Short statements, one below the other."""

    items: Sequence[str]


@dataclass(frozen=True)
class Grid:
    """A table; of more than MOST_ROWS rows the rest is counted and `rest` says where it stands."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str
    rest: str = "run.json or dataset.json"

    def shown(self) -> list[Sequence[Cell]]:
        """The rows that are shown, the last one saying how many are left out."""
        rows = list(self.rows[:MOST_ROWS])
        left = len(self.rows) - len(rows)
        note = f"{left:,} more, all of them in {self.rest}"
        return rows + ([[note, *[""] * (len(self.head) - 1)]] if left else [])


@dataclass(frozen=True)
class Commands:
    """Lines for a shell."""

    lines: Sequence[str]


Block = Words | Bullets | Grid | Commands
Sections = Mapping[str, Sequence[Block]]


@dataclass(frozen=True)
class Card:
    """A card in both forms.

    Attributes
    ----------
    title : str
        Heading of both forms.
    file : str
        Name without suffix for the Markdown file; also the prefix of the ids in `html`.
    markdown : str
        The card as the README.md of a repository of the Hugging Face Hub: metadata in YAML, then text.
    html : Html
        The same as a section of a page, headings from level 2 on.
    """

    title: str
    file: str
    markdown: str
    html: Html


def make_card(title: str, file: str, metadata: Mapping[str, Any], sections: Sections) -> Card:
    """Write the sections in both forms; sections without a block are left out.

    Parameters
    ----------
    title, file : str
        See :class:`Card`.
    metadata : mapping
        Plain data of the YAML block.
    sections : mapping of title to blocks
        In the order of the card.
    """
    filled = {name: blocks for name, blocks in sections.items() if blocks}
    front = dump_yaml(dict(metadata))
    parts = [f"# {_mark_down(title)}"]
    for name, blocks in filled.items():
        parts += [f"## {_mark_down(name)}", *map(_markdown_of, blocks)]
    inner = [
        section(3, name, *map(_html_of, blocks), id_=f"{file}-{number}")
        for number, (name, blocks) in enumerate(filled.items(), 1)
    ]
    known = details("Metadata of the Markdown file", block(front))
    return Card(
        title=title,
        file=file,
        markdown=f"---\n{front}---\n\n" + "\n\n".join(parts) + "\n",
        html=section(2, _plain(title), *inner, known, id_=file),
    )


def file_name(kind: str, name: str, *keys: str) -> str:
    """A file's name without suffix: readable, of bounded length, and told apart by a digest of `keys`.

    >>> file_name("model-card", "DLRM, preset tiny", "a", "b")
    'model-card-dlrm-preset-tiny-59b271ae'
    """
    told_apart = sha256_bytes("\0".join(keys).encode())[:8]
    return "-".join(part for part in (kind, slug(name)[:MOST_LETTERS].strip("-"), told_apart) if part)


def settings(values: object, above: str = "") -> Iterator[tuple[str, str]]:
    """Values of a recorded configuration by dotted key, as `--set` takes them; empty ones are left out.

    >>> list(settings({"seed": 1, "model": {"sizes": [4, 1], "kind": "dot"}, "none": {}}))
    [('seed', '1'), ('model.sizes', '[4, 1]'), ('model.kind', 'dot')]
    """
    if isinstance(values, dict):
        for name, value in values.items():
            yield from settings(value, f"{above}.{name}" if above else name)
    elif values != []:
        yield above, values if isinstance(values, str) else json.dumps(values, ensure_ascii=False)


def _plain(text: object) -> str:
    """One line, without a folder of the machine that a record was made on."""
    return without_folders(" ".join(str(text).split()))


def _mark_down(text: object) -> str:
    r"""A text as Markdown that shows it letter by letter.

    >>> print(_mark_down("a|b <i> *c* snake_case"))
    a\|b \<i\> \*c\* snake_case
    """
    escaped = re.sub(r"[\\`*\[\]<>|~&]|(?<!\w)_|_(?!\w)", lambda found: f"\\{found[0]}", _plain(text))
    return re.sub(r"^(\d*)([#+.)=-])(?=[\s#=-]|$)", r"\1\\\2", escaped)  # what would begin a list or a heading


def _fence(text: str, least: int) -> str:
    """More backticks than stand anywhere in the text."""
    return "`" * max(least, 1 + max(map(len, re.findall("`+", text)), default=0))


def _cell(cell: Cell) -> str:
    if not isinstance(cell, Code) or "|" in cell.text:  # within a code span, renderers differ on an escaped pipe
        return _mark_down(cell.text if isinstance(cell, Code) else cell)
    text = _plain(cell.text)
    ticks = _fence(text, 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_of(each: Block) -> str:
    if isinstance(each, Words):
        return _mark_down(each.text)
    if isinstance(each, Bullets):
        return "\n".join(f"- {_mark_down(item)}" for item in each.items)
    if isinstance(each, Commands):
        lines = "\n".join(map(_plain, each.lines))
        ticks = _fence(lines, 3)
        return f"{ticks}sh\n{lines}\n{ticks}"
    head = [_row(map(_mark_down, each.head)), _row("---" for _ in each.head)]
    body = [_row(map(_cell, row)) for row in each.shown()]
    return "\n".join([f"**{_mark_down(each.caption)}**", "", *head, *body])


def _html_of(each: Block) -> Html:
    if isinstance(each, Words):
        return tag("p", _plain(each.text))
    if isinstance(each, Bullets):
        return tag("ul", join(tag("li", _plain(item)) for item in each.items))
    if isinstance(each, Commands):
        return block("\n".join(map(_plain, each.lines)))
    rows = [
        [code(_plain(cell.text)) if isinstance(cell, Code) else _plain(cell) for cell in row] for row in each.shown()
    ]
    return table([*map(_plain, each.head)], rows, _plain(each.caption))
