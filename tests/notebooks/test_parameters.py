import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from dlrm_core.schema.errors import KitError
from notebooks.parameters import SCHEMAS, _assigned_names, validate
from notebooks.runner import notebook_path

ROOT = Path(__file__).resolve().parents[2]


def parameters_cell(notebook: str) -> str:
    cells = [c for c in nbformat.read(notebook_path(notebook), 4).cells if "parameters" in c.metadata.get("tags", [])]
    assert len(cells) == 1
    return cells[0].source


@pytest.mark.parametrize("notebook", SCHEMAS)
def test_the_parameters_cell_and_the_schema_say_the_same(notebook):
    body = ast.parse(parameters_cell(notebook)).body
    written = {statement.target.id: ast.literal_eval(statement.value) for statement in body}
    schema = SCHEMAS[notebook]
    assert list(written) == list(schema.model_fields)
    assert written == schema().model_dump()


@pytest.mark.parametrize("notebook", SCHEMAS)
def test_papermill_understands_every_parameter_with_type_and_help(notebook):
    from papermill import inspect_notebook

    found = inspect_notebook(str(notebook_path(notebook)))
    assert set(found) == set(SCHEMAS[notebook].model_fields)
    assert all(entry["inferred_type_name"] != "None" and entry["help"] for entry in found.values())


@pytest.mark.parametrize("notebook", SCHEMAS)
def test_notebooks_in_git_are_clean(notebook):
    text = notebook_path(notebook).read_text()
    cells = json.loads(text)["cells"]
    assert all(not c.get("outputs") and c.get("execution_count") is None for c in cells)
    assert "papermill" not in json.loads(text)["metadata"]
    assert not re.search(r"https?://", text)
    prose = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    assert len(re.findall(r"^# ", prose, flags=re.MULTILINE)) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sede": 3}, "unknown parameter 'sede' (did you mean 'seed'?)"),
        ({"preset": "workshp"}, "did you mean 'workshop'"),
        ({"baselines": "flase"}, "parameter 'baselines' is 'flase'"),
        ({"seed": "three"}, "parameter 'seed' is 'three'"),
        ({"seed": -2}, "parameter 'seed' is -2"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(values, message):
    with pytest.raises(KitError, match=re.escape(message)):
        validate("04_train", values)


@pytest.mark.parametrize(("given", "meant"), [("false", False), ("true", True), ("0", False), (True, True)])
def test_papermills_texts_are_coerced(given, meant):
    assert validate("04_train", {"baselines": given, "seed": "3"}).baselines is meant


def test_lists_come_as_lists_json_or_words():
    for given in (["a", "b"], '["a", "b"]', "a b"):
        assert validate("01_prepare_data", {"train": given}).train == ["a", "b"]


def test_a_column_may_be_called_by_a_number():
    assert validate("10_your_own_data", {"table": "my.csv", "label": 7}).label == "7"
    with pytest.raises(KitError, match="parameter 'table' is True"):
        validate("10_your_own_data", {"table": True})


def test_only_the_parameters_cell_and_what_was_injected_after_it_count():
    cells = ["import os", "seed: int = 7  # help", "x = 3\nprint(x)", "y = 5", "# Parameters\nsede = 3\n"]
    assert _assigned_names(cells, {"seed"}) == ["seed", "sede"]
    assert _assigned_names([*cells, "seed: int = 8"], {"seed"}) == ["seed"]


@pytest.mark.parametrize(
    ("option", "message"), [("-p sede 3", "did you mean 'seed'"), ("-p preset tinny", "did you mean 'tiny'")]
)
def test_plain_papermill_is_refused_too(tmp_path, option, message):
    source, out = str(notebook_path("02_model_by_hand")), str(tmp_path / "out.ipynb")
    command = [sys.executable, "-m", "papermill", source, out, *option.split()]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert message in run.stderr


def test_plain_papermill_runs_a_stage_from_a_yaml(tmp_path):
    (tmp_path / "overrides.yaml").write_text(f"preset: tiny\nseed: 11\nruns: {tmp_path / 'runs'}\n")
    source, out = notebook_path("02_model_by_hand"), tmp_path / "out.ipynb"
    command = [sys.executable, "-m", "papermill", str(source), str(out), "-f", str(tmp_path / "overrides.yaml")]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "runs" / "stages" / "02_model_by_hand.json").is_file()
