"""What `bench throughput` is asked for: every combination of sizes, batches, precisions and implementations."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain, product
from typing import Any

from dlrm_core.bench.cost import NUMBER_BYTES
from dlrm_core.bench.peers import check_names
from dlrm_core.schema.errors import KitError

SIZES = ("S", "N")
IMPLEMENTATIONS = {"reference": True, "fast": False}  # whether deterministic


@dataclass(frozen=True)
class Case:
    """One combination; `label` is the split of its metrics and curves, and its key in the record's choices."""

    size: str
    batch_size: int
    precision: str
    implementation: str

    @property
    def label(self) -> str:
        """For example ``N, batch 4096, bf16, fast``."""
        return f"{self.size}, batch {self.batch_size}, {self.precision}, {self.implementation}"

    def to_dict(self) -> dict[str, Any]:
        """What stands in the record's ``config["cases"]``."""
        return asdict(self) | {"label": self.label}


@dataclass(frozen=True)
class Asked:
    """What the benchmark is asked for.

    Parameters
    ----------
    rounds, steps : int
        Every round, each case runs `steps` steps whole and `steps` of compute, of which the first is not counted.

    Raises
    ------
    KitError
        If a name is unknown or stands twice, or a number cannot be.
    """

    sizes: Sequence[str] = SIZES
    batch_sizes: Sequence[int] = (2048, 4096)
    precisions: Sequence[str] = ("fp32", "bf16")
    implementations: Sequence[str] = tuple(IMPLEMENTATIONS)
    rounds: int = 5
    steps: int = 6

    def __post_init__(self) -> None:
        check_names("--sizes", self.sizes, SIZES)
        check_names("--precisions", self.precisions, tuple(NUMBER_BYTES))
        check_names("--implementations", self.implementations, tuple(IMPLEMENTATIONS))
        if not self.batch_sizes or min(self.batch_sizes) < 1 or len(set(self.batch_sizes)) != len(self.batch_sizes):
            raise KitError(
                f"--batch-sizes: {list(self.batch_sizes)} came; numbers of at least 1, each once, are needed, "
                "for example 2048 4096"
            )
        for option, value, least in (("--rounds", self.rounds, 1), ("--steps", self.steps, 2)):
            if value < least:
                raise KitError(f"{option}: {value} came; at least {least} is needed")

    def cases(self) -> list[Case]:
        """Every combination, in the order of the words."""
        return [Case(*one) for one in product(self.sizes, self.batch_sizes, self.precisions, self.implementations)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a record."""
        return {name: list(value) if isinstance(value, tuple | list) else value for name, value in asdict(self).items()}

    def words(self) -> str:
        """The same as options of the command."""
        given = [
            [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
            for name, value in self.to_dict().items()
        ]
        return shlex.join(chain.from_iterable(given))
