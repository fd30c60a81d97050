"""The parent of every schema: strict, frozen, and an unknown key is an error that names the nearest known one."""

import difflib
import json
import re
from typing import Any, Self, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from dlrm_core.schema.errors import KitError


class Strict(BaseModel):
    """Frozen model without coercion; unknown keys and numbers that are not finite are refused."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str) -> Self:
        """Parse JSON.

        Raises
        ------
        KitError
            If the text is not JSON or does not fit the schema; the message names `source` and the field.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise explain(error, cls, source) from None

    @classmethod
    def from_dict(cls, values: dict[str, Any], *, source: str) -> Self:
        """Validate plain data, as strictly as :meth:`from_json`: lists stand for tuples, whole numbers may be floats.

        Raises
        ------
        KitError
            If the data does not fit the schema; the message names `source` and the field.
        """
        return cls.from_json(json.dumps(values, default=str), source=source)

    def to_json(self) -> str:
        """Canonical JSON text: two-space indent, final newline."""
        return self.model_dump_json(indent=2) + "\n"


Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, but 1e-3 is a number, as in YAML 1.2, not a text."""


_EXPONENT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


def parse_yaml(text: str, *, source: str) -> Any:
    """Plain data from YAML.

    >>> parse_yaml("{lr: 1e-3, sizes: [4, 1]}", source="an example")
    {'lr': 0.001, 'sizes': [4, 1]}

    Raises
    ------
    KitError
        If the text is not YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise KitError(f"{source}: is not YAML ({str(error).splitlines()[0]})") from None


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, but a text that :class:`_Loader` would take for a number is quoted."""


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """PyYAML writes the line end U+0085 into single quotes as it is, where it is read back as a blank."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "\x85" in text else None)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


def dump_yaml(values: dict[str, Any]) -> str:
    r"""YAML that :func:`parse_yaml` reads back to the same plain data, keys in the given order.

    >>> dump_yaml({"columns": ["price", "1e3", "no"]})
    "columns:\n- price\n- '1e3'\n- 'no'\n"
    """
    return yaml.dump(values, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=1 << 30)


def nearest(name: str, known: list[str]) -> str:
    """`` (did you mean 'x'?)`` for the known name nearest to `name`, or an empty string.

    >>> nearest("sede", ["seed", "epochs"])
    " (did you mean 'seed'?)"
    """
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def explain(error: ValidationError, model: type[BaseModel], source: str) -> KitError:
    """The first fault of a pydantic error, an unknown key before others, as one sentence: where, what came, what was needed."""
    faults = error.errors(include_url=False)
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])  # a misspelt key is missing, too
    path = ".".join(str(part) for part in fault["loc"]) or "(whole document)"
    if fault["type"] == "extra_forbidden":
        known = _known_names(model, fault["loc"][:-1])
        hint = nearest(str(fault["loc"][-1]), known)
        return KitError(f"{source}: unknown key '{path}'{hint}; known here: {', '.join(known)}")
    if fault["type"] == "missing":
        return KitError(f"{source}: key '{path}' is missing")
    came = repr(fault["input"])
    came = came if len(came) <= 80 else came[:77] + "..."
    message = fault["msg"].removeprefix("Value error, ")
    return KitError(f"{source}: '{path}' is {came}; {message[:1].lower()}{message[1:]}")


def _known_names(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    current: Any = model
    for part in path:
        fields = getattr(_schema_in(current), "model_fields", {})
        inside_container = get_origin(current) in (tuple, list, dict)
        current = _schema_in(current) if inside_container or part not in fields else fields[part].annotation
    return list(getattr(_schema_in(current), "model_fields", {}))


def _schema_in(annotation: Any) -> Any:
    """The schema that an annotation holds: X for X itself, `X | None`, `tuple[X, ...]` and `dict[str, X]`; None if none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_schema_in(argument) for argument in get_args(annotation))
    return next((schema for schema in found if schema is not None), None)
