"""06_stability on a small prepared data set: its parameters, its folder, and the whole notebook."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import read_record
from dlrm_core.train.sweep_request import Request
from notebooks.parameters import validate
from notebooks.runner import notebook_path
from notebooks.stages import ensure_sweep
from tests.train.builders import write_dataset

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = "06_stability"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seeds": "1 2"}, "at least three different whole numbers"),
        ({"seeds": "1 2 2"}, "at least three different whole numbers"),
        ({"seeds": "1 2 -3"}, "at least three different whole numbers"),
        ({"seeds": 7}, "at least three different whole numbers"),
        ({"precisions": "fp32"}, "at least two different precisions"),
        ({"precisions": "fp32 fb16"}, "unknown precision 'fb16' (did you mean 'bf16'?)"),
        ({"precision": "fp32"}, "did you mean 'precisions'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(values, message):
    with pytest.raises(KitError, match=re.escape(message)):
        validate(NOTEBOOK, values)


def test_seeds_and_precisions_are_words_or_a_list():
    for given in ("5 3 11", [5, 3, 11]):
        assert validate(NOTEBOOK, {"seeds": given}).seed_numbers == [5, 3, 11]
    assert validate(NOTEBOOK, {"precisions": "bf16 fp32-fast"}).modes == ["bf16", "fp32-fast"]


def test_what_the_notebook_varies_itself_is_no_override():
    """`make reproduce SET='seed=2 epochs=2'` means the training notebook's seed; the epochs hold here too."""
    p = validate(NOTEBOOK, {"overrides": "seed=2 epochs=2 precision=bf16 loss_scale.value=8"})
    assert p.kept() == (["epochs=2", "loss_scale.value=8"], ["seed=2", "precision=bf16"])


def test_a_sweep_on_other_data_goes_and_one_with_other_overrides_stays(tmp_path):
    write_dataset(tmp_path / "A")
    write_dataset(tmp_path / "B", seed=4)
    asked = Request(preset="tiny", seeds=[1, 2], modes=["fp32"], overrides=["max_steps=1"])
    other = Request(preset="tiny", seeds=[1, 2], modes=["fp32"], overrides=["max_steps=2"])
    first, second = (ensure_sweep(tmp_path, tmp_path / "A", request) for request in (asked, other))
    assert first != second
    kept = (second / "run.json").read_bytes()
    digest = read_record(first).dataset_digest
    assert ensure_sweep(tmp_path, tmp_path / "B", asked) == first
    record = read_record(first)
    assert record.status == "finished"
    assert record.dataset_digest != digest
    assert read_record(first / "fp32-seed-1").dataset_digest == record.dataset_digest
    assert (second / "run.json").read_bytes() == kept


@pytest.mark.slow
def test_the_notebook_with_a_precision_that_fails(tmp_path):
    """fp16 with an endless loss scale fails every run: the notebook says so and compares the others."""
    write_dataset(tmp_path / "DATA", train=2000, test=500)
    values = {
        "preset": "tiny",
        "runs": str(tmp_path / "runs"),
        "data": str(tmp_path / "DATA"),
        "precisions": "fp32 bf16 fp16-static",
        "overrides": ["batch_size=64", "loss_scale.value=1e30", "seed=9"],
    }
    (tmp_path / "values.yaml").write_text(json.dumps(values))
    source, out = str(notebook_path(NOTEBOOK)), tmp_path / "out.ipynb"
    command = [sys.executable, "-m", "papermill", source, str(out), "-f", str(tmp_path / "values.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    saved = out.read_text()
    assert "left out here, since this notebook varies them itself: seed=9" in saved
    assert "fp16-static, seed 2" in saved
    assert "bf16 \\u2212 fp32" in saved or "bf16 − fp32" in saved
    (folder,) = (tmp_path / "runs").glob("sweep-*")
    record = read_record(folder)
    assert record.metric("finished runs", "test").value == 6
    assert record.metric("failed runs", "test").value == 3
    marker = json.loads((tmp_path / "runs" / "stages" / f"{NOTEBOOK}.json").read_text())
    assert f"{folder.name}/run.json" in marker["outputs"]
    assert f"{folder.name}/stages/lock" not in marker["outputs"]
