"""What is picked, why, and what is refused."""

import pytest
import torch

from dlrm_core.data import open_part
from dlrm_core.schema.errors import KitError
from dlrm_core.train import implementation
from dlrm_core.train.implementation import check_model, choose
from tests.train.builders import tiny_config


def pick(monkeypatch, *, gain=5.0, route="linear", **changes):
    monkeypatch.setattr(implementation, "bf16_gain", lambda: gain)
    monkeypatch.setattr(implementation, "fastest_route", lambda: (route, {"linear": 200.0, "convolution": 440.0}))
    model = tiny_config().model.model_dump() | changes.pop("model", {})
    return choose(tiny_config(model=model, **changes))


def test_the_deterministic_mode_is_the_reference(monkeypatch):
    for precision in ("fp32", "auto"):
        chosen = pick(monkeypatch, precision=precision, deterministic=True)
        assert (chosen.dtype, chosen.fused, chosen.embedding_type) == (torch.float32, False, "joint")
        assert "deterministic is true" in chosen.choices["step"]


def test_the_fast_mode_takes_bfloat16_where_it_pays(monkeypatch):
    chosen = pick(monkeypatch, precision="auto", deterministic=False)
    assert (chosen.dtype, chosen.fused, chosen.embedding_type) == (torch.bfloat16, True, "joint_fused")
    assert chosen.choices["precision"] == "bf16, auto: bfloat16 products are 5.0 times as fast as float32 ones here"
    slow = pick(monkeypatch, precision="auto", deterministic=False, gain=0.7)
    assert slow.dtype == torch.float32
    assert slow.choices["precision"].startswith("fp32, auto: bfloat16 products are 0.7 times")


def test_the_route_is_of_float32_alone(monkeypatch):
    single = pick(monkeypatch, precision="fp32", deterministic=False, route="convolution")
    assert single.route == "convolution"
    assert single.choices["float32 products"].startswith("convolution, the fastest of linear 200 GFLOP/s")
    half = pick(monkeypatch, precision="bf16", deterministic=False, route="convolution")
    assert half.route == "linear"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": {"embedding_type": "multi_table"}}, "model.embedding_type is multi_table"),
        ({"model": {"interaction": "dot"}}, "model.interaction is dot"),
        ({"model": {"interaction": "cat"}}, "model.interaction is cat"),
        ({"model": {"dropout": 0.1}}, "model.dropout is set"),
        ({"precision": "fp16"}, "precision is fp16"),
    ],
)
def test_what_the_kernels_do_not_compute_goes_by_autograd_and_says_so(monkeypatch, changes, reason):
    chosen = pick(monkeypatch, deterministic=False, **changes)
    assert not chosen.fused
    assert reason in chosen.choices["step"]


def test_without_numba(monkeypatch):
    monkeypatch.setattr(implementation.cpu, "available", lambda: False)
    chosen = pick(monkeypatch, precision="auto", deterministic=False)
    assert not chosen.fused
    assert "numba is not installed (pip install numba)" in chosen.choices["step"]
    with pytest.raises(KitError, match="numba is not installed"):
        pick(monkeypatch, deterministic=False, model={"embedding_type": "joint_fused"})


def test_tables_larger_than_the_memory_are_refused(data):
    spec = open_part(data, "train").spec
    first = spec.categorical[0].model_copy(update={"cardinality": 2**31 - 1, "dtype": "int32"})
    huge = tuple(first.model_copy(update={"name": f"X{number}"}) for number in range(1000))
    with pytest.raises(KitError, match=r"the tables need [\d.]+ GB, this machine has"):
        check_model(
            tiny_config().model.model_copy(update={"interaction": "cat"}), spec.model_copy(update={"categorical": huge})
        )
    check_model(tiny_config().model, spec)
