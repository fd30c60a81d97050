"""The errata: where NVIDIA's README and code contradict each other, what this kit does, and how to choose otherwise."""

import re
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Literal

from dlrm_core.schema.base import Strict
from dlrm_core.schema.yaml_file import read_mapping
from reports.html.markup import Html, code, join, section, tag

FILE = "errata.yaml"
NUM_QUIRKS = 24
ID = "errata"
GROUPS = {"contradiction": "Contradictions", "quirk": "Quirks of the code"}
INTRO = (
    "June 2020 is commit 36f3b1b6 of NVIDIA's DeepLearningExamples, folder PyTorch/Recommendation/DLRM, HEAD is commit "
    "729963dd, April 2020 the first release, 15807b36; files are named from that folder. Each entry says who says what, "
    "what this kit does, how to have it otherwise, and which tests hold it. Values behind `--set` go to `dlrm train`. The "
    f"numbers 1 to {NUM_QUIRKS} are those by which the tests call what an implementation could take over unnoticed."
)
WHERE = r"(README|code|notebooks), (April 2020|June 2020|HEAD)(, \S.*)?"
TEST = r"tests/[\w/]+\.py::test_\w+"


class Statement(Strict):
    """What one source says. `where` is its kind, its version and the place in it, separated by commas."""

    where: str
    says: str

    def model_post_init(self, _context: object) -> None:
        """Refuse what cannot be shown."""
        if not re.fullmatch(WHERE, self.where):
            raise ValueError(f"where is {self.where!r}; 'code, June 2020, FILE:LINE' or the like is needed")
        _check_prose(says=self.says)

    def lines(self) -> Html:
        """Source and words, as a term and its description; a path stands behind the words."""
        kind, version, *place = self.where.split(", ", 2)
        if kind == "README" or not place:
            return join([tag("dt", self.where), tag("dd", prose(self.says))])
        return join([tag("dt", f"{kind}, {version}"), tag("dd", join([prose(self.says), code(place[0])], " "))])


class Erratum(Strict):
    """One entry; `quirk` holds the numbers that the tests use, `later` says why no test, or not every one, is there yet."""

    id: str
    title: str
    kind: Literal["contradiction", "quirk"]
    quirk: tuple[int, ...] = ()
    statements: tuple[Statement, ...]
    chosen: str
    otherwise: str
    tests: tuple[str, ...] = ()
    later: str | None = None

    def model_post_init(self, _context: object) -> None:
        """Refuse what is not whole."""
        least = {"contradiction": 2, "quirk": 1}[self.kind]
        if len(self.statements) < least:
            raise ValueError(f"{self.id}: {len(self.statements)} statements; a {self.kind} needs at least {least}")
        if not self.tests and self.later is None:
            raise ValueError(f"{self.id}: tests are needed, or the reason for `later`")
        if not all(re.fullmatch(TEST, test) for test in self.tests):
            raise ValueError(f"{self.id}: tests are {list(self.tests)}; FILE::NAME is needed")
        if not all(1 <= number <= NUM_QUIRKS for number in self.quirk):
            raise ValueError(f"{self.id}: quirk is {list(self.quirk)}; numbers from 1 to {NUM_QUIRKS} are needed")
        if not re.fullmatch(r"[a-z][a-z0-9-]*", self.id):
            raise ValueError(f"id is {self.id!r}; small letters, digits and hyphens are needed")
        _check_prose(title=self.title, chosen=self.chosen, otherwise=self.otherwise, later=self.later or "-")

    @property
    def anchor(self) -> str:
        """The id of its heading."""
        return f"{ID}-{self.id}"


class Errata(Strict):
    """All of them."""

    errata: tuple[Erratum, ...]

    def model_post_init(self, _context: object) -> None:
        """Refuse two entries of one id."""
        ids = [erratum.id for erratum in self.errata]
        twice = {id_ for id_ in ids if ids.count(id_) > 1}
        if twice:
            raise ValueError(f"the id {min(twice)} stands for more than one entry")


def read_errata() -> tuple[Erratum, ...]:
    """The entries of `errata.yaml`, in its order."""
    with resources.as_file(resources.files("reports.pages") / FILE) as path:
        values = read_mapping(path, "a data file of the kit")
    return Errata.from_dict(values, source=FILE).errata


def errata_section() -> Html:
    """The section of all entries, contradictions first, each with a heading to link to."""
    errata = read_errata()
    groups = [
        section(3, title, *(_entry(erratum) for erratum in _of(errata, kind)), id_=f"{ID}-of-kind-{kind}")
        for kind, title in GROUPS.items()
    ]
    return section(2, "Errata", tag("p", prose(INTRO)), _contents(errata), *groups, id_=ID)


def prose(text: str) -> Html:
    """A text whose pieces between backticks are code.

    >>> prose("`a < b` & c")
    '<code>a &lt; b</code> &amp; c'
    """
    return join((code(piece) if i % 2 else piece for i, piece in enumerate(text.split("`"))), "")


def code_of(text: str) -> list[str]:
    """The pieces of a text between backticks.

    >>> code_of("`dlrm train` or `--set seed=1`")
    ['dlrm train', '--set seed=1']
    """
    return re.findall("`([^`]*)`", text)


def _check_prose(**texts: str) -> None:
    for name, text in texts.items():
        if not text or text.count("`") % 2:
            raise ValueError(f"{name} is {text!r}; words are needed, and code between two backticks")


def _of(errata: Sequence[Erratum], kind: str) -> Iterator[Erratum]:
    return (erratum for erratum in errata if erratum.kind == kind)


def _contents(errata: Sequence[Erratum]) -> Html:
    ordered = [erratum for kind in GROUPS for erratum in _of(errata, kind)]
    items = join(tag("li", tag("a", prose(erratum.title), href=f"#{erratum.anchor}")) for erratum in ordered)
    return tag("nav", tag("ol", items), class_="contents", aria_label="Errata")


def _entry(erratum: Erratum) -> Html:
    statements = join(statement.lines() for statement in erratum.statements)
    parts = [tag("dl", statements, class_="sources")]  # no table: each of those brings its downloads along
    parts += [_line("Chosen here", prose(erratum.chosen)), _line("To choose otherwise", prose(erratum.otherwise))]
    if erratum.tests:
        parts += [_line("Held by", ""), tag("ul", join(tag("li", code(test)) for test in erratum.tests))]
    if erratum.later is not None:
        parts.append(_line("Not held by a test yet", prose(erratum.later + ".")))
    if erratum.quirk:
        numbers = ", ".join(map(str, erratum.quirk))
        parts.append(tag("p", f"Quirk {numbers} of {NUM_QUIRKS}.", class_="note"))
    return section(4, erratum.title, *parts, id_=erratum.anchor)


def _line(name: str, content: object) -> Html:
    return tag("p", join([tag("strong", f"{name}:"), content], " "))
