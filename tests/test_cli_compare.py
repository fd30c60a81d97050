"""`dlrm compare`, and the diagnosis, on runs that `dlrm train` really made."""

import json
from pathlib import Path

import numpy as np
import pytest

from dlrm_core import cli
from dlrm_core.schema.record import read_record
from reports.diagnose.findings import diagnose
from reports.read.collect import collect
from tests.conftest import raw_line, write_raw

TRAIN = ("mlps.lr=0.5", "tables.lr=0.5", "batch_size=64", "epochs=3", "print_freq=5")
SCHEDULE = ("schedule.warmup_steps=5", "schedule.decay_start_step=60", "schedule.decay_steps=40")


def clicks(rows: int, seed: int) -> list[str]:
    """Raw lines whose click depends on the first category."""
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, 6, rows)
    labels = generator.random(rows) < 1 / (1 + np.exp(-(codes - 3.5)))
    return [raw_line(label=int(label), C1=f"{code:08x}") for label, code in zip(labels, codes, strict=True)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared rows; two seeds and a repeat of one; a learning rate that diverges; a schedule of another data set."""
    folder = tmp_path_factory.mktemp("compare")
    files = [
        write_raw(folder / name, clicks(rows, seed)) for name, rows, seed in (("train", 1500, 1), ("test", 400, 2))
    ]
    data = str(folder / "data")
    assert cli.main(["prepare", "--train", str(files[0]), "--test", str(files[1]), "--out", data]) == 0
    made = {
        "one": ("tiny", (*TRAIN, *SCHEDULE)),
        "repeat": ("tiny", (*TRAIN, *SCHEDULE)),
        "two": ("tiny", (*TRAIN, *SCHEDULE, "seed=2")),
        "wild": ("tiny", (*TRAIN, *SCHEDULE, "mlps.lr=1e6", "tables.lr=1e6")),
        "other": (
            "criteo_1tb_small",
            (*TRAIN, "model.embedding_dim=4", "model.bottom_mlp_sizes=[4]", "model.top_mlp_sizes=[1]"),
        ),
    }
    for name, (preset, overrides) in made.items():
        out = str(folder / name)
        code = cli.main(["train", "--data", data, "--out", out, "--preset", preset, "--set", *overrides])
        assert code == (1 if name == "wild" else 0)
        if code == 0:
            assert cli.main(["evaluate", "--run", out, "--data", data]) == 0
    return folder


def compared(capsys: pytest.CaptureFixture[str], *folders: Path) -> str:
    capsys.readouterr()
    assert cli.main(["compare", *map(str, folders)]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_two_seeds_differ_in_their_seed(runs, capsys):
    shown = compared(capsys, runs / "one", runs / "two")
    assert shown.startswith("Only the seed differs, train.seed (12345 in A, 2 in B): what changed is one sample")
    auc = [read_record(runs / name).metric("auc", "test").value for name in ("one", "two")]
    assert f"auc test 1 {auc[0]:.6g} {auc[1]:.6g} {auc[1] - auc[0]:+.6g}" in shown
    assert "on the same test rows B - A 95 % interval verdict" in shown


def test_a_repeat_differs_in_nothing_but_its_speed(runs, capsys):
    assert compared(capsys, runs / "one", runs / "repeat").startswith("No factor differs, and every score is the same.")


def test_a_diverged_run_is_compared_as_far_as_it_goes(runs, capsys):
    shown = compared(capsys, runs / "one", runs / "wild")
    assert shown.startswith("B failed: the training loss is nan")
    assert "Compared as far as the records go: 2 factors differ (train.mlps.lr and train.tables.lr)" in shown


def test_what_is_no_run_and_a_run_beside_itself_are_refused_in_one_line(runs, capsys, tmp_path):
    for second, reason in ((runs / "one", "came twice"), (tmp_path, "holds no run.json")):
        capsys.readouterr()
        assert cli.main(["compare", str(runs / "one"), str(second)]) == 1
        said = capsys.readouterr().err
        assert said.startswith("dlrm compare: ")
        assert reason in said
        assert said.count("\n") == 1


def test_the_real_runs_are_diagnosed_and_the_healthy_ones_are_not(runs):
    collection = collect(runs)
    found = {entry.folder: diagnose(entry, collection) for entry in collection.entries}
    assert read_record(runs / "one").metric("auc", "test").value > 0.7
    assert found["one"] == found["two"] == found["data"] == ()
    (wild,) = found["wild"]
    assert wild.symptom.startswith("the training loss is nan at step")
    assert wild.cause == "mlps.lr 1e+06 is 2,000,000 times the 0.5 of preset tiny, too large for these data"
    assert wild.next_step.endswith("--set mlps.lr=0.5 --set tables.lr=0.5")
    assert found["other"][0].symptom.startswith("its 66 steps end within the warm-up of 6,400")


def test_the_command_that_a_diagnosis_names_mends_the_run(runs, tmp_path):
    collection = collect(runs)
    (wild,) = next(diagnose(entry, collection) for entry in collection.entries if entry.folder == "wild")
    words = wild.next_step.replace("DATA", str(runs / "data")).replace("RUN", str(tmp_path / "mended")).split()
    assert cli.main(words[1:]) == 0
    config = json.loads((tmp_path / "mended" / "run.json").read_text())["config"]["train"]
    assert config == read_record(runs / "one").config["train"]
