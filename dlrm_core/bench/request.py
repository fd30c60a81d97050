"""What `dlrm bench training` and `dlrm bench inference` are asked for, and the record they write into."""

import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dlrm_core.bench.peers import SideSpec, resolve
from dlrm_core.bench.workload import CONFIGS, LEARNING_RATE, ZIPF_EXPONENT, Workload
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import Recorder, recording

LIMITS_SIDE = "limits"


@dataclass(frozen=True)
class Request:
    """Configurations by name, peers, our precisions; whatever is None stays as the configuration has it.

    `steps` counts a round's steps in training and calls in inference.
    """

    configs: Sequence[str]
    against: Sequence[str]
    precisions: Sequence[str]
    rounds: int | None = None
    steps: int | None = None
    batch_size: int | None = None

    def workloads(self) -> list[Workload]:
        """The configurations, changed as asked.

        Raises
        ------
        KitError
            If a number cannot be.
        """
        changes = {"rounds": self.rounds, "steps": self.steps, "batch_size": self.batch_size}
        given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
        for name, value in given.items():
            if value < (2 if name == "steps" else 1):
                raise KitError(f"--{name.replace('_', '-')}: {value} came; at least 1, of steps and calls 2, is needed")
        return [replace(CONFIGS[name], **given) for name in self.configs]

    def sides(self) -> list[SideSpec]:
        """The sides that run; see :func:`resolve`."""
        return resolve(self.against, self.precisions)

    def record(self, out: Path, subject: str, extra: Sequence[str] = ()) -> AbstractContextManager[Recorder]:
        """The record of the run; `extra` are words of the command line that only this subject has."""
        words = ["--config", *self.configs, "--against", ",".join(self.against), "--precision", *self.precisions]
        steps = "--calls" if subject == "inference" else "--steps"
        for option, value in (("--rounds", self.rounds), (steps, self.steps), ("--batch-size", self.batch_size)):
            words += [] if value is None else [option, str(value)]
        config = {
            "workloads": [workload.to_dict() for workload in self.workloads()],
            "against": list(self.against),
            "precision": list(self.precisions),
            "learning_rate": LEARNING_RATE,
            "ids": f"Zipf, exponent {ZIPF_EXPONENT}, truncated at the table, permuted",
        }
        return recording(
            out,
            "bench",
            name=f"bench {subject}, {' '.join(self.configs)}",
            repeat=f"dlrm bench {subject} --out DIR {shlex.join([*words, *extra])}",
            config=config,
            seeds={"data and weights": CONFIGS["S"].seed},
        )


def limits_side(python: str) -> SideSpec:
    """The process that measures limits and gauge."""
    return SideSpec(LIMITS_SIDE, "limits", "all", python, False)
