import html
import re

import mistune
import pytest

from dlrm_core.schema.base import parse_yaml
from reports.cards.card import MOST_ROWS, Bullets, Card, Code, Commands, Grid, Words, file_name, make_card

UNSHOWN = r'<details>.*?</details>|<p class="download">.*?</p>'  # the metadata, and the tables once more as files
NASTY = "a|b <script>alert(1)</script> *c* _d_ `e` [f](g) &lt; ~~h~~ \\ snake_case"


def metadata_of(card: Card) -> dict:
    """The YAML block of the Markdown."""
    _, front, _ = card.markdown.split("---\n", 2)
    return parse_yaml(front, source="the card")


def body_of(card: Card) -> str:
    return card.markdown.split("---\n", 2)[2]


def rendered(card: Card) -> str:
    """The Markdown's text through a renderer that is not ours."""
    return mistune.create_markdown(plugins=["table", "strikethrough"])(body_of(card))


def words_of(page: str) -> list[str]:
    """Every word that a reader sees."""
    return html.unescape(re.sub(r"<[^>]+>", " ", re.sub(UNSHOWN, "", page, flags=re.S))).split()


def both(card: Card) -> str:
    """The text that both forms show; they must show the same."""
    markdown, page = words_of(rendered(card)), words_of(card.html)
    # A caption stands before its table in both; the rest is in the same order too.
    assert markdown == page
    return " ".join(page)


def card_of(*blocks, title: str = "A title") -> Card:
    return make_card(title, "a-file", {"license": "unknown", "tags": ["no", "1e3"]}, {"First": blocks, "Empty": []})


def test_both_forms_show_the_same_words_letter_by_letter():
    grid = Grid(["what", NASTY], [[NASTY, Code("`x`|y")], ["n", 3], ["d", Code("a`b")]], f"Caption {NASTY}")
    text = both(card_of(Words(NASTY), Bullets([NASTY, "two"]), grid, title=NASTY))
    assert text.count(NASTY) == 6
    assert "`x`|y" in text
    assert "Empty" not in text


@pytest.mark.parametrize("start", ["# x", "- x", "+ x", "12. x", "1) x", "> x", "---", "=== x", "* x", "| a | b |"])
def test_no_text_becomes_structure(start):
    assert both(card_of(Words(start))).endswith(start)


def test_numbers_are_not_dressed_up():
    markdown = card_of(Grid(["a", "b"], [["0.78552", "+0.1 to -0.2"]], "c")).markdown
    assert "| 0.78552 | +0.1 to -0.2 |" in markdown


def test_html_is_escaped_in_both_forms():
    card = card_of(Words(NASTY), Grid(["a"], [[NASTY], [Code("<b>")]], NASTY), title="<i>")
    assert "<script" not in card.html
    assert "<script" not in rendered(card)
    assert "<i>" not in card.html


def test_every_row_of_a_markdown_table_has_as_many_cells_as_its_head():
    markdown = body_of(card_of(Grid(["a", "b"], [["x|y", "two\nlines"], [Code("p|q"), "||"]], "c")))
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}


def test_metadata_reads_back_and_is_shown_in_the_page():
    card = card_of(Words("x"))
    assert metadata_of(card) == {"license": "unknown", "tags": ["no", "1e3"]}
    assert "license: unknown" in card.html


def test_commands_cannot_leave_their_block():
    card = card_of(Commands(["echo ```", "rm -r '<b>'"]))
    code = html.unescape(re.search(r"<code[^>]*>(.*?)</code>", rendered(card), re.S)[1])
    assert code.splitlines() == ["echo ```", "rm -r '<b>'"]
    assert "&lt;b&gt;" in card.html


def test_no_folder_of_a_machine_is_shown():
    place = "/home/somebody/secret/day_0"
    card = card_of(Words(place), Bullets([place]), Grid(["a"], [[place], [Code(place)]], place), Commands([place]))
    for text in (card.markdown, card.html):
        assert "somebody" not in text
        assert text.count("day_0") >= 6


def test_addresses_stay_whole():
    assert "https://creativecommons.org/licenses/by-nc-sa/4.0/" in both(
        card_of(Words("see https://creativecommons.org/licenses/by-nc-sa/4.0/ now"))
    )


def test_a_long_table_says_what_it_leaves_out():
    rows = [[f"file {i}", i] for i in range(MOST_ROWS + 7)]
    text = both(card_of(Grid(["file", "bytes"], rows, "c", "dataset.json")))
    assert f"file {MOST_ROWS - 1}" in text
    assert f"file {MOST_ROWS}" not in text
    assert "7 more, all of them in dataset.json" in text
    assert "more, all" not in both(card_of(Grid(["file", "bytes"], rows[:MOST_ROWS], "c")))


def test_ids_differ_between_cards_of_one_page():
    pages = [make_card("T", file, {}, {"First": [Words("x")]}).html for file in ("a", "b")]
    ids = re.findall(r'id="([^"]+)"', "".join(pages))
    assert len(ids) == len(set(ids)) == 4


def test_file_names_are_short_plain_and_differ():
    names = {file_name("model-card", "x/../é " * 99, str(key)) for key in range(5)}
    assert len(names) == 5
    assert all(re.fullmatch(r"[a-z0-9-]{1,90}", name) for name in names)
