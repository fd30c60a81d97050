"""A table of one's own: which column is the label, which are numbers, which are categories."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from dlrm_core.schema.base import Strict, dump_yaml
from dlrm_core.schema.dataset import NumericalTransform
from dlrm_core.schema.yaml_file import read_mapping


def is_separator(text: str) -> bool:
    """Whether the text can stand between the fields of a CSV file: one ASCII character, no quote and no line end."""
    return len(text) == 1 and text.isascii() and text not in '"\r\n'


class TableSpec(Strict):
    """What `dlrm prepare --spec` reads, as YAML.

    Attributes
    ----------
    label : str
        Column of the clicks: 0 or 1, false or true, in every row.
    numerical, categorical : tuple of str
        Columns of the features, in the order that the model sees them; at least one of each.
    missing : tuple of str
        Texts that stand for a missing value, beside the empty one, which always does.
    separator : str
        Between the fields of a CSV file: one ASCII character.
    numerical_transform : str
        See `Preparation`; ``none`` keeps numbers as they are, in float16. A missing number is 0 after it.
    """

    schema_version: Literal[1] = 1
    label: str
    numerical: tuple[str, ...]
    categorical: tuple[str, ...]
    missing: tuple[str, ...] = ("", "NA")
    separator: str = ","
    numerical_transform: NumericalTransform = "none"

    @model_validator(mode="after")
    def _consistent(self) -> "TableSpec":
        if not self.numerical or not self.categorical:
            raise ValueError("a DLRM needs at least one column under numerical and one under categorical")
        if not is_separator(self.separator):
            raise ValueError(
                f"separator {self.separator!r}: one ASCII character other than a quote or a line end is needed"
            )
        seen: set[str] = set()
        for name in (self.label, *self.numerical, *self.categorical):
            if name in seen:
                raise ValueError(f"column {name!r} stands twice; each has one role")
            seen.add(name)
        return self


def read_table_spec(path: Path) -> TableSpec:
    """Read a spec.

    Raises
    ------
    KitError
        If the file is missing, is not YAML or does not fit the schema.
    """
    values = read_mapping(path, "`dlrm spec` writes one from a CSV or Parquet file")
    return TableSpec.from_dict(values, source=str(path))


def table_spec_text(spec: TableSpec, comments: Iterable[str] = ()) -> str:
    """A spec as YAML that :func:`read_table_spec` reads back, below one comment line each of `comments`."""
    lines = [f"# {' '.join(comment.split())}" for comment in comments]
    return "\n".join([*lines, dump_yaml(spec.model_dump(mode="json"))])
