"""The errata: all quirks, tests that are there, commands and values that exist, and a section that can be read."""

import ast
import contextlib
import io
import re
import shlex
from collections.abc import Sequence
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dlrm_core.cli import _parser
from dlrm_core.schema.config import load_preset, synthetic_config
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import Metric
from reports.pages.errata import NUM_QUIRKS, Errata, Erratum, code_of, errata_section, prose, read_errata

ROOT = Path(__file__).resolve().parents[3]
ERRATA = read_errata()
GOOD = {
    "id": "x",
    "title": "X",
    "kind": "contradiction",
    "quirk": [1],
    "statements": [{"where": "README, HEAD", "says": "a"}, {"where": "code, HEAD, a.py:1", "says": "b"}],
    "chosen": "a",
    "otherwise": "b",
    "tests": ["tests/test_cli.py::test_help"],
}
MOST_SENTENCES = 3
PATHS_TO_NOTHING = r"(?<![\w.])/(home|root|work|tmp/\w)"


@cache
def collected(path: Path) -> set[str]:
    """Names of the test functions of a file; the kit's tests stand in no classes."""
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def is_there(test: str) -> bool:
    file, name = test.split("::")
    return (ROOT / file).is_file() and name.startswith("test_") and name in collected(ROOT / file)


def check_code(text: str) -> int:
    """Try every value and command that stands in a text; how many there were."""
    tried = 0
    for piece in code_of(text):
        words = shlex.split(piece)
        if words[0] == "dlrm":
            _check_command(words[1:])
        elif words[0] == "--set":
            for preset in ("tiny", "criteo_1tb_small"):
                load_preset(preset, words[1:])
        elif words[0].startswith("--"):
            assert re.search(rf"{words[0]}\b", help_of(["prepare"])), f"dlrm prepare has no {words[0]}"
        else:
            continue
        tried += 1
    return tried


def _check_command(words: list[str]) -> None:
    command = words[: 2 if words[0] == "bench" else 1]
    options = {word for word in words if word.startswith("--")}
    unknown = options - set(re.findall(r"--[\w-]+", help_of(command)))  # argparse would take the beginning of one, too
    assert not unknown, f"dlrm {shlex.join(command)} has no {unknown}"
    if not options:  # a command by its name alone
        return
    arguments = _parser().parse_args(words)
    if arguments.command == "train":
        load_preset(arguments.preset, [value for values in arguments.overrides for value in values])
    if arguments.command == "synthetic":
        synthetic_config(words[words.index("--out") + 2 :])


@cache
def _help(*command: str) -> str:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        _parser().parse_args([*command, "--help"])
    return shown.getvalue()


def help_of(command: Sequence[str]) -> str:
    """What `dlrm COMMAND --help` shows; empty if there is no such command."""
    with contextlib.redirect_stderr(io.StringIO()):
        return _help(*command)


def test_every_quirk_is_there():
    found = {number for erratum in ERRATA for number in erratum.quirk}
    assert found == set(range(1, NUM_QUIRKS + 1))


def test_a_quirk_without_a_test_says_why():
    alone = {number for erratum in ERRATA if not erratum.tests for number in erratum.quirk}
    assert alone == {22}  # there are no ranks yet
    assert all("not built yet" in e.later or "is built" in e.later for e in ERRATA if e.later is not None)


@pytest.mark.parametrize("erratum", ERRATA, ids=lambda erratum: erratum.id)
def test_every_named_test_is_there(erratum):
    assert [test for test in erratum.tests if not is_there(test)] == []
    assert len(set(erratum.tests)) == len(erratum.tests)


def test_a_test_that_is_not_there_is_found_out():
    assert is_there("tests/test_cli.py::test_help")
    assert not is_there("tests/test_cli.py::test_helpp")
    assert not is_there("tests/test_clii.py::test_help")
    assert not is_there("tests/reports/pages/test_errata.py::is_there")


@pytest.mark.parametrize("erratum", ERRATA, ids=lambda erratum: erratum.id)
def test_what_is_told_to_choose_otherwise_exists(erratum):
    tried = check_code(erratum.otherwise)
    check_code(erratum.chosen)
    assert tried or re.search("not offered, because|Cut the file", erratum.otherwise, re.IGNORECASE)


@pytest.mark.parametrize(
    "text",
    [
        "`dlrm prepair --out DATA`",
        "`dlrm prepare --train a --test b --out DATA --vocabulary none`",
        "`dlrm bench inference --out DIR --batch-size 3`",
        "`dlrm train --data DATA --out RUN --preset criteo_1tb`",
        "`dlrm train --data DATA --out RUN --preset tiny --set sede=3`",
        "`dlrm synthetic --out DATA rowss=3`",
        "`--set model.interaction_pad=two_columns`",
        "`--set model.padding=none`",
        "`--halved day`",
    ],
)
def test_what_does_not_exist_is_found_out(text):
    with pytest.raises((AssertionError, KitError, SystemExit)):
        check_code(text)


def test_presets_of_published_runs_are_as_told():
    small, large = (load_preset(f"criteo_1tb_{size}").train for size in ("small", "large"))
    assert (small.batch_size, small.mlps.lr, small.tables.lr) == (32768, 28.0, 28.0)
    schedule = small.schedule
    assert (schedule.warmup_steps, schedule.decay_start_step, schedule.decay_steps) == (6400, 64000, 80000)
    assert (large.batch_size, large.mlps.lr, large.tables.lr) == (65536, 24.0, 24.0)
    for name in ("criteo_1tb_small", "criteo_1tb_large", "criteo_1tb_xlarge", "criteo_kaggle"):
        assert load_preset(name).prepare.vocabulary == "all"


@pytest.mark.parametrize("unit", [{}, {"unit": None}])
def test_a_figure_without_a_unit_is_refused(unit):
    with pytest.raises(KitError, match="unit"):
        Metric.from_dict({"name": "x", "value": 1.0, "split": "test", "selection": "y"} | unit, source="here")


def test_the_words_are_our_own_affair():
    for erratum in ERRATA:
        for text in (erratum.chosen, erratum.otherwise):
            assert len(re.findall(r"\. [A-Z]", text)) < MOST_SENTENCES
            assert re.search(PATHS_TO_NOTHING, text) is None
        assert all(statement.says.endswith(".") for statement in erratum.statements)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"chosn": "a"}, "unknown key 'errata.0.chosn' .did you mean 'chosen'"),
        ({"statements": [{"where": "README, HEAD", "say": "a"}]}, "unknown key 'errata.0.statements.0.say'"),
        ({"statements": [{"where": "README, 2020", "says": "a"}]}, "where is 'README, 2020'"),
        ({"statements": GOOD["statements"][:1]}, "x: 1 statements; a contradiction needs at least 2"),
        ({"kind": "mistake"}, "'contradiction' or 'quirk'"),
        ({"quirk": [25]}, "numbers from 1 to 24 are needed"),
        ({"tests": []}, "tests are needed, or the reason"),
        ({"tests": ["tests/test_cli.py"]}, "FILE::NAME is needed"),
        ({"chosen": "`--set seed=1"}, "code between two backticks"),
        ({"otherwise": ""}, "otherwise is ''; words are needed"),
        ({"id": "An id"}, "small letters"),
    ],
)
def test_odd_entries_are_refused(change, said):
    assert Errata.from_dict({"errata": [GOOD]}, source="here").errata[0].quirk == (1,)
    with pytest.raises(KitError, match=said):
        Errata.from_dict({"errata": [GOOD | change]}, source="here")


def test_ids_differ():
    with pytest.raises(KitError, match="the id x stands for more than one entry"):
        Errata.from_dict({"errata": [GOOD, GOOD]}, source="here")


class Reader(HTMLParser):
    """Headings, links, text, and whether every element is closed in its place."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: dict[str, str] = {}
        self.links: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self._open.append(tag)
        if "id" in values:
            assert values["id"] not in self.ids
            self.ids[values["id"]] = tag
        self.links += [values["href"]] if tag == "a" else []

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def plain(text: str) -> str:
    return text.replace("`", "")


def test_the_section_holds_each_entry_in_full():
    seen = Reader(errata_section())
    for erratum in ERRATA:
        assert seen.ids[erratum.anchor] == "h4"
        for text in (erratum.title, erratum.chosen, erratum.otherwise, erratum.later or ""):
            assert plain(text) in seen.text
        for statement in erratum.statements:
            assert plain(statement.says) in seen.text
            assert all(piece in seen.text for piece in statement.where.split(", ", 2))
        assert all(test in seen.text for test in erratum.tests)


def test_contradictions_come_first_and_every_entry_is_linked():
    page = errata_section()
    seen = Reader(page)
    anchors = [erratum.anchor for erratum in sorted(ERRATA, key=lambda erratum: erratum.kind)]
    assert seen.links == [f"#{anchor}" for anchor in anchors]
    assert [id_ for id_, tag in seen.ids.items() if tag == "h4"] == anchors
    assert [id_ for id_, tag in seen.ids.items() if tag in ("h2", "h3")] == [
        "errata",
        "errata-of-kind-contradiction",
        "errata-of-kind-quirk",
    ]


def test_no_text_is_html(monkeypatch):
    evil = "<b>&amp;</b>"
    statements = [{"where": f"{w}, HEAD, {evil}", "says": f"{evil} `{evil}`"} for w in ("README", "code", "notebooks")]
    texts = dict.fromkeys(("title", "chosen", "otherwise", "later"), f"{evil} `{evil}`")
    made = Erratum.from_dict(GOOD | texts | {"statements": statements, "title": evil}, source="here")
    monkeypatch.setattr("reports.pages.errata.read_errata", lambda: (made,))
    page = errata_section()
    assert "<b>" not in page
    seen = Reader(page)
    assert seen.text.count(evil) == 2 + 3 * 2 + 3 * 3  # title and link, three texts, three statements with their places
    assert prose(evil) == "&lt;b&gt;&amp;amp;&lt;/b&gt;"
