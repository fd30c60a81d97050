"""A YAML file that holds a mapping."""

from pathlib import Path
from typing import Any

from dlrm_core.schema.base import parse_yaml
from dlrm_core.schema.errors import KitError


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """The keys and values of a YAML file; `what` says what it should be, for a file that is not there.

    Raises
    ------
    KitError
        If it is missing, is not UTF-8 or not YAML, or holds anything else than a mapping.
    """
    if not path.is_file():
        raise KitError(f"{path}: no such file; {what}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise KitError(f"{path}: is not a text in UTF-8; a YAML is needed") from None
    values = parse_yaml(text, source=str(path))
    if not isinstance(values, dict):
        raise KitError(f"{path}: holds {type(values).__name__}, a mapping is needed")
    return values
