from typing import Literal

import pytest
from pydantic import Field, ValidationError

from dlrm_core.schema.base import Strict, nearest
from dlrm_core.schema.errors import KitError


class Inner(Strict):
    rate: float = Field(default=0.5, gt=0)
    kind: Literal["sgd", "adam"] = "sgd"


class Outer(Strict):
    seed: int
    sizes: tuple[int, ...] = (1, 2)
    inner: Inner = Inner()
    maybe: Inner | None = None
    several: tuple[Inner, ...] = ()
    by_name: dict[str, Inner] = Field(default_factory=dict)


def refused(values):
    with pytest.raises(KitError) as caught:
        Outer.from_dict(values, source="the file")
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "path", "hint"),
    [
        ({"seed": 1, "sise": 2}, "'sise'", "did you mean 'sizes'?"),
        ({"seed": 1, "inner": {"rat": 2.0}}, "'inner.rat'", "did you mean 'rate'?"),
        ({"seed": 1, "maybe": {"rat": 2.0}}, "'maybe.rat'", "did you mean 'rate'?"),
        ({"seed": 1, "several": [{}, {"rat": 2.0}]}, "'several.1.rat'", "did you mean 'rate'?"),
        ({"seed": 1, "by_name": {"a": {"rat": 2.0}}}, "'by_name.a.rat'", "did you mean 'rate'?"),
    ],
    ids=["top", "section", "optional section", "list of sections", "sections by name"],
)
def test_unknown_key_names_the_nearest_wherever_it_stands(values, path, hint):
    message = refused(values)
    assert message.startswith(f"the file: unknown key {path}")
    assert hint in message


def test_unknown_key_without_a_near_one_lists_the_known():
    message = refused({"seed": 1, "zzzzzz": 1})
    assert "did you mean" not in message
    assert message.endswith("known here: seed, sizes, inner, maybe, several, by_name")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "key 'seed' is missing"),
        ({"seed": "many"}, "'seed' is 'many'"),
        ({"seed": 1, "inner": {"rate": 0}}, "'inner.rate' is 0; input should be greater than 0"),
        ({"seed": 1, "inner": {"kind": "sdg"}}, "'inner.kind' is 'sdg'; input should be 'sgd' or 'adam'"),
        ({"seed": 1, "sizes": [1, "a"]}, "'sizes.1' is 'a'"),
        ({"seed": "x" * 1000}, "..."),
    ],
)
def test_other_faults_say_where_what_came_and_what_was_needed(values, said):
    message = refused(values)
    assert message.startswith("the file: ")
    assert said in message
    assert len(message) < 300
    assert "\n" not in message


@pytest.mark.parametrize("value", [True, "3", 3.5, None])
def test_whole_numbers_are_not_coerced(value):
    assert "seed" in refused({"seed": value})


@pytest.mark.parametrize("value", [True, float("nan"), float("inf")])
def test_rates_are_finite_numbers(value):
    assert "inner.rate" in refused({"seed": 1, "inner": {"rate": value}})


def test_what_yaml_gives_for_tuples_and_floats_is_taken():
    made = Outer.from_dict({"seed": 1, "sizes": [3, 4], "inner": {"rate": 2}}, source="x")
    assert made.sizes == (3, 4)
    assert made.inner.rate == 2.0
    assert isinstance(made.inner.rate, float)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"seed": "1"}', '{"seed": 1.5}', '{"seed": true}', '{"seed": 1, "x": 1}']
)
def test_json_is_read_without_coercion(text):
    with pytest.raises(KitError, match=r"^DATA/x\.json: "):
        Outer.from_json(text, source="DATA/x.json")


def test_frozen():
    made = Outer(seed=1)
    with pytest.raises(ValidationError, match="frozen"):
        made.seed = 2
    with pytest.raises(ValidationError, match="frozen"):
        made.inner.rate = 2.0


def test_round_trip_is_canonical():
    made = Outer(seed=1, several=(Inner(rate=0.1), Inner(kind="adam")), by_name={"b": Inner(), "a": Inner()})
    text = made.to_json()
    assert text.endswith("}\n")
    assert Outer.from_json(text, source="x") == made
    assert Outer.from_json(text, source="x").to_json() == text


def test_nearest():
    assert nearest("sede", ["seed", "epochs"]) == " (did you mean 'seed'?)"
    assert nearest("q", ["seed", "epochs"]) == ""
    assert nearest("q", []) == ""
