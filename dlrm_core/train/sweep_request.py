"""What a sweep is asked for, and which runs it is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrm_core.schema.base import nearest
from dlrm_core.schema.config import TrainConfig, load_preset
from dlrm_core.schema.errors import KitError
from dlrm_core.train.implementation import choose
from dlrm_core.train.modes import DEFAULT, MODES, varied


@dataclass(frozen=True)
class Run:
    """One training of a sweep."""

    mode: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.mode}-seed-{self.seed}"


@dataclass(frozen=True)
class Request:
    """What a sweep is asked for.

    Attributes
    ----------
    preset : str
        Of the kit, or the path of a YAML.
    seeds : sequence of int
    modes : sequence of str
        Of :data:`dlrm_core.train.modes.MODES`; the first is what the others are compared with.
    overrides : sequence of str
        `key.path=value`, for all runs; of nothing that the sweep itself varies.
    discard_weights : bool
        Whether a run's weights are deleted once it has been scored. What was trained before is left as it is.
    """

    preset: str
    seeds: Sequence[int]
    modes: Sequence[str] = DEFAULT
    overrides: Sequence[str] = ()
    discard_weights: bool = False

    def runs(self) -> list[Run]:
        """What is to be trained, all precisions of a seed before the next seed."""
        return [Run(mode, seed) for seed in self.seeds for mode in self.modes]

    def words(self, run: Run) -> list[str]:
        """The overrides of one run."""
        return [*self.overrides, *MODES[run.mode], f"seed={run.seed}"]

    def config(self, run: Run) -> TrainConfig:
        """The complete configuration of one run."""
        return load_preset(self.preset, self.words(run)).train

    def identity(self) -> dict[str, Any]:
        """What must not change in a sweep that goes on."""
        common = load_preset(self.preset, list(self.overrides)).train.model_dump(mode="json")
        return {"preset": Path(self.preset).name, "overrides": list(self.overrides), "train": common}

    def check(self) -> None:
        """Refuse what cannot work before anything is trained.

        Raises
        ------
        KitError
            If a mode is unknown, a seed or mode is named twice, an override sets what the sweep varies, or a mode cannot
            run here.
        """
        for mode in self.modes:
            if mode not in MODES:
                raise KitError(
                    f"unknown precision {mode!r}{nearest(mode, list(MODES))}; precisions: {', '.join(MODES)}"
                )
        for what, named in (("seed", self.seeds), ("precision", self.modes)):
            twice = next((each for each in named if list(named).count(each) > 1), None)
            if twice is not None or not named:
                came = "none came" if twice is None else f"{twice} came twice"
                raise KitError(f"{what}s: {came}; each is to be named once")
        for override in self.overrides:
            if varied(override, self.modes):
                raise KitError(
                    f"--set {override}: a sweep sets that itself; use --seeds and --precisions, or `dlrm train`"
                )
        for run in self.runs():
            choose(self.config(run))
