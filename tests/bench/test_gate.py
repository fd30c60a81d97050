"""What makes a run void."""

import math

import pytest

from dlrm_core.bench.figures import loss_metrics
from dlrm_core.bench.gate import judge

GOOD = {"pytorch": 0.5, "torchrec": 0.6, "ours:auto": 0.1}


def test_peers_at_what_is_needed_make_it_valid():
    verdict = judge(GOOD, 0.5, 1e-6)
    assert verdict.valid
    assert verdict.sentence.startswith("valid: pytorch 50.0 % and torchrec 60.0 %")


@pytest.mark.parametrize(
    ("of_limit", "difference", "said"),
    [
        (GOOD | {"pytorch": 0.499}, 0.0, "pytorch reached 49.9 % of the stock fp32 GEMM limit, 50 % is needed"),
        (GOOD | {"torchrec": 0.2}, 0.0, "torchrec reached 20.0 %"),
        ({"pytorch": 0.9}, 0.0, "torchrec was not measured"),
        ({"torchrec": 0.9}, 0.0, "pytorch was not measured"),
        (GOOD, 1e-3, "the fp32 sides differ by 1.0e-03, at most 5e-05 is needed"),
        (GOOD | {"pytorch": math.nan}, 0.0, "pytorch reached nan"),
        (GOOD, math.nan, "the fp32 sides differ by nan"),
    ],
)
def test_void(of_limit, difference, said):
    verdict = judge(of_limit, 0.5, difference)
    assert not verdict.valid
    assert verdict.sentence.startswith("void: ")
    assert said in verdict.sentence


def test_all_faults_are_named():
    assert judge({}, 0.5, 1.0).sentence.count(";") == 2


@pytest.mark.parametrize(("away", "verdict"), [(0.0, "within"), (0.0099, "within"), (0.011, "OUTSIDE")])
def test_losses_are_held_against_the_band(away, verdict):
    losses = {"pytorch": [0.6, 0.5, 0.4], "ours:auto": [0.6, 0.5 + away, 0.4]}
    (found,) = loss_metrics(losses, "pytorch", "S")
    assert found.value == pytest.approx(away)
    assert found.selection.startswith(
        f"{verdict} the band of 0.01 nat; largest of steps 1 to 3, at step {2 if away else 1}"
    )
