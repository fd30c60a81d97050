import json
import os
import re
from itertools import product
from pathlib import Path

import nbformat
import pytest

from dlrm_core.schema.errors import KitError
from dlrm_core.schema.lock import only_process
from dlrm_core.schema.stages import Marker
from notebooks import runner
from notebooks.parameters import SCHEMAS
from notebooks.redraw import main as redraw_main
from notebooks.runner import Plan, main, run_stage
from tests.browser import SIZES, chromium, faults
from tests.notebooks.conftest import PARAMETERS

HAND = "02_model_by_hand"
FINISH = f'from pathlib import Path\nfrom notebooks.runner import finish\nfinish("{HAND}", Path(runs))'


@pytest.fixture
def plan(tmp_path):
    return Plan("tiny", [], [], [], runs=str(tmp_path / "runs"), html=str(tmp_path / "page" / "index.html"))


def replace_notebook(monkeypatch, path):
    monkeypatch.setattr(runner, "notebook_path", lambda _: path)


def test_a_killed_kernel_is_a_failure_and_the_next_call_goes_on_there(make_notebook, plan, monkeypatch):
    flag = Path(plan.runs).parent / "flag"
    kill = f"import os, pathlib\nif not pathlib.Path({str(flag)!r}).exists():\n    os.kill(os.getpid(), 9)"
    replace_notebook(monkeypatch, make_notebook(PARAMETERS, kill, FINISH))
    with pytest.raises(KitError, match="kernel died"):
        run_stage(HAND, plan)
    state = Marker(Path(plan.runs), HAND).read()
    assert state["status"] == "failed"
    assert "kernel died" in state["reason"]
    flag.touch()
    assert run_stage(HAND, plan)
    assert not run_stage(HAND, plan)


def test_a_notebook_that_does_not_reach_its_last_cell_has_not_finished(make_notebook, plan, monkeypatch):
    replace_notebook(monkeypatch, make_notebook(PARAMETERS, "1 + 1"))
    with pytest.raises(KitError, match="before the notebook's last cell"):
        run_stage(HAND, plan)


def test_an_error_is_told_in_one_line(make_notebook, plan, monkeypatch):
    fail = 'from dlrm_core.schema.errors import KitError\nraise KitError("the reason itself")'
    replace_notebook(monkeypatch, make_notebook(PARAMETERS, fail))
    with pytest.raises(KitError, match=r"^02_model_by_hand: the reason itself; see "):
        run_stage(HAND, plan)


def test_a_damaged_output_is_made_again(make_notebook, plan, monkeypatch):
    made = Path(plan.runs) / "made.txt"
    cells = (
        f"import pathlib\npathlib.Path({str(made)!r}).write_text('x')",
        FINISH.replace("))", f"), [Path({str(made)!r})])"),
    )
    replace_notebook(monkeypatch, make_notebook(PARAMETERS, *cells))
    assert run_stage(HAND, plan)
    made.write_text("y")
    assert run_stage(HAND, plan)
    assert made.read_text() == "x"


def test_two_runners_never_share_a_folder(plan, capfd):
    with only_process(Path(plan.runs) / "stages"):
        assert main(["--preset", "tiny", "--runs", plan.runs, "--html", plan.html]) == 1
    assert f"{plan.runs}: process {os.getpid()} is writing there" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.browser
def test_the_whole_pipeline_twice_and_with_another_seed(plan, capfd):
    """The smallest setting end to end: everything runs, then nothing, then only what the seed touches."""
    options = ["--preset", "tiny", "--runs", plan.runs, "--html", plan.html]
    assert main(options) == 0, capfd.readouterr().err
    page = Path(plan.html).read_text()
    assert page.count("<h1") == 1
    check_pages(Path(plan.html).parent)
    check_saved_notebook(Path(plan.runs) / "notebooks" / "04_train.ipynb")
    first = snapshot(Path(plan.runs))
    capfd.readouterr()

    assert main(options) == 0
    assert capfd.readouterr().err.count("done before") == 8
    assert snapshot(Path(plan.runs)) == first

    assert main([*options, "--set", "seed=2"]) == 0
    assert re.findall(r"(\d\d)_\w+: running", capfd.readouterr().err) == ["04", "06", "09"]
    second = snapshot(Path(plan.runs))
    assert redraw_main(["--runs", plan.runs, "--html", plan.html]) == 0
    assert snapshot(Path(plan.runs)) == second
    assert "09_report.html" in Path(plan.html).read_text()
    assert {name for name in first if name.startswith(("raw/", "data/", "baselines/"))} <= {
        name for name in second if second[name] == first.get(name)
    }
    assert (Path(plan.runs) / "dlrm-seed-2" / "run.json").is_file()


def check_pages(folder: Path) -> None:
    """Every page, the notebooks' too, in a real browser."""
    pages = sorted(folder.glob("*.html"))
    assert [page.stem for page in pages if page.stem[:2].isdigit()] == sorted(SCHEMAS)
    with chromium() as browser:
        for number, page in enumerate(pages):
            size, scheme = list(product(SIZES, ("light", "dark")))[number % 4]
            assert faults(browser, page, size, scheme) == [], page.name


def snapshot(folder):
    return {
        str(p.relative_to(folder)): p.stat().st_mtime_ns
        for p in folder.rglob("*")
        if p.is_file() and "stages" not in p.parts
    }


def check_saved_notebook(path):
    """One output a displaying cell: the live curve leaves a single picture behind."""
    notebook = nbformat.read(path, 4)
    curve = next(c for c in notebook.cells if c.cell_type == "code" and "LossCurve()" in c.source)
    kinds = [output.output_type for output in curve.outputs]
    assert kinds == ["display_data", "display_data"]  # the curve and the bar
    assert "<svg" in curve.outputs[0].data["text/html"]
    assert (
        json.loads((Path(os.path.dirname(path)).parent / "dlrm-seed-12345" / "run.json").read_text())["status"]
        == "finished"
    )
