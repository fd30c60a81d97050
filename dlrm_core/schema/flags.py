"""The published flags and their counterparts, from `flags.yaml`."""

from importlib import resources

from pydantic import model_validator

from dlrm_core.schema.base import Strict
from dlrm_core.schema.yaml_file import read_mapping


class Flag(Strict):
    """One flag of the published code: who has it, and what this kit has in its place, or why nothing."""

    flag: str
    june_2020: bool
    head: bool
    set: str | None = None
    command: str | None = None
    not_offered: str | None = None
    note: str = ""

    @model_validator(mode="after")
    def _one_answer(self) -> "Flag":
        if sum(answer is not None for answer in (self.set, self.command, self.not_offered)) != 1:
            raise ValueError(f"{self.flag}: exactly one of set, command and not_offered is needed")
        return self

    def counterpart(self) -> str:
        """What stands in the table."""
        if self.not_offered is not None:
            return f"not offered, because {self.not_offered}"
        words = f"`--set {self.set}=...`" if self.set is not None else f"`{self.command}`"
        return f"{words}; {self.note}" if self.note else words


class Flags(Strict):
    """All of them."""

    flags: tuple[Flag, ...]


def published_flags() -> tuple[Flag, ...]:
    """The flags of `flags.yaml`, in its order."""
    with resources.as_file(resources.files("dlrm_core") / "schema" / "flags.yaml") as path:
        values = read_mapping(path, "a data file of the kit")
    return Flags.from_dict(values, source="flags.yaml").flags


def flags_table() -> str:
    """The same as a table in Markdown, as the README shows it."""
    rows = [f"| {_versions(flag)} | `{flag.flag}` | {flag.counterpart()} |" for flag in published_flags()]
    return "\n".join(["| in | published flag | here |", "|---|---|---|", *rows])


def _versions(flag: Flag) -> str:
    return ", ".join(name for name, there in (("June 2020", flag.june_2020), ("HEAD", flag.head)) if there)
