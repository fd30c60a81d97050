"""The commands with real processes at a tiny size."""

import subprocess
from pathlib import Path

import pytest

from dlrm_core.bench.inference import bench_inference
from dlrm_core.bench.peers import INSTALL, SideSpec, resolve
from dlrm_core.bench.request import Request
from dlrm_core.bench.training import bench_training
from dlrm_core.bench.workers import Worker
from dlrm_core.bench.workload import CONFIGS
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import read_record

SPLIT = "S, batch 64"


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench")
    request = Request(["S"], ["pytorch"], ["fp32"], rounds=2, steps=2, batch_size=64)
    record = bench_training(out=out, request=request)
    assert read_record(out) == record
    return record


def test_training_compares_ours_with_plain_pytorch(training):
    assert training.status == "finished"
    agreement = training.metric("first losses of the fp32 sides, largest relative difference", SPLIT)
    assert agreement.value < 5e-5
    assert "ours:fp32, pytorch" in agreement.selection
    for name in ("ours:fp32 throughput", "pytorch step", "limit bf16", "ours:fp32 over pytorch", "gauge"):
        metric = training.metric(name, SPLIT)
        assert metric.value > 0
        assert "rounds" in metric.selection
    assert training.metric("ours:fp32 of limit stock fp32", SPLIT).value > 0


def test_a_tiny_run_is_void_and_says_why(training):
    verdict = training.metric("valid", SPLIT)
    assert verdict.value == 0
    assert verdict.selection.startswith("void: ")
    assert "torchrec was not measured" in verdict.selection


def test_the_series_hold_every_round_and_step(training):
    lengths = {series.name: len(series.y) for series in training.series}
    assert lengths["gauge by round"] == lengths["pytorch by round"] == lengths["bf16 by round"] == 2
    assert lengths["pytorch loss"] == lengths["ours:fp32 loss"] == CONFIGS["S"].check_steps + 2 * 2


def test_the_record_says_what_ran_and_how_to_repeat_it(training):
    assert "EmbeddingBag" in training.choices["S: pytorch"]
    assert "precision=fp32" in training.choices["S: ours:fp32"]
    assert training.repeat == (
        "dlrm bench training --out DIR --config S --against pytorch --precision fp32 --rounds 2 --steps 2 --batch-size 64"
    )


def test_inference(tmp_path):
    request = Request(["S"], ["pytorch"], ["deterministic"], rounds=1, steps=3)
    record = bench_inference(out=tmp_path, request=request, batch_sizes=[1, 8])
    for split in ("S, batch 1", "S, batch 8"):
        assert record.metric("ours:deterministic over the fastest peer", split).value > 0
        assert record.metric("ours:deterministic logit difference from pytorch", split).value < 1e-5
        assert record.metric("pytorch call", split).selection.startswith("median of 2 in 1 quiet of 1 rounds")
    assert "--calls 3 --batch-sizes 1,8" in record.repeat


@pytest.mark.peers
def test_torchrec_computes_what_plain_pytorch_does():
    subprocess.run(INSTALL.split(), cwd=Path(__file__).parents[2], check=True, capture_output=True)
    losses, logits = {}, {}
    workload = Request(["S"], ["pytorch"], ["fp32"], batch_size=64).workloads()[0]
    for side in resolve(["torchrec", "pytorch"], ["fp32"]):
        with Worker(side, workload) as worker:
            worker.ready()
            losses[side.name] = worker.ask(do="train", steps=4)["losses"]
            logits[side.name] = worker.ask(do="predict", batch_size=8, calls=2)["logits"]
    for name in ("torchrec", "ours:fp32"):
        assert losses[name] == pytest.approx(losses["pytorch"], rel=1e-5)
        assert logits[name] == pytest.approx(logits["pytorch"], abs=1e-5)


def test_impossible_requests():
    with pytest.raises(KitError, match="--rounds: 0 came"):
        Request(["S"], ["pytorch"], ["fp32"], rounds=0).workloads()
    with pytest.raises(KitError, match="--steps: 1 came"):
        Request(["S"], ["pytorch"], ["fp32"], steps=1).workloads()


def test_a_batch_size_of_nothing(tmp_path):
    with pytest.raises(KitError, match="--batch-sizes"):
        bench_inference(out=tmp_path, request=Request(["S"], ["pytorch"], ["fp32"]), batch_sizes=[0])


def test_a_side_that_refuses_says_so_and_one_that_breaks_says_how():
    (ours, plain) = resolve(["pytorch"], ["fp32"])
    refusing = SideSpec("ours:tf32", ours.kind, "tf32", ours.python, True)
    with Worker(refusing, CONFIGS["S"]) as worker, pytest.raises(KitError, match="tf32"):
        worker.ready()
    breaking = SideSpec("broken", plain.kind, "no such mode", plain.python, True)
    with Worker(breaking, CONFIGS["S"]) as worker, pytest.raises(KitError, match=r"broken: .*KeyError: 'no such mode'"):
        worker.ready()
