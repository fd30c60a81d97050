"""What each notebook may be given, checked in the notebook itself, so that plain papermill is as strict as the runner.

papermill only warns of a misspelt name, and gives `-p amp false` as the text 'false'. So the cell after the one tagged
`parameters` calls :func:`check`, which reads what was set, coerces it, and refuses what it does not know.
"""

import ast
import json
import os
from pathlib import Path
from typing import Any

from IPython import get_ipython
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from data_prep.engines import ENGINES
from dlrm_core.idle import sleep_when_idle
from dlrm_core.schema.base import nearest
from dlrm_core.schema.config import Preset, load_preset, preset_names
from dlrm_core.schema.errors import KitError
from dlrm_core.train.modes import MODES, varied

INJECTED = "# Parameters"  # how papermill begins the cell that it injects


class _Parameters(BaseModel):
    """Common to all: coercing (papermill's command line gives texts), frozen, no unknown name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str = "workshop"
    runs: str = ""

    @field_validator("preset")
    @classmethod
    def _known(cls, name: str) -> str:
        if not name.endswith((".yaml", ".yml")) and name not in preset_names():
            raise ValueError(f"unknown preset{nearest(name, preset_names())}; presets: {', '.join(preset_names())}")
        return name

    @property
    def folder(self) -> Path:
        """Where this preset's stages keep their results."""
        return Path(self.runs) if self.runs else home() / "runs" / Path(self.preset).stem


class Start(_Parameters):
    """00_start_here."""


class PrepareData(_Parameters):
    """01_prepare_data."""

    train: list[str] = Field(default_factory=list)
    test: list[str] = Field(default_factory=list)
    frequency_limit: int = Field(default=0, ge=0)
    engines: str = "polars"

    @property
    def engine_names(self) -> list[str]:
        """The engines that are timed."""
        return [name.strip() for name in self.engines.split(",") if name.strip()]

    @field_validator("engines")
    @classmethod
    def _engines_known(cls, text: str) -> str:
        for name in (part.strip() for part in text.split(",") if part.strip()):
            if name not in ENGINES:
                raise ValueError(
                    f"unknown engine {name!r}{nearest(name, list(ENGINES))}; engines: {', '.join(ENGINES)}"
                )
        return text

    @field_validator("train", "test", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        """A list, a JSON list as text, or one or more paths separated by blanks."""
        if isinstance(value, str):
            return json.loads(value) if value.lstrip().startswith("[") else value.split()
        return value


class ModelByHand(_Parameters):
    """02_model_by_hand."""

    seed: int = Field(default=7, ge=0)


class _OnData(_Parameters):
    """Common to what works on a prepared data set."""

    data: str = ""

    @field_validator("overrides", mode="before", check_fields=False)
    @classmethod
    def _list(cls, value: Any) -> Any:
        """A list, a JSON list as text, or key.path=value pairs separated by blanks."""
        if isinstance(value, str):
            return json.loads(value) if value.lstrip().startswith("[") else value.split()
        return value

    @property
    def data_folder(self) -> Path:
        """The prepared data set: the one named, or what 01_prepare_data left."""
        return Path(self.data) if self.data else self.folder / "data"


class Train(_OnData):
    """04_train."""

    seed: int = Field(default=-1, ge=-1)
    baselines: bool = True
    overrides: list[str] = Field(default_factory=list)

    def load(self) -> tuple[Preset, list[str]]:
        """The preset with the overrides applied, and those overrides, the seed among them."""
        changes = list(self.overrides) + ([f"seed={self.seed}"] if self.seed >= 0 else [])
        return load_preset(self.preset, changes), changes


class Throughput(_Parameters):
    """07_throughput; the command's own check refuses a name that it does not know."""

    sizes: str = "S"
    batch_sizes: str = "2048"
    precisions: str = "fp32 bf16"
    implementations: str = "reference fast"
    rounds: int = Field(default=3, ge=1)

    @field_validator("batch_sizes", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        """One batch size is a number on papermill's command line."""
        return str(value) if type(value) is int else value

    @field_validator("batch_sizes")
    @classmethod
    def _numbers(cls, text: str) -> str:
        if not all(word.isdigit() for word in text.split()):
            raise ValueError("whole numbers separated by blanks are needed")
        return text

    def asked(self) -> Any:
        """What the benchmark is asked for.

        Raises
        ------
        KitError
            If a name is unknown or stands twice.
        """
        from dlrm_core.bench.throughput_request import Asked

        return Asked(
            sizes=self.sizes.split(),
            batch_sizes=[int(word) for word in self.batch_sizes.split()],
            precisions=self.precisions.split(),
            implementations=self.implementations.split(),
            rounds=self.rounds,
        )


class Stability(_OnData):
    """06_stability."""

    seeds: str = "1 2 3"
    precisions: str = "fp32 bf16"
    overrides: list[str] = Field(default_factory=list)

    @field_validator("seeds", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        """A list, or one seed alone, which papermill's command line gives as a number."""
        return " ".join(map(str, value)) if isinstance(value, list) else str(value) if type(value) is int else value

    @field_validator("seeds")
    @classmethod
    def _numbers(cls, text: str) -> str:
        words = text.split()
        if not all(word.isdecimal() for word in words) or len(set(words)) < max(3, len(words)):
            raise ValueError(
                "at least three different whole numbers separated by blanks are needed, for example '1 2 3'"
            )
        return text

    @field_validator("precisions")
    @classmethod
    def _modes(cls, text: str) -> str:
        words = text.split()
        for word in words:
            if word not in MODES:
                raise ValueError(
                    f"unknown precision {word!r}{nearest(word, list(MODES))}; precisions: {', '.join(MODES)}"
                )
        if len(set(words)) < max(2, len(words)):
            raise ValueError(
                "at least two different precisions separated by blanks are needed, for example 'fp32 bf16'"
            )
        return text

    @property
    def seed_numbers(self) -> list[int]:
        """The seeds."""
        return [int(word) for word in self.seeds.split()]

    @property
    def modes(self) -> list[str]:
        """The precisions; the first is what the others are compared with."""
        return self.precisions.split()

    def kept(self) -> tuple[list[str], list[str]]:
        """The overrides that hold for all runs, and those that do not: of the seed and whatever else the notebook varies."""
        dropped = [override for override in self.overrides if varied(override, self.modes)]
        return [override for override in self.overrides if override not in dropped], dropped


class OwnData(_Parameters):
    """10_your_own_data."""

    table: str = ""
    label: str = ""

    @field_validator("table", "label", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        """A column may be called 7, which papermill's command line gives as a number."""
        return str(value) if type(value) in (int, float) else value


class Report(_Parameters):
    """09_report."""

    html: str = ""


SCHEMAS: dict[str, type[_Parameters]] = {
    "00_start_here": Start,
    "01_prepare_data": PrepareData,
    "02_model_by_hand": ModelByHand,
    "04_train": Train,
    "06_stability": Stability,
    "07_throughput": Throughput,
    "10_your_own_data": OwnData,  # before the report, which shows its data set too
    "09_report": Report,
}


def home() -> Path:
    """The project folder: the nearest one above the working directory that holds `notebooks/` and `dlrm_core/`, else here."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "notebooks").is_dir() and (folder / "dlrm_core").is_dir():
            return folder
    return here


def shown(path: Path) -> str:
    """`path` relative to the project folder where it lies below it."""
    return os.path.relpath(path, home()) if path.is_relative_to(home()) else str(path)


def validate(notebook: str, values: dict[str, Any]) -> Any:
    """Check values for a notebook's parameters.

    Raises
    ------
    KitError
        If a name is unknown (with the nearest known one) or a value does not fit.
    """
    schema = SCHEMAS[notebook]
    known = list(schema.model_fields)
    for name in values:
        if name not in known:
            raise KitError(
                f"{notebook}: unknown parameter '{name}'{nearest(name, known)}; parameters: {', '.join(known)}"
            )
    try:
        return schema(**values)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        needed = fault["msg"].removeprefix("Value error, ")
        raise KitError(f"{notebook}: parameter '{fault['loc'][0]}' is {fault['input']!r}; {needed}") from None


def check(notebook: str) -> Any:
    """The parameters of the running notebook, checked; call it in the cell after the one tagged `parameters`.

    Raises
    ------
    KitError
        As :func:`validate`.
    """
    shell = get_ipython()
    if shell is None:
        raise KitError("check() reads the parameters of a running notebook; use validate() elsewhere")
    sleep_when_idle()
    names = _assigned_names(list(shell.user_ns.get("In", [])), set(SCHEMAS[notebook].model_fields))
    return validate(notebook, {name: shell.user_ns[name] for name in names if name in shell.user_ns})


def _assigned_names(cells: list[str], known: set[str]) -> list[str]:
    """Names set by the last parameters cell and by an injected cell after it."""
    names: dict[str, None] = {}
    for source in cells:
        assigned = _pure_assignments(source)
        if source.startswith(INJECTED):
            names |= dict.fromkeys(assigned)
        elif known & set(assigned):
            names = dict.fromkeys(assigned)
    return list(names)


def _pure_assignments(source: str) -> list[str]:
    """The names that a cell sets, if setting names is all that it does; else none."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return []
    names = []
    for statement in body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            names.append(statement.target.id)
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            names.append(statement.targets[0].id)
        else:
            return []
    return names
