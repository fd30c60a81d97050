"""The parent of every schema: strict, frozen, and an unknown key is an error that names the nearest known one."""

import difflib
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from dlrm_core.schema.errors import KitError


class Strict(BaseModel):
    """Frozen model without coercion; unknown keys are refused."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", validate_default=True)

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
        """Validate plain data (as YAML gives it: lists for tuples are accepted).

        Raises
        ------
        KitError
            If the data does not fit the schema; the message names `source` and the field.
        """
        try:
            return cls.model_validate(values, strict=False)
        except ValidationError as error:
            raise explain(error, cls, source) from None

    def to_json(self) -> str:
        """Canonical JSON text: two-space indent, final newline."""
        return self.model_dump_json(indent=2) + "\n"


Model = TypeVar("Model", bound=BaseModel)


def nearest(name: str, known: list[str]) -> str:
    """`` (did you mean 'x'?)`` for the known name nearest to `name`, or an empty string.

    >>> nearest("sede", ["seed", "epochs"])
    " (did you mean 'seed'?)"
    """
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def explain(error: ValidationError, model: type[BaseModel], source: str) -> KitError:
    """The first fault of a pydantic error as one sentence: where, what came, what was needed."""
    fault = error.errors(include_url=False)[0]
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
        field = getattr(current, "model_fields", {}).get(part)
        if field is not None:
            current = field.annotation
    return list(getattr(current, "model_fields", {}))
