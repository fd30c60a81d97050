import re

import pytest

from dlrm_core.schema.base import dump_yaml, parse_yaml
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.table import TableSpec, read_table_spec, table_spec_text

SOUND = "label: clicked\nnumerical: [price]\ncategorical: [city, hotel]\n"


def read(tmp_path, text):
    path = tmp_path / "my.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table_spec(path)


def test_what_is_not_said(tmp_path):
    spec = read(tmp_path, SOUND)
    assert (spec.label, spec.numerical, spec.categorical) == ("clicked", ("price",), ("city", "hotel"))
    assert (spec.missing, spec.separator, spec.numerical_transform) == (("", "NA"), ",", "none")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SOUND.replace("label:", "lable:"), ["unknown key 'lable'", "did you mean 'label'?"]),
        (SOUND.replace("categorical", "categorial"), ["'categorial'", "did you mean 'categorical'?"]),
        (SOUND + "seperator: ';'\n", ["'seperator'", "did you mean 'separator'?"]),
        (SOUND.replace("label: clicked\n", ""), ["key 'label' is missing"]),
        (SOUND.replace("[price]", "[]"), ["at least one column under numerical and one under categorical"]),
        (SOUND.replace("[city, hotel]", "[]"), ["at least one column"]),
        (SOUND.replace("hotel", "city"), ["column 'city' stands twice"]),
        (SOUND.replace("hotel", "price"), ["column 'price' stands twice"]),
        (SOUND.replace("hotel", "clicked"), ["column 'clicked' stands twice"]),
        (SOUND.replace("[price]", "price"), ["'numerical' is 'price'"]),
        (SOUND.replace("[price]", "[2020]"), ["'numerical.0' is 2020", "string"]),
        (SOUND + "separator: ', '\n", ["separator ', ': one ASCII character"]),
        (SOUND + "separator: '§'\n", ["one ASCII character"]),
        (SOUND + "separator: '\"'\n", ["one ASCII character other than a quote"]),
        (SOUND + "numerical_transform: log\n", ["'numerical_transform' is 'log'"]),
        (SOUND + "schema_version: 2\n", ["'schema_version' is 2"]),
        ("- a\n", ["a mapping is needed"]),
        ("", ["a mapping is needed"]),
        ("a: [", ["is not YAML"]),
        (b"label: \xff\n", ["is not a text in UTF-8"]),
    ],
)
def test_mistakes_are_named(tmp_path, text, words):
    with pytest.raises(KitError) as error:
        read(tmp_path, text)
    message = str(error.value)
    assert message.startswith(str(tmp_path / "my.yaml"))
    assert all(word in message for word in words), message


def test_no_file(tmp_path):
    with pytest.raises(KitError, match="no such file; `dlrm spec` writes one"):
        read_table_spec(tmp_path / "my.yaml")


AWKWARD = [
    "1e3",
    "12",
    "no",
    "null",
    "~",
    "a: b",
    "# x",
    "- y",
    "'q'",
    '"r"',
    "tab\there",
    "line\nbreak",
    " s ",
    "Zürich",
]
AWKWARD += ["🏨", "\x85", "\u2028", "x" * 300, "2020-01-01", "0x1f", "", "%", "@at", "a, b"]


def test_any_name_of_a_column_comes_back(tmp_path):
    spec = TableSpec(label="1e5", numerical=tuple(AWKWARD[:9]), categorical=tuple(AWKWARD[9:]), separator="\t")
    assert read(tmp_path, table_spec_text(spec, ["left out: 'a\u2028b'", "two\nlines"])) == spec


def test_comments_are_a_line_each():
    text = table_spec_text(TableSpec(label="y", numerical=("a",), categorical=("b",)), ["one", "two\nlabel: z"])
    assert re.findall(r"^# .*", text, flags=re.MULTILINE) == ["# one", "# two label: z"]


@pytest.mark.parametrize("value", ["1e3", "-1E+5", ".5e1", 1e-3, 3, True, None, "yes", ["1e3"]])
def test_yaml_goes_round(value):
    assert parse_yaml(dump_yaml({"x": value}), source="a test") == {"x": value}
