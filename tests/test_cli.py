"""Every command in-process on a few hundred rows, and how each refuses."""

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dlrm_core import cli
from dlrm_core.schema.dataset import read_dataset
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import read_record

PRESET = """
description: A few hundred rows, for the tests of the command line.
sample: null
prepare: {frequency_limit: 2}
train:
  model: {embedding_dim: 4, bottom_mlp_sizes: [8, 4], top_mlp_sizes: [8, 1]}
  mlps: {name: sgd, lr: 0.3}
  tables: {name: sgd, lr: 0.3}
  schedule: {warmup_steps: 2, decay_start_step: 4, decay_steps: 20}
  batch_size: 64
  test_batch_size: 128
  print_freq: 2
baselines: {logistic_c: [0.05], logistic_frequency_limit: 2, tree_learning_rates: [0.3], tree_leaf_nodes: [4]}
"""


def write_raw(path: Path, rows: int, seed: int) -> Path:
    """Raw Criteo lines; the first integer and the first category carry a signal, some fields are missing."""
    generator = np.random.default_rng(seed)
    lines = []
    for _ in range(rows):
        integers = generator.integers(-2, 50, 13)
        categories = generator.integers(0, 12, 26)
        logit = 0.1 * (integers[0] - 24) + (1.0 if categories[0] % 2 else -1.0)
        label = int(generator.random() < 1 / (1 + np.exp(-logit)))
        fields = [str(v) if generator.random() > 0.1 else "" for v in integers]
        fields += [f"{v:08x}" if generator.random() > 0.1 else "" for v in categories]
        lines.append("\t".join([str(label), *fields]))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with raw files, a preset and a finished DATA and RUN, each made by its command."""
    folder = tmp_path_factory.mktemp("cli")
    train, test = write_raw(folder / "train.tsv", 300, 1), write_raw(folder / "test.tsv", 120, 2)
    (folder / "preset.yaml").write_text(PRESET)
    argv = ["prepare", "--train", str(train), "--test", str(test), "--out", str(folder / "DATA")]
    assert cli.main([*argv, "--frequency-limit", "2"]) == 0
    assert cli.main(["train", *train_arguments(folder), "--set", "seed=3"]) == 0
    return folder


def train_arguments(folder: Path, out: str = "RUN", preset: str | None = None) -> list[str]:
    preset = preset or str(folder / "preset.yaml")
    return ["--data", str(folder / "DATA"), "--out", str(folder / out), "--preset", preset]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must be refused; return its one line on standard error."""

    def run(*argv: str | Path) -> str:
        capsys.readouterr()
        assert cli.main([str(word) for word in argv]) == 1
        captured = capsys.readouterr()
        lines = captured.err.strip().splitlines()
        assert "Traceback" not in captured.err
        assert len(lines) == 1
        command = next(str(word) for word in argv if not str(word).startswith("-"))
        assert lines[0].startswith(f"dlrm {command}: ")
        return lines[0]

    return run


# From end to end


def test_prepare(work):
    record = read_record(work / "DATA")
    assert (record.command, record.status) == ("prepare", "finished")
    assert sorted(p.name for p in (work / "DATA").iterdir() if p.is_dir()) == ["test", "train", "validation"]


def test_train(work, capsys):
    record = read_record(work / "RUN")
    assert (record.command, record.status) == ("train", "finished")
    assert record.config["train"]["seed"] == 3
    assert record.seeds == {"model": 3}
    assert record.config["train"]["batch_size"] == 64


def test_train_prints_its_configuration_and_the_next_command(work, capsys):
    assert (
        cli.main(["train", *train_arguments(work, "RUN2"), "--set", "seed=4", "epochs=2", "--set", "mlps.lr=1e-1"]) == 0
    )
    out = capsys.readouterr().out
    assert '"seed":4' in out
    assert '"epochs":2' in out
    assert f"dlrm evaluate --run {work / 'RUN2'} --data {work / 'DATA'}" in out
    assert read_record(work / "RUN2").config["train"]["mlps"]["lr"] == 0.1


def test_evaluate(work, capsys):
    assert cli.main(["evaluate", "--run", str(work / "RUN"), "--data", str(work / "DATA")]) == 0
    record = read_record(work / "RUN")
    out = capsys.readouterr().out
    for name in ("auc", "log_loss"):
        assert f"test {name}: {record.metric(name, 'test').value:.6f}" in out


def test_evaluate_another_split(work):
    assert cli.main(["train", *train_arguments(work, "RUN3")]) == 0
    argv = ["evaluate", "--run", str(work / "RUN3"), "--data", str(work / "DATA"), "--split", "train"]
    assert cli.main(argv) == 0
    assert read_record(work / "RUN3").metric("auc", "train") is not None
    assert read_record(work / "RUN3").metric("auc", "test") is None


def test_baselines(work, capsys):
    argv = ["baselines", "--data", str(work / "DATA"), "--out", str(work / "B"), "--preset", str(work / "preset.yaml")]
    assert cli.main(argv) == 0
    out = capsys.readouterr().out
    for name in ("constant", "logistic", "trees"):
        assert read_record(work / "B" / name).status == "finished"
        assert f"{name}: test AUC" in out


def test_same_seed_same_weights_other_seed_others(work):
    outputs = {}
    for name, seed in (("S3", 3), ("S4", 4)):
        assert cli.main(["train", *train_arguments(work, name), "--set", f"seed={seed}"]) == 0
        outputs[name] = read_record(work / name).outputs
    first = {k: v for k, v in read_record(work / "RUN").outputs.items() if not k.startswith("predictions")}
    assert outputs["S3"] == first
    assert all(outputs["S4"][name] != digest for name, digest in first.items())


def test_presets_of_the_kit_are_whole(work):
    from dlrm_core.schema.config import load_preset, preset_names

    assert {"tiny", "workshop", "criteo-sample"} <= set(preset_names())
    for name in preset_names():
        preset = load_preset(name, ["seed=7"])
        assert preset.train.seed == 7
        assert preset.train.deterministic is True


def write_hotels(path: Path, rows: int = 700) -> Path:
    """A table with columns of other names and number; price and city carry a signal."""
    generator = np.random.default_rng(5)
    lines = ["session;city;stars;price;clicked"]
    for i in range(rows):
        city, price = generator.integers(0, 5), generator.lognormal(4, 0.5)
        click = generator.random() < 1 / (1 + np.exp(0.05 * (price - 60) - (1.5 if city % 2 else -1.5)))
        lines.append(f"s{i};{'' if i % 20 == 0 else f'Zürich {city}'};{i % 5};{price:.2f};{int(click)}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_table_of_ones_own_to_a_scored_model(tmp_path, capsys, refused):
    table, spec = write_hotels(tmp_path / "my.csv"), tmp_path / "my.yaml"
    assert cli.main(["spec", str(table), "--out", str(spec)]) == 0
    out = capsys.readouterr().out
    assert [line.split(":")[0] for line in out.splitlines()[:5]] == ["city", "stars", "price", "clicked", "session"]
    assert "clicked: label\n" in out
    assert "session: left out, holds another value in every row" in out
    assert f"dlrm prepare --spec {spec} {table} --out DATA" in out
    assert cli.main(["spec", str(table), "--label", "clicked", "--separator", ";", "--out", str(spec)]) == 0
    spec.write_text(spec.read_text() + "# looked over by somebody\n")
    assert "is there already" in refused("spec", table, "--out", spec)
    argv = [
        "prepare",
        "--spec",
        str(spec),
        str(table),
        "--out",
        str(tmp_path / "DATA"),
        "--frequency-limit",
        "2,stars:3",
    ]
    assert cli.main(argv) == 0
    record = read_record(tmp_path / "DATA")
    assert record.config["numerical_transform"] == "log_x_plus_3_missing_0"
    assert record.config["column_limits"] == {"stars": 3}
    assert {m.split: m.value for m in record.metrics} == {"train": 600, "validation": 0, "test": 100}
    changes = ["epochs=40", "batch_size=64", "schedule.decay_start_step=null"]
    assert cli.main(["train", *train_arguments(tmp_path, preset="tiny"), "--set", *changes]) == 0
    assert cli.main(["evaluate", "--run", str(tmp_path / "RUN"), "--data", str(tmp_path / "DATA")]) == 0
    auc = read_record(tmp_path / "RUN").metric("auc", "test")
    assert auc is not None
    assert auc.value > 0.65
    parts = ["prepare", "--spec", spec, "--train", table, "--test", table, "--out", tmp_path / "PARTS"]
    assert cli.main([str(word) for word in parts]) == 0
    spec.write_text(spec.read_text().replace("- price", "- prise"))
    line = refused("prepare", "--spec", spec, table, "--out", tmp_path / "X")
    assert "no column 'prise' (did you mean 'price'?)" in line
    assert not (tmp_path / "X").exists()


def test_raw_files_without_an_option_are_split(work, tmp_path, refused):
    raw = [str(work / "train.tsv"), str(work / "test.tsv")]
    assert cli.main(["prepare", *raw, "--out", str(tmp_path / "D"), "--frequency-limit", "2"]) == 0
    record = read_record(tmp_path / "D")
    assert {m.split: m.value for m in record.metrics} == {"train": 360, "validation": 0, "test": 60}
    assert record.repeat == "dlrm prepare train.tsv test.tsv --out DATA --frequency-limit 2 --vocabulary train"
    assert "files without --train or --test" in refused("prepare", raw[0], "--train", raw[1], "--out", tmp_path / "E")
    assert "no train files" in refused("prepare", "--out", tmp_path / "E")
    assert "no test files" in refused("prepare", "--train", raw[0], "--out", tmp_path / "E")
    assert "no such file; `dlrm spec`" in refused("prepare", "--spec", "none.yaml", raw[0], "--out", tmp_path / "E")


# How it is called


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["sample"],
        ["spec"],
        ["prepare"],
        ["train"],
        ["evaluate"],
        ["baselines"],
        ["sweep"],
        ["report"],
        ["compare"],
        ["bench", "throughput"],
    ],
)
def test_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([*command, "--help"])
    assert stop.value.code == 0
    assert "usage: dlrm" in capsys.readouterr().out


def test_module_and_console_script_are_the_same():
    script = Path(sys.executable).parent / "dlrm"
    module = subprocess.run(
        [sys.executable, "-m", "dlrm_core.cli", "--help"], capture_output=True, text=True, check=True
    )
    console = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert module.stdout == console.stdout
    assert "evaluate" in module.stdout


@pytest.mark.parametrize("argv", [[], ["trian"], ["train"], ["train", "--preset"], ["evaluate", "--split", "all"]])
def test_wrong_usage_is_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert stop.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_options_of_the_issue(work, tmp_path):
    raw = [str(work / "train.tsv"), str(work / "test.tsv")]
    argv = [
        "prepare",
        "--train",
        raw[0],
        raw[0],
        "--validation",
        raw[1],
        "--test",
        raw[1],
        "--out",
        str(tmp_path / "D"),
    ]
    assert cli.main([*argv, "--frequency-limit", "3", "--vocabulary", "all", "--engine", "polars"]) == 0
    rows = {m.split: m.value for m in read_record(tmp_path / "D").metrics}
    assert rows == {"train": 600, "validation": 120, "test": 120}


def test_the_transform_of_the_readme_by_name(work, tmp_path):
    raw = str(work / "test.tsv")
    argv = ["prepare", "--train", raw, "--test", raw, "--out", str(tmp_path / "D")]
    assert cli.main([*argv, "--numerical-transform", "readme_missing_0_log_x_plus_2"]) == 0
    assert read_dataset(tmp_path / "D").preparation.numerical_transform == "readme_missing_0_log_x_plus_2"
    assert read_record(tmp_path / "D").repeat.endswith("--numerical-transform readme_missing_0_log_x_plus_2")


# How it refuses


def test_unknown_preset(work, refused):
    line = refused("train", *train_arguments(work, "X", preset="tinny"))
    assert "'tinny'" in line
    assert "did you mean 'tiny'?" in line
    assert not (work / "X").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sede=3", ["sede", "did you mean 'seed'?"]),
        ("model.interactoin=cat", ["interactoin", "did you mean 'interaction'?"]),
        ("seed=three", ["seed", "'three'"]),
        ("seed=-1", ["seed", "-1"]),
        ("seed=", ["seed"]),
        ("seed", ["key.path=value"]),
        ("=3", ["key.path=value"]),
        ("batch_size.x=3", ["batch_size"]),
        ("model.interaction=dott", ["interaction", "'dott'"]),
        ("deterministic=flase", ["deterministic", "'flase'"]),
        ("mlps={lr: [}", ["YAML"]),
        ("model.embedding_dim=5", ["bottom_mlp_sizes", "embedding_dim 5"]),
        ("precision=fp64", ["precision", "fp64"]),
    ],
)
def test_bad_override(work, refused, override, words):
    line = refused("train", *train_arguments(work, "X"), "--set", override)
    assert all(word in line for word in words)
    assert not (work / "X").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["mapping"]),
        ("- 1", ["mapping"]),
        ("a: [", ["YAML"]),
        ("train:", ["train"]),
        ("train: 5", ["train"]),
        (PRESET + "extra: 1\n", ["extra"]),
        (PRESET.replace("frequency_limit: 2", "frequency_limt: 2", 1), ["did you mean 'frequency_limit'?"]),
        ("\0\x80", ["bad.yaml"]),
    ],
)
@pytest.mark.parametrize("more", [[], ["--set", "seed=3"]], ids=["plain", "set"])
def test_bad_preset_file(work, tmp_path, refused, text, words, more):
    path = tmp_path / "bad.yaml"
    path.write_bytes(text.encode("latin-1"))
    line = refused("train", *train_arguments(work, "X", preset=str(path)), *more)
    assert all(word in line for word in words)


def test_missing_preset_file(work, refused):
    assert "no such preset file" in refused("train", *train_arguments(work, "X", preset="is/not/there.yaml"))


def test_missing_data(work, tmp_path, refused):
    preset = work / "preset.yaml"
    line = refused("train", "--data", tmp_path / "none", "--out", tmp_path / "X", "--preset", preset)
    assert "dlrm prepare" in line
    assert not (tmp_path / "X").exists()


def test_output_that_is_a_file(work, tmp_path, refused):
    (tmp_path / "X").write_text("mine")
    preset = work / "preset.yaml"
    line = refused("train", "--data", work / "DATA", "--out", tmp_path / "X", "--preset", preset)
    assert "is a file, a folder is needed" in line
    assert (tmp_path / "X").read_text() == "mine"


def test_evaluating_no_run(work, tmp_path, refused):
    assert "run.json" in refused("evaluate", "--run", tmp_path, "--data", work / "DATA")


def test_divergence(work, refused, capsys):
    argv = ["train", *train_arguments(work, "D"), "--set", "mlps.lr=1e30", "tables.lr=1e30", "schedule.warmup_steps=0"]
    assert cli.main(argv) == 1
    captured = capsys.readouterr()
    assert "the training loss is" in captured.err.strip().splitlines()[-1]
    assert "Traceback" not in captured.err
    assert read_record(work / "D").status == "failed"


def test_bad_raw_line_names_file_and_line(work, tmp_path, refused):
    bad = tmp_path / "bad.tsv"
    bad.write_text((work / "train.tsv").read_text() + "0\t1\n")
    line = refused("prepare", "--train", bad, "--test", work / "test.tsv", "--out", tmp_path / "D")
    assert f"{bad}:301" in line


def test_bad_frequency_limit(work, tmp_path, refused):
    raw = work / "test.tsv"
    line = refused("prepare", "--train", raw, "--test", raw, "--out", tmp_path / "D", "--frequency-limit", "0")
    assert "frequency_limit" in line


def test_debug_shows_the_error(work):
    with pytest.raises(KitError, match="tinny"):
        cli.main(["--debug", "train", *train_arguments(work, "X", preset="tinny")])


def test_a_warning_is_one_line_and_the_filters_are_restored(tmp_path, monkeypatch, capsys):
    def warn(_arguments):
        warnings.warn("the test part: every row has the label 0", stacklevel=1)

    before = warnings.showwarning
    monkeypatch.setattr(cli.models, "_evaluate", warn)
    assert cli.main(["evaluate", "--run", str(tmp_path), "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().err == "dlrm evaluate: warning: the test part: every row has the label 0\n"
    assert warnings.showwarning is before


def test_interrupt_is_130(monkeypatch, capsys, work):
    def interrupt(_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.models, "_evaluate", interrupt)
    assert cli.main(["evaluate", "--run", "x", "--data", "y"]) == 130
    assert capsys.readouterr().err == "dlrm evaluate: interrupted\n"


def test_our_own_defects_keep_their_traceback(monkeypatch):
    def fail(_arguments: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(cli.models, "_evaluate", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["evaluate", "--run", "x", "--data", "y"])


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["train", "--synthetic", "rows=9", "--preset", "tiny", "--out", ""], "an empty name came"),
        (
            ["train", "--synthetic", "rows=9", "--preset", "tiny", "--out", "o", "--profile", "-7"],
            "at least 1 is needed",
        ),
        (["bench", "loader", "--data", "d", "--out", "o", "--rounds", "0"], "at least 1 is needed"),
        (["bench", "loader", "--data", "d", "--out", "o", "--batch-size", "-5"], "at least 1 is needed"),
        (["bench", "loader", "--data", "d", "--out", "o", "--depth", "-1"], "at least 0 is needed"),
        (["bench", "inference", "--out", "o", "--calls", "1"], "at least 2 is needed"),
        (["bench", "inference", "--out", "o", "--batch-sizes", "64,no"], "'no' came, a whole number"),
        (["bench", "throughput", "--out", "o", "--rounds", "x"], "'x' came, a whole number"),
    ],
)
def test_numbers_and_names_that_cannot_be(argv, words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("8 TB"), "not enough memory (8 TB); ask for less"),
        (
            OSError(28, "No space left on device", "RUN/tables"),
            "RUN/tables: No space left on device; --debug shows where",
        ),
    ],
)
def test_what_the_machine_lacks_is_one_line(error, words, monkeypatch, capsys):
    def fail(**_):
        raise error

    monkeypatch.setattr("dlrm_core.synthetic.write_synthetic", fail)
    assert cli.main(["synthetic", "--out", "x", "rows=10"]) == 1
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told
    with pytest.raises(type(error)):
        cli.main(["--debug", "synthetic", "--out", "x", "rows=10"])
