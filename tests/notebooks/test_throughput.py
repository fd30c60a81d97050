"""07_throughput at its smallest: to its last cell, and the second time without measuring."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import read_record
from notebooks.parameters import validate
from notebooks.runner import notebook_path

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"batch_sizes": "64", "precisions": "fp32 fp16", "implementations": "fast", "rounds": "1"}


def papermill(tmp_path, **parameters):
    out = tmp_path / "out.ipynb"
    command = [sys.executable, "-m", "papermill", str(notebook_path("07_throughput")), str(out)]
    for name, value in ({"preset": "tiny", "runs": str(tmp_path / "runs")} | parameters).items():
        command += ["-p", name, value]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done, out


def pages(path):
    cells = nbformat.read(path, 4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "\n".join(o["text"] if o.output_type == "stream" else o["data"].get("text/html", "") for o in outputs)


@pytest.mark.slow
def test_it_measures_once_and_says_where_the_time_goes(tmp_path):
    done, out = papermill(tmp_path, **SMALL)
    assert done.returncode == 0, done.stderr
    record = read_record(tmp_path / "runs" / "throughput")
    assert record.status == "finished"
    said = pages(out)
    assert "by hand 2,866,592 operations a row, the library says 2,866,592" in said
    assert re.search(r"S, batch 64, fp32, fast: the (step|loader) is the bottleneck", said)
    assert "cannot run: fast needs the compiled kernels" in said
    assert len(re.findall(r'<svg [^>]*role="img" aria-label="[^"]{60,}"', said)) == 3
    assert "8252438.74" in said
    assert (tmp_path / "runs" / "stages" / "07_throughput.json").is_file()
    made = (tmp_path / "runs" / "throughput" / "run.json").stat().st_mtime_ns
    done, _ = papermill(tmp_path, **SMALL)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "throughput" / "run.json").stat().st_mtime_ns == made


def test_an_unknown_model_is_told_before_anything_is_measured(tmp_path):
    done, _ = papermill(tmp_path, sizes="M")
    assert done.returncode == 1
    assert "--sizes: M came; some of S, N are needed" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_parameters_as_papermill_gives_them():
    asked = validate("07_throughput", {"batch_sizes": 64, "sizes": "S N", "rounds": "2"}).asked()
    assert (list(asked.batch_sizes), list(asked.sizes), asked.rounds) == ([64], ["S", "N"], 2)
    with pytest.raises(KitError, match="parameter 'batch_sizes' is '2k'; whole numbers separated by blanks"):
        validate("07_throughput", {"batch_sizes": "2k"})
