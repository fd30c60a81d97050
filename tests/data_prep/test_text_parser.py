from itertools import product
from pathlib import Path

import polars as pl
import pytest

from data_prep.raw import CATEGORICAL, LABEL, NUMERICAL, Block, find_fault
from data_prep.text_parser import parse
from dlrm_core.schema.errors import KitError
from tests.conftest import random_rows, raw_line


def block(*lines):
    return Block(
        path=Path("raw"), first_line=11, num_lines=len(lines), data="".join(f"{line}\n" for line in lines).encode()
    )


def accepted(made):
    try:
        parse(made)
    except KitError:
        return False
    return True


def test_codes_of_every_field():
    rows = random_rows(50, seed=6)
    frame = parse(block(*rows))
    assert frame.schema == {LABEL: pl.Int8} | dict.fromkeys(NUMERICAL, pl.Int32) | dict.fromkeys(CATEGORICAL, pl.UInt32)
    for row, line in zip(frame.iter_rows(), rows, strict=True):
        text = line.split("\t")
        wanted = [int(text[0])]
        wanted += [int(field) if field else None for field in text[1:14]]
        wanted += [int(field, 16) if field else None for field in text[14:]]
        assert list(row) == wanted


def test_a_column_may_be_missing_in_every_row():
    empty = dict.fromkeys((*NUMERICAL, *CATEGORICAL), "")
    frame = parse(block(*[raw_line(label=1, **empty)] * 3))
    assert frame.height == 3
    assert frame.drop(LABEL).null_count().row(0) == (3,) * 39


# Every text of up to three of the characters that pass the quick look at a block, where a lax parser might give way.
TEXTS = ["".join(letters) for n in range(4) for letters in product("012-a", repeat=n)]


@pytest.mark.parametrize("column", ["label", "I1", "I13", "C1"])
def test_the_fast_parser_takes_exactly_what_the_format_allows(column):
    made = {text: block(raw_line(**{column: text})) for text in TEXTS}
    different = [text for text, one in made.items() if accepted(one) != (find_fault(one) is None)]
    assert different == []


@pytest.mark.parametrize("text", ["2147483647", "-2147483647", "-2147483648", "0000000001", "00000000001", "-0"])
def test_integers_that_fit_32_bits_are_sound_for_both_parsers(text):
    one = block(raw_line(I4=text))
    assert parse(one)["I4"].to_list() == [int(text)]
    assert find_fault(one) is None


BAD = [
    ("label", "2", "the label 0 or 1"),
    ("label", "", "the label 0 or 1"),
    ("label", "-1", "the label 0 or 1"),
    ("label", "257", "the label 0 or 1"),
    ("I1", "abc", "an integer of 32 bits or nothing"),
    ("I1", "12a", "an integer of 32 bits or nothing"),
    ("I2", "1e5", "an integer of 32 bits or nothing"),
    ("I3", "1.0", "an integer of 32 bits or nothing"),
    ("I4", "+5", "an integer of 32 bits or nothing"),
    ("I5", " 5", "an integer of 32 bits or nothing"),
    ("I6", "-", "an integer of 32 bits or nothing"),
    ("I7", "\0", "an integer of 32 bits or nothing"),
    ("I8", "2147483648", "an integer of 32 bits or nothing"),
    ("I9", "-2147483649", "an integer of 32 bits or nothing"),
    ("I10", "9999999999", "an integer of 32 bits or nothing"),
    ("I11", "99999999999999999999999", "an integer of 32 bits or nothing"),
    ("I13", '"5"', "an integer of 32 bits or nothing"),
    ("C1", "0000000A", "a category of 8 hexadecimal digits"),
    ("C2", "0000000", "a category of 8 hexadecimal digits"),
    ("C3", "000000000", "a category of 8 hexadecimal digits"),
    ("C4", "-000000a", "a category of 8 hexadecimal digits"),
    ("C5", "0x00000a", "a category of 8 hexadecimal digits"),
    ("C6", "0000000g", "a category of 8 hexadecimal digits"),
    ("C26", "é0000000", "a category of 8 hexadecimal digits"),
]


@pytest.mark.parametrize(("column", "text", "needed"), BAD, ids=[f"{c}={t!r}" for c, t, _ in BAD])
def test_bad_field_is_told_with_file_line_column_and_what_is_needed(column, text, needed):
    lines = [*random_rows(5, seed=7), raw_line(**{column: text}), *random_rows(5, seed=8)]
    with pytest.raises(KitError) as caught:
        parse(block(*lines))
    assert str(caught.value).startswith(f"raw:16: column {column} holds {text!r}; {needed}")


def test_a_sound_line_is_never_blamed_for_a_later_one():
    lines = [raw_line(I1=-(2**31)), raw_line(I2="00000000007"), raw_line(I3="x")]
    with pytest.raises(KitError, match=r"raw:13: column I3 holds 'x'"):
        parse(block(*lines))


@pytest.mark.parametrize(
    "line",
    [raw_line() + "\r", raw_line(C26="") + "\r", raw_line(I1="1\r1"), raw_line(label="\r"), raw_line(C5="\r0000000")],
    ids=["CRLF", "CRLF after a missing field", "CR inside a number", "CR as label", "CR inside a category"],
)
def test_carriage_returns_are_told_by_line(line):
    with pytest.raises(KitError, match=r"raw:12: "):
        parse(block(raw_line(), line, raw_line()))
