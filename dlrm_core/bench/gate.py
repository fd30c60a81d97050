"""When a run counts: the peers reach their share of the limit, and the sides compute the same."""

from collections.abc import Mapping
from dataclasses import dataclass

GATED = ("pytorch", "torchrec")
BEYOND = 1.1  # of the limit: above it the limit was measured in a worse moment than the side
LOSS_TOLERANCE = 5e-5  # four to five digits: what different orders of summation leave after a few steps


@dataclass(frozen=True)
class Verdict:
    """Whether a run counts, and the sentence that says why or why not."""

    valid: bool
    sentence: str


def judge(
    of_limit: Mapping[str, float], needed: float, difference: float, tolerance: float = LOSS_TOLERANCE
) -> Verdict:
    """The verdict on one configuration.

    Parameters
    ----------
    of_limit : mapping of str to float
        Each side's speed as a fraction of the stock fp32 matrix products' of the same run.
    needed : float
        What each of :data:`GATED` must reach.
    difference : float
        Largest relative difference between what the fp32 sides computed.

    Examples
    --------
    >>> judge({"pytorch": 0.6, "torchrec": 0.4}, 0.5, 0.0).sentence
    'void: torchrec reached 40.0 % of the stock fp32 GEMM limit, 50 % is needed'
    """
    faults = [f"{side} was not measured" for side in GATED if side not in of_limit]
    faults += [
        f"{side} reached {of_limit[side]:.1%} of the stock fp32 GEMM limit, {needed:.0%} is needed".replace("%", " %")
        for side in GATED
        if side in of_limit and not of_limit[side] >= needed
    ]
    faults += [
        f"{side} reached {of_limit[side]:.1%} of the stock fp32 GEMM limit, which cannot be".replace("%", " %")
        for side in GATED
        if side in of_limit and of_limit[side] > BEYOND
    ]
    if not difference <= tolerance:
        faults.append(f"the fp32 sides differ by {difference:.1e}, at most {tolerance:.0e} is needed")
    if faults:
        return Verdict(False, f"void: {'; '.join(faults)}")
    reached = " and ".join(f"{side} {of_limit[side]:.1%}".replace("%", " %") for side in GATED)
    return Verdict(True, f"valid: {reached} of the stock fp32 GEMM limit; fp32 sides agree to {difference:.1e}")
