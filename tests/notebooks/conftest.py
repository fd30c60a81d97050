from pathlib import Path

import nbformat
import pytest

PARAMETERS = 'preset: str = "tiny"  # preset\nruns: str = ""  # folder\nseed: int = 7  # seed'


@pytest.fixture
def make_notebook(tmp_path):
    """Write a notebook of these code cells, the first tagged `parameters`."""

    def make(*cells: str, name: str = "made.ipynb") -> Path:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        notebook.cells[0].metadata["tags"] = ["parameters"]
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path = tmp_path / name
        nbformat.write(notebook, path)
        return path

    return make
