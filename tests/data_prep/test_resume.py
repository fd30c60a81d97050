"""Interrupted at any moment, the same command goes on behind the last stage that was done, and ends with the same bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data_prep.engines.polars_engine import PolarsEngine
from data_prep.job import WORK
from data_prep.prepare import prepare
from dlrm_core.schema.dataset import Preparation
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.lock import only_process
from dlrm_core.schema.record import read_record
from tests.conftest import random_rows, write_raw

PREPARATION = Preparation(frequency_limit=2)


def files(folder):
    rows = random_rows(300, seed=5)
    named = {"train": [write_raw(folder / f"day_{i}", rows[i * 100 : (i + 1) * 100]) for i in range(3)]}
    return named | {"test": [write_raw(folder / "day_3", random_rows(50, seed=6))]}


def tree(out):
    paths = [path for path in out.rglob("*") if path.is_file() and path.name != "run.json"]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def counted(monkeypatch):
    """Names of the files that were parsed, the columns that were counted and the parts that were encoded."""
    done = []
    for name in ("parse", "frequent", "encoded"):
        plain = getattr(PolarsEngine, name)

        def spied(self, first, *rest, plain=plain, name=name):
            done.append((name, first.name if name == "parse" else rest[0] if name == "frequent" else first.folder.name))
            return plain(self, first, *rest)

        monkeypatch.setattr(PolarsEngine, name, spied)
    return done


@pytest.mark.parametrize("what", ["parse", "count", "encode train", "encode test", "write train"])
def test_a_run_goes_on_behind_the_last_stage_that_was_done(tmp_path, counted, what):
    named = files(tmp_path)
    prepare(**named, out=tmp_path / "whole", preparation=PREPARATION)
    whole = len(counted)
    counted.clear()

    def interrupt(stage, done, total):
        if stage.startswith(what) and done >= (250 if what == "parse" else 13 if what == "count" else 50):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(**named, out=tmp_path / "out", preparation=PREPARATION, progress=interrupt)
    prepare(**named, out=tmp_path / "out", preparation=PREPARATION)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert not (tmp_path / "out" / WORK).exists()
    assert whole <= len(counted) <= whole + 1, "no more than the stage that was interrupted is done twice"
    assert read_record(tmp_path / "out").status == "finished"


def test_a_mended_file_is_read_again_and_the_others_are_not(tmp_path, counted):
    named = files(tmp_path)
    sound = named["train"][2].read_text()
    named["train"][2].write_text(sound.replace("\n", "\nx\n", 1))
    with pytest.raises(KitError, match="day_2:2: has 1 fields"):
        prepare(**named, out=tmp_path / "out", preparation=PREPARATION)
    counted.clear()
    named["train"][2].write_text(sound)
    prepare(**named, out=tmp_path / "out", preparation=PREPARATION)
    assert [file for name, file in counted if name == "parse"] == ["day_2", "day_3"]


def test_another_limit_reads_no_text_again(tmp_path, counted):
    named = files(tmp_path)

    def interrupt(stage, done, total):
        if stage == "write test":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(**named, out=tmp_path / "out", preparation=PREPARATION, progress=interrupt)
    counted.clear()
    spec = prepare(**named, out=tmp_path / "out", preparation=Preparation(frequency_limit=4))
    assert {name for name, _ in counted} == {"frequent", "encoded"}
    assert spec.digest == prepare(**named, out=tmp_path / "b", preparation=Preparation(frequency_limit=4)).digest


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_work_that_was_damaged_is_done_again(tmp_path, damage):
    named = files(tmp_path)

    def interrupt(stage, done, total):
        if stage == "write train":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(**named, out=tmp_path / "out", preparation=PREPARATION, progress=interrupt)
    for folder in ("parse-train-0001", "count-C3", "encode-train-0000"):
        path = next(path for path in sorted((tmp_path / "out" / WORK / folder).iterdir()) if path.is_file())
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.unlink() if damage == "missing" else path.write_bytes(raw)
    prepare(**named, out=tmp_path / "out", preparation=PREPARATION)
    prepare(**named, out=tmp_path / "whole", preparation=PREPARATION)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


COMMAND = [sys.executable, "-m", "dlrm_core.cli", "prepare", "--frequency-limit", "2"]


def start(named, out):
    options = [word for name, paths in named.items() for word in (f"--{name}", *map(str, paths))]
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen([*COMMAND, *options, "--out", str(out)], cwd=root, stderr=subprocess.PIPE, text=True)


def test_killed_at_any_moment_the_same_command_ends_with_the_same_bytes(tmp_path):
    """SIGKILL in real processes, at moments drawn over a whole run; the lock of the dead does not block."""
    rows = random_rows(6000, seed=8)
    named = {"train": [write_raw(tmp_path / f"day_{i}", rows[i::3]) for i in range(3)]}
    named |= {"test": [write_raw(tmp_path / "day_3", rows[:500])]}
    began = time.monotonic()
    assert start(named, tmp_path / "whole").wait() == 0
    seconds = time.monotonic() - began
    for moment in np.random.default_rng(3).uniform(0.4, 0.95, 4):
        process = start(named, tmp_path / "out")
        time.sleep(moment * seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        last = start(named, tmp_path / "out")
        assert last.wait() == 0, last.stderr.read()
        assert tree(tmp_path / "out") == tree(tmp_path / "whole")
        assert not (tmp_path / "out" / WORK).exists()


def test_two_processes_never_write_into_one_folder(tmp_path):
    with only_process(tmp_path / "out" / WORK), pytest.raises(KitError, match=f"process {os.getpid()} is writing"):
        prepare(**files(tmp_path), out=tmp_path / "out")
