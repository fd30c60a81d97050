"""The command `sweep`: the scores of ordinary runs, together; killed, extended, failing and refused."""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dlrm_core.cli.sweep import add_commands
from dlrm_core.schema.config import load_preset
from dlrm_core.schema.dataset import read_dataset
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.lock import only_process
from dlrm_core.schema.record import read_record
from dlrm_core.train.checkpoint import MLPS, TABLES
from dlrm_core.train.modes import MODES
from dlrm_core.train.run import train
from dlrm_core.train.scoring import evaluate
from dlrm_core.train.sweep import OtherSweepError, failures, sweep
from dlrm_core.train.sweep_request import Request, Run
from tests.conftest import Prepared
from tests.train.builders import write_dataset

ROOT = Path(__file__).resolve().parents[2]
SHORT = ["batch_size=32", "max_steps=12"]
OVERFLOWING = "loss_scale.value=1e30"  # of fp16-static alone


def request(**changes) -> Request:
    values = {"preset": "tiny", "seeds": [1, 2], "overrides": SHORT}
    return Request(**values | changes)


def scores(record) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    return {series.name: (series.x, series.y) for series in record.series}


def timeless(record):
    return [metric for metric in record.metrics if metric.unit != "s"]


def times(folder: Path) -> dict[str, int]:
    """When each file of a run was last written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.fixture(scope="module")
def swept(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of two seeds in fp32 and bf16; read only."""
    out = tmp_path_factory.mktemp("swept") / "DIR"
    sweep(data=prepared.folder, out=out, request=request())
    return out


# What a sweep is


def test_its_scores_are_those_of_plain_runs_to_the_last_bit(prepared, swept, tmp_path):
    record = read_record(swept)
    for mode in ("fp32", "bf16"):
        for place, seed in enumerate((1, 2)):
            words = [*SHORT, f"precision={mode}", f"seed={seed}"]
            config = load_preset("tiny", words).train
            run = tmp_path / f"{mode}-{seed}"
            train(data=prepared.folder, out=run, config=config, preset="tiny", overrides=words)
            plain = evaluate(run=run, data=prepared.folder)
            own = read_record(swept / f"{mode}-seed-{seed}")
            assert own.outputs == plain.outputs
            assert own.config == plain.config
            for name in ("auc", "log_loss"):
                assert scores(record)[f"{name}, {mode}"][1][place] == plain.metric(name, "test").value
    assert scores(record)["auc, fp32"] != scores(record)["auc, bf16"]


def test_its_record(prepared, swept):
    record = read_record(swept)
    assert (record.command, record.status) == ("sweep", "finished")
    assert record.dataset_digest == read_dataset(prepared.folder).digest
    assert record.config["seeds"] == [1, 2]
    assert list(record.config["modes"]) == ["fp32", "bf16"]
    assert record.config["overrides"] == SHORT
    assert record.repeat == (
        "dlrm sweep --data DATA --out DIR --preset tiny --seeds 1 2 --precisions fp32 bf16 --set batch_size=32 --set max_steps=12"
    )
    x, y = scores(record)["auc, fp32"]
    assert x == (1.0, 2.0)
    mean = record.metric("auc, fp32", "test")
    assert mean.value == pytest.approx(sum(y) / 2, rel=1e-12)
    assert mean.selection.startswith("mean of 2 seeds, ")
    assert record.metric("auc, fp32 away", "test") is None
    assert record.metric("auc, bf16 away", "test") is not None
    assert record.metric("finished runs", "test").value == 4
    assert record.metric("failed runs", "test").value == 0
    assert not [key for key in record.choices if key.startswith(("failed", "still"))]
    assert record.choices["bf16: precision"] == "bf16, as asked for"


def test_each_run_tells_how_to_repeat_itself(swept):
    assert read_record(swept / "bf16-seed-2").repeat == (
        "dlrm train --data DATA --out RUN --preset tiny --set batch_size=32 --set max_steps=12 --set precision=bf16 "
        "--set deterministic=true --set seed=2"
    )


def test_every_mode_is_what_its_name_says():
    for mode in MODES:
        config = request().config(Run(mode, 2))
        assert config.seed == 2
        assert config.deterministic == (not mode.endswith(("-fast", "auto")))
        assert config.precision == mode.split("-")[0]
        assert (config.loss_scale.kind == "dynamic") == (mode == "fp16-dynamic")
        assert (config.batch_size, config.max_steps) == (32, 12)


def test_fast_and_half_precision_modes_run(prepared, tmp_path):
    asked = request(modes=["fp16-dynamic", "bf16-fast"], overrides=["max_steps=1"])
    record = sweep(data=prepared.folder, out=tmp_path / "DIR", request=asked)
    assert failures(record) == {}
    assert record.choices["fp16-dynamic: precision"].startswith("fp16")
    assert "compiled" in record.choices["bf16-fast: step"]
    assert "torch" in record.choices["fp16-dynamic: step"]


# Going on


CHILD = """
import sys
from pathlib import Path
from dlrm_core.train.sweep import sweep
from dlrm_core.train.sweep_request import Request
data, out, *overrides = sys.argv[1:]
sweep(data=Path(data), out=Path(out), request=Request(preset="tiny", seeds=[1, 2], overrides=overrides))
"""


def wait_for(condition, process) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def is_running(folder: Path) -> bool:
    return (folder / "run.json").is_file() and read_record(folder).status == "running"


def test_a_killed_sweep_shows_what_is_missing_and_goes_on_where_it_stopped(prepared, tmp_path):
    out, longer = tmp_path / "DIR", ["batch_size=16", "epochs=2"]
    argv = [sys.executable, "-c", CHILD, str(prepared.folder), str(out), *longer]
    with subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: is_running(out / "bf16-seed-1"), process)
        os.kill(process.pid, signal.SIGKILL)
    killed = read_record(out)
    assert killed.status == "running"
    assert list(scores(killed)) == ["auc, fp32", "log_loss, fp32"]
    assert killed.choices["still to do"] == "bf16-seed-1, fp32-seed-2, bf16-seed-2"
    before = times(out / "fp32-seed-1")
    told: list[str] = []
    record = sweep(
        data=prepared.folder,
        out=out,
        request=request(overrides=longer),
        progress=lambda what, _done, _total: told.append(what),
    )
    assert times(out / "fp32-seed-1") == before
    assert "sweep, fp32-seed-1 finished before" in told
    assert "sweep, bf16-seed-1 finished" in told
    undisturbed = sweep(data=prepared.folder, out=tmp_path / "OTHER", request=request(overrides=longer))
    assert record.series == undisturbed.series
    assert timeless(record) == timeless(undisturbed)
    assert record.choices == undisturbed.choices


@pytest.fixture
def copied(swept: Path, tmp_path: Path) -> Path:
    """The finished sweep, to spoil."""
    out = tmp_path / "DIR"
    subprocess.run(["cp", "-a", str(swept), str(out)], check=True)
    return out


def test_again_trains_nothing(prepared, swept, copied):
    before = {folder.name: times(folder) for folder in copied.glob("*-seed-*")}
    again = sweep(data=prepared.folder, out=copied, request=request())
    assert {folder.name: times(folder) for folder in copied.glob("*-seed-*")} == before
    assert again.series == read_record(swept).series


@pytest.mark.parametrize("spoil", ["run.json", TABLES, "predictions_test.safetensors"])
def test_a_run_that_was_changed_is_trained_again(prepared, swept, copied, spoil):
    path = copied / "bf16-seed-1" / spoil
    path.write_bytes(path.read_bytes()[:-1])
    before = times(copied / "fp32-seed-1")
    record = sweep(data=prepared.folder, out=copied, request=request())
    assert record.series == read_record(swept).series
    assert read_record(copied / "bf16-seed-1").outputs == read_record(swept / "bf16-seed-1").outputs
    assert times(copied / "fp32-seed-1") == before


def test_more_seeds_extend_it_and_fewer_lose_nothing(prepared, swept, copied):
    before = times(copied / "fp32-seed-2")
    record = sweep(data=prepared.folder, out=copied, request=request(seeds=[3]))
    assert record.config["seeds"] == [1, 2, 3]
    x, y = scores(record)["auc, bf16"]
    assert x == (1.0, 2.0, 3.0)
    assert y[:2] == scores(read_record(swept))["auc, bf16"][1]
    assert times(copied / "fp32-seed-2") == before


def test_another_precision_extends_it_and_the_first_named_is_the_reference(prepared, copied):
    record = sweep(data=prepared.folder, out=copied, request=request(modes=["fp16-static", "fp32"]))
    assert list(record.config["modes"]) == ["fp16-static", "fp32", "bf16"]
    assert "of fp16-static" in record.metric("auc, bf16 away", "test").selection
    assert record.metric("finished runs", "test").value == 6


def test_weights_may_go_once_they_are_scored(prepared, swept, tmp_path):
    out = tmp_path / "DIR"
    record = sweep(data=prepared.folder, out=out, request=request(discard_weights=True))
    assert record.series == read_record(swept).series
    left = sorted(path.name for path in (out / "fp32-seed-1").iterdir())
    assert left == ["dataset.json", "predictions_test.safetensors", "run.json"]
    run = read_record(out / "fp32-seed-1")
    assert {MLPS, TABLES} <= set(run.outputs)
    assert "deleted" in run.choices["weights"]
    before = times(out / "fp32-seed-1")
    sweep(data=prepared.folder, out=out, request=request())
    assert times(out / "fp32-seed-1") == before


# Failing


def test_a_run_that_diverges_does_not_stop_the_others(prepared, tmp_path):
    diverging = request(modes=["fp16-static", "fp32"], overrides=[*SHORT, OVERFLOWING])
    record = sweep(data=prepared.folder, out=tmp_path / "DIR", request=diverging)
    assert record.status == "finished"
    assert list(scores(record)) == ["auc, fp32", "log_loss, fp32"]
    assert scores(record)["auc, fp32"][0] == (1.0, 2.0)
    assert record.metric("failed runs", "test").value == 2
    assert record.metric("finished runs", "test").value == 2
    assert set(failures(record)) == {"fp16-static, seed 1", "fp16-static, seed 2"}
    assert "the training loss is nan" in record.choices["failed: fp16-static, seed 2"]
    assert read_record(tmp_path / "DIR" / "fp16-static-seed-1").status == "failed"


def command(*argv: str | Path) -> None:
    """Run the command as the command line does."""
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    arguments = parser.parse_args(["sweep", *map(str, argv)])
    arguments.function(arguments)


def test_the_command_names_the_runs_that_failed(prepared, tmp_path, capsys):
    argv = ["--data", prepared.folder, "--out", tmp_path / "DIR", "--preset", "tiny", "--seeds", "1", "2"]
    with pytest.raises(KitError, match=r"2 of the runs failed.*fp16-static, seed 1: .*not finite"):
        command(*argv, "--precisions", "fp32", "fp16-static", "--set", OVERFLOWING, "max_steps=2")
    assert "auc, fp32: " in capsys.readouterr().out


def test_a_part_of_one_class_fails_every_run_with_its_reason(tmp_path):
    write_dataset(tmp_path / "DATA")
    label = tmp_path / "DATA" / "test" / "label.bin"
    label.write_bytes(bytes(label.stat().st_size))
    record = sweep(data=tmp_path / "DATA", out=tmp_path / "DIR", request=request(modes=["fp32"]))
    assert record.series == ()
    assert "all 90 labels are 0" in failures(record)["fp32, seed 1"]


# Refused, with nothing trained


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modes": ["fp23"]}, r"unknown precision 'fp23' \(did you mean 'fp32'\?\)"),
        ({"modes": ["fp32 deterministic"]}, "unknown precision"),
        ({"seeds": [1, 2, 1]}, "seeds: 1 came twice"),
        ({"seeds": [1]}, "at least 2"),
        ({"seeds": []}, "none came"),
        ({"seeds": [1, -2]}, "seed"),
        ({"overrides": ["seed=3"]}, "--set seed=3: a sweep sets that itself"),
        ({"overrides": ["deterministic=false"]}, "a sweep sets that itself"),
        ({"overrides": ["loss_scale={kind: dynamic}"], "modes": ["fp16-static"]}, "a sweep sets that itself"),
        ({"overrides": ["model.embedding_type=joint_fused"]}, "joint_fused"),
        ({"overrides": ["max_stepps=3"]}, "max_stepps"),
        ({"preset": "tinny"}, "did you mean 'tiny'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(prepared, tmp_path, changes, message):
    with pytest.raises(KitError, match=message):
        sweep(data=prepared.folder, out=tmp_path / "DIR", request=request(**changes))
    assert not (tmp_path / "DIR" / "run.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"overrides": ["batch_size=32"]}, "of another --set"),
        ({"preset": "workshop"}, "of another preset, tiny there and workshop now"),
    ],
)
def test_another_sweep_in_the_same_folder_is_refused(prepared, copied, changes, message):
    before = (copied / "run.json").read_bytes()
    with pytest.raises(OtherSweepError, match=message):
        sweep(data=prepared.folder, out=copied, request=request(**changes))
    assert (copied / "run.json").read_bytes() == before


def test_other_data_in_the_same_folder_are_refused(data, copied):
    with pytest.raises(OtherSweepError, match="of another data set"):
        sweep(data=data, out=copied, request=request())


def test_a_folder_of_something_else_is_left_alone(prepared, swept, tmp_path):
    (tmp_path / "fp32-seed-1").mkdir()
    (tmp_path / "fp32-seed-1" / "mine").write_text("kept")
    with pytest.raises(KitError, match="holds fp32-seed-1, and is no folder of a sweep"):
        sweep(data=prepared.folder, out=tmp_path, request=request())
    assert (tmp_path / "fp32-seed-1" / "mine").read_text() == "kept"
    with pytest.raises(KitError, match="no folder of a sweep"):
        sweep(data=prepared.folder, out=swept / "fp32-seed-1", request=request())
    with pytest.raises(KitError, match="prepared data set"):
        sweep(data=prepared.folder, out=prepared.folder, request=request())


def test_two_sweeps_never_share_a_folder(prepared, tmp_path):
    with only_process(tmp_path / "DIR" / "stages"), pytest.raises(KitError, match="is writing there"):
        sweep(data=prepared.folder, out=tmp_path / "DIR", request=request())
