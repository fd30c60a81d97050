"""Metrics and curves of a record from rounds of seconds."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dlrm_core.bench.gate import Verdict
from dlrm_core.bench.peers import SideSpec
from dlrm_core.bench.rounds import Rounds
from dlrm_core.bench.timing import Figure, figure, paired_ratio, rate
from dlrm_core.schema.record import Metric, Series

LIMITS = ("stock fp32", "oneDNN fp32", "bf16")
AS_USERS_RUN_IT = ("pytorch", "torchrec")

# Most that a side's loss may part from float32's at any step: bfloat16 keeps 8 bits of a number, 2^-9 of a loss of about 0.6
# is 0.0012, and a step has some eight roundings in a row.
LOSS_BAND = 0.01


@dataclass(frozen=True)
class Measured:
    """One configuration and batch size: what ran, and how long it took. `unit` is what was timed, a step or a call."""

    split: str
    rows: int
    unit: str
    sides: Sequence[SideSpec]
    rounds: Rounds

    def seconds(self, name: str) -> Figure:
        """Of a side or a limit, in the quiet rounds."""
        return figure(self.rounds.quiet_s(name))

    def of_limit(self, name: str, limit: str) -> float:
        """A side's speed as a fraction of a limit's."""
        return self.seconds(limit).median / self.seconds(name).median

    def fastest_peer(self) -> str | None:
        """Of the peers: in training as users run them, and in inference of all that were measured."""
        peers = [side.name for side in self.sides if not side.is_ours]
        if self.unit == "step":
            peers = [name for name in peers if name in AS_USERS_RUN_IT]
        return min(peers, key=lambda name: self.seconds(name).median, default=None)


def speed_metrics(measured: Measured) -> list[Metric]:
    """Limits, each side's speed and share of the limits, and ours over each peer."""
    found = [gauge_metric(measured)]
    for limit in LIMITS:
        found.append(
            figure_metric(measured, f"limit {limit}", rate(measured.seconds(limit), measured.rows), "samples/s")
        )
    for side in measured.sides:
        seconds = measured.seconds(side.name)
        found.append(figure_metric(measured, f"{side.name} throughput", rate(seconds, measured.rows), "samples/s"))
        found.append(figure_metric(measured, f"{side.name} {measured.unit}", _scaled(seconds, 1e3), "ms"))
        found += [_fraction(measured, side.name, limit) for limit in LIMITS]
    return found + _ratios(measured)


def verdict_metric(verdict: Verdict, split: str) -> Metric:
    """1 if the run counts, else 0, and the sentence."""
    return Metric(name="valid", value=float(verdict.valid), unit="1", split=split, selection=verdict.sentence)


def speed_series(measured: Measured) -> list[Series]:
    """Median milliseconds by round of the gauge, the limits and the sides; all rounds, quiet or not."""
    by_round = {"gauge": [[one] for one in measured.rounds.gauge_s], **measured.rounds.measured_s}
    return [
        curve(f"{name} by round", measured.split, "round", "ms", [1e3 * statistics.median(one) for one in rounds])
        for name, rounds in by_round.items()
    ]


def loss_series(losses: Mapping[str, Sequence[float]], split: str) -> list[Series]:
    """Every side's loss by step."""
    return [curve(f"{name} loss", split, "step", "log loss [nat]", values) for name, values in losses.items()]


def loss_metrics(losses: Mapping[str, Sequence[float]], reference: str, split: str) -> list[Metric]:
    """How far each side's losses part from the reference's at most, and whether that is within :data:`LOSS_BAND`."""
    found = []
    for name, values in losses.items():
        if name == reference:
            continue
        differences = [abs(a - b) for a, b in zip(values, losses[reference], strict=True)]
        place = max(range(len(differences)), key=differences.__getitem__)
        verdict = "within" if differences[place] <= LOSS_BAND else "OUTSIDE"
        spread = (
            f"{verdict} the band of {LOSS_BAND} nat; largest of steps 1 to {len(values)}, at step {place + 1}; at the last "
            f"{differences[-1]:.2g}"
        )
        name = f"{name} loss difference from {reference}"
        found.append(Metric(name=name, value=differences[place], unit="nat", split=split, selection=spread))
    return found


def _ratios(measured: Measured) -> list[Metric]:
    ours = [side.name for side in measured.sides if side.is_ours]
    peers = [side.name for side in measured.sides if not side.is_ours]
    found = [_ratio(measured, f"{one} over {peer}", one, peer) for one in ours for peer in peers]
    fastest = measured.fastest_peer()
    if fastest is None:
        return found
    return found + [_ratio(measured, f"{one} over the fastest peer", one, fastest) for one in ours]


def _ratio(measured: Measured, name: str, one: str, peer: str) -> Metric:
    ratio = paired_ratio(measured.rounds.quiet_s(peer), measured.rounds.quiet_s(one))
    selection = f"{peer}; median of the ratios of {ratio.count} quiet rounds, {ratio.low:.3g} to {ratio.high:.3g}"
    return Metric(name=name, value=ratio.median, unit="1", split=measured.split, selection=selection)


def _fraction(measured: Measured, name: str, limit: str) -> Metric:
    value = measured.of_limit(name, limit)
    selection = "ratio of the two medians over quiet rounds"
    return Metric(name=f"{name} of limit {limit}", value=value, unit="1", split=measured.split, selection=selection)


def gauge_metric(measured: Measured) -> Metric:
    """The gauge of all rounds, in ms, and how many of them were quiet."""
    rounds = measured.rounds
    gauge = figure([[one] for one in rounds.gauge_s])
    spread = (
        f"median of {gauge.count} rounds, {1e3 * gauge.low:.4g} to {1e3 * gauge.high:.4g}; {len(rounds.quiet())} quiet"
    )
    return Metric(name="gauge", value=1e3 * gauge.median, unit="ms", split=measured.split, selection=spread)


def figure_metric(measured: Measured, name: str, found: Figure, unit: str) -> Metric:
    """A median with its range over the quiet rounds."""
    quiet, rounds = len(measured.rounds.quiet()), len(measured.rounds.gauge_s)
    selection = (
        f"median of {found.count} in {quiet} quiet of {rounds} rounds, rounds {found.low:.4g} to {found.high:.4g}"
    )
    return Metric(name=name, value=found.median, unit=unit, split=measured.split, selection=selection)


def _scaled(found: Figure, factor: float) -> Figure:
    return Figure(factor * found.median, found.count, factor * found.low, factor * found.high)


def curve(name: str, split: str, x_label: str, y_label: str, y: Sequence[float]) -> Series:
    """Values numbered from 1."""
    x = tuple(float(number) for number in range(1, len(y) + 1))
    return Series(name=name, split=split, x_label=x_label, y_label=y_label, x=x, y=tuple(y))
