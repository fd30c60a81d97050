"""10_your_own_data on a table of the reader's own: to a trained model, and no row of it in the saved notebook."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from notebooks.made_up import hotel_log
from notebooks.runner import notebook_path

ROOT = Path(__file__).resolve().parents[2]


def papermill(tmp_path, *options):
    source, out = str(notebook_path("10_your_own_data")), tmp_path / "out.ipynb"
    command = [
        sys.executable,
        "-m",
        "papermill",
        source,
        str(out),
        "-p",
        "preset",
        "tiny",
        "-p",
        "runs",
        str(tmp_path / "runs"),
    ]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    return done, out.read_text() if out.exists() else ""


def write_table(path, rows=3000):
    generator = np.random.default_rng(1)
    lines = ["secret\tamount\tlabel\tbought"]
    for _ in range(rows):
        group, amount = generator.integers(0, 9), generator.normal()
        bought = generator.random() < 1 / (1 + np.exp(-amount - (group - 4) / 2))
        lines.append(f"hush-{group}\t{amount:.3f}\t{generator.integers(0, 2)}\t{'true' if bought else 'false'}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
def test_a_foreign_table_to_a_trained_model(tmp_path):
    table = write_table(tmp_path / "mine.tsv")
    done, saved = papermill(tmp_path, "-p", "table", str(table), "-p", "label", "bought")
    assert done.returncode == 0, done.stderr
    assert "hush-" not in saved
    assert "did you mean 'amount'?" in saved
    assert not (tmp_path / "runs" / "own" / "made_up").exists()
    assert (tmp_path / "runs" / "stages" / "10_your_own_data.json").is_file()


def test_a_wrong_label_is_told_in_the_notebook(tmp_path):
    table = write_table(tmp_path / "mine.tsv")
    done, _ = papermill(tmp_path, "-p", "table", str(table), "-p", "label", "boughd")
    assert done.returncode == 1
    assert "--label boughd: no such column (did you mean 'bought'?)" in done.stderr


def test_the_rule_behind_the_made_up_clicks():
    log = hotel_log(20_000)
    assert all(len(values) == 20_000 for values in log.columns.values())
    assert len(log.columns) == 9
    clicked = np.array(log.columns["clicked"], dtype=float)
    gap = (clicked - log.probability_B).mean()
    assert abs(gap) < 4 * np.sqrt((log.probability_B * (1 - log.probability_B)).mean() / 20_000)
    assert log.columns == hotel_log(20_000).columns
    assert all(re.fullmatch(r"s\d{6}", name) for name in log.columns["search"])
