"""Round-robin over the sides: one gauge between any two, the order reversed every other round."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dlrm_core.bench.timing import quiet_rounds
from dlrm_core.schema.progress import Progress


@dataclass(frozen=True)
class Rounds:
    """Seconds by round: of the gauge; and, by what was measured (a side, a limit), of every counted step or call."""

    gauge_s: list[float]
    measured_s: dict[str, list[list[float]]]

    def quiet(self) -> list[int]:
        """Numbers, from 0, of the quiet rounds."""
        return quiet_rounds(self.gauge_s)

    def quiet_s(self, name: str) -> list[list[float]]:
        """The seconds of one of what was measured, in the quiet rounds."""
        return [self.measured_s[name][number] for number in self.quiet()]


def run_rounds(
    names: Sequence[str],
    count: int,
    *,
    gauge: Callable[[], float],
    measure: Callable[[str], dict[str, list[float]]],
    progress: Progress,
    label: str,
) -> Rounds:
    """`count` rounds of ``measure`` of each worker's name; it gives seconds by what was measured.

    A round's gauge is the median of those before, between and after its sides.
    """
    gauges: list[float] = []
    seconds: dict[str, list[list[float]]] = {}
    for number in range(count):
        measured = [gauge()]
        for name in names if number % 2 == 0 else reversed(names):
            for what, values in measure(name).items():
                seconds.setdefault(what, []).append(values)
            measured.append(gauge())
        gauges.append(statistics.median(measured))
        progress(label, number + 1, count)
    return Rounds(gauges, seconds)
