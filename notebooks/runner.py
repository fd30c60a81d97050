"""Run the notebooks in order with papermill, skip what is done, and go on where a run failed: `make reproduce`."""

import argparse
import json
import os
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dlrm_core.schema.config import load_preset
from dlrm_core.schema.environment import source_digest
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_file, write_atomic
from dlrm_core.schema.lock import only_process
from dlrm_core.schema.stages import Marker, fingerprint
from notebooks.parameters import SCHEMAS, home, shown, validate
from reports.html.document import Link, document
from reports.html.markup import Html, join
from reports.pages.provenance import foot
from reports.read.collect import gather

SECONDS_BETWEEN_LINES = 3.0
PLACES = ("runs", "html", "data")  # parameters that say where on this machine something lies


@dataclass(frozen=True)
class Plan:
    """What `make reproduce` was asked for."""

    preset: str
    train: list[str]
    test: list[str]
    overrides: list[str]
    runs: str = ""
    html: str = ""

    @property
    def page(self) -> Path:
        """Where the report page goes; the notebooks' pages go beside it."""
        return Path(self.html) if self.html else report_path()

    def parameters(self, notebook: str) -> dict[str, Any]:
        """What a notebook is given; names that it does not take are left out."""
        return {name: value for name, value in asdict(self).items() if name in SCHEMAS[notebook].model_fields}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the pipeline; return the exit code: 0 done, 1 failed."""
    plan = _plan(argv)
    start = time.monotonic()
    try:
        load_preset(plan.preset, plan.overrides)  # what cannot work is refused before anything runs
        folder = validate(next(iter(SCHEMAS)), {"preset": plan.preset, "runs": plan.runs}).folder
        with only_process(folder / "stages"):
            for notebook in SCHEMAS:
                run_stage(notebook, plan)
    except KitError as error:
        _say(f"failed: {error}")
        _say("what is done stays done; mend the cause and give the same command again")
        return 1
    _say(f"done in {time.monotonic() - start:.0f} s: open {shown(plan.page)} in a browser")
    return 0


def report_path() -> Path:
    """Where the report page is written."""
    return home() / "reports" / "build" / "index.html"


def run_stage(notebook: str, plan: Plan) -> bool:
    """Run one notebook unless its marker holds; return whether it ran.

    Raises
    ------
    KitError
        If the notebook fails or its kernel dies; the marker then says failed, with the reason.
    """
    parameters = plan.parameters(notebook)
    folder = validate(notebook, parameters).folder
    marker, source = Marker(folder, notebook), notebook_path(notebook)
    key = _key(notebook, source, parameters, folder)
    if marker.holds(key):
        _say(f"{notebook}: done before, nothing it depends on has changed")
        return False
    _say(f"{notebook}: running")
    marker.clear()
    start = time.monotonic()
    output = folder / "notebooks" / source.name
    output.parent.mkdir(parents=True, exist_ok=True)
    reason = _execute(source, output, parameters)
    state = marker.read()
    if reason is None and state.get("status") != "finished":
        reason = "the kernel died before the notebook's last cell (killed, or out of memory?)"
    if reason is not None:
        marker.write(status="failed", key=key, reason=reason)
        raise KitError(f"{notebook}: {reason}; see {shown(output)}")
    render(output, plan.page)
    # Outputs as the notebook listed them; the key is what the inputs are now, after the notebook made some of them.
    marker.write(
        status="finished",
        key=_key(notebook, source, parameters, folder),
        outputs=[folder / name for name in state["outputs"]],
    )
    _say(f"{notebook}: {time.monotonic() - start:.0f} s")
    return True


def notebook_path(notebook: str) -> Path:
    """The source of a notebook."""
    return Path(__file__).parent / f"{notebook}.ipynb"


def finish(notebook: str, folder: Path, outputs: Sequence[Path] = ()) -> None:
    """Called by a notebook's last cell: say that it came to its end, and which files below `folder` it stands for."""
    Marker(folder, notebook).write(status="finished", key=None, outputs=outputs)


def render(notebook: Path, report: Path) -> Path:
    """Write an executed notebook as one HTML file beside the report's page, in its style, without any external reference."""
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter(template_name="basic").from_filename(str(notebook))
    body = body.replace("<pre>", '<pre tabindex="0">')  # long lines scroll, by keyboard too
    page = report.with_name(f"{notebook.stem}.html")
    page.parent.mkdir(parents=True, exist_ok=True)
    style = (Path(__file__).parent / "page.css").read_text()
    links = [Link(report.name, "Report"), Link(page.name, notebook.stem)]
    whole = join([Html(body), foot(gather(notebook.parents[1]), _repeat(notebook))])
    write_atomic(page, document(notebook.stem, whole, pages=links, here=page.name, more_style=style))
    return page


def _repeat(notebook: Path) -> str:
    """The papermill command of an executed notebook, with the parameters that it was given, folders aside."""
    given = json.loads(notebook.read_text(encoding="utf-8"))["metadata"].get("papermill", {}).get("parameters", {})
    words = [f"-p {name} {shlex.quote(str(value))}" for name, value in given.items() if name not in PLACES and value]
    return " ".join([f"papermill notebooks/{notebook.name} out.ipynb", *words])


def _key(notebook: str, source: Path, parameters: dict[str, Any], folder: Path) -> str:
    preset = parameters["preset"]
    return fingerprint(
        notebook=sha256_file(source),
        parameters=parameters,
        preset=sha256_file(Path(preset)) if preset.endswith((".yaml", ".yml")) else preset,
        sources=source_digest(),
        inputs=[_input_digest(name, folder) for name in _inputs(notebook, parameters)],
    )


def _inputs(notebook: str, parameters: dict[str, Any]) -> list[str]:
    if notebook == "01_prepare_data":
        return [str(Path(name).resolve()) for name in parameters["train"] + parameters["test"]]
    if notebook == "10_your_own_data":
        return [str(Path(name).resolve()) for name in [parameters.get("table", "")] if name]
    return {
        "04_train": ["data/dataset.json"],
        "06_stability": ["data/dataset.json"],
        "09_report": [
            f"stages/{name}.json"
            for name in ("01_prepare_data", "04_train", "06_stability", "07_throughput", "10_your_own_data")
        ],
    }.get(notebook, [])


def _input_digest(name: str, folder: Path) -> str | None:
    path = folder / name
    return sha256_file(path) if path.is_file() else None


def _execute(source: Path, output: Path, parameters: dict[str, Any]) -> str | None:
    """Run a notebook; None if papermill saw nothing wrong, else the reason."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from traitlets.config import Config

    with _followed(), tempfile.TemporaryDirectory() as sockets:
        # Unix sockets, no open port; not in the working folder, where a killed run would leave them.
        kernels = {"transport": "ipc", "ip": str(Path(sockets) / "kernel")}
        try:
            papermill.execute_notebook(
                str(source),
                str(output),
                parameters=parameters,
                kernel_name="python3",
                cwd=str(home()),
                progress_bar=False,
                config=Config({"KernelManager": kernels}),
            )
        except papermill.PapermillExecutionError as error:
            return f"{error.ename}: {error.evalue}" if error.ename != "KitError" else str(error.evalue)
        except DeadKernelError:
            return "the kernel died (killed, or out of memory?)"
    return None


@contextmanager
def _followed() -> Iterator[None]:
    """Print what the notebook's progress displays say, every few seconds."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "progress"
        os.environ["DLRM_PROGRESS_FILE"] = str(target)
        stop = threading.Event()
        thread = threading.Thread(target=_follow, args=(target, stop))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            del os.environ["DLRM_PROGRESS_FILE"]


def _follow(target: Path, stop: threading.Event) -> None:
    last = ""
    while not stop.wait(SECONDS_BETWEEN_LINES):
        line = target.read_text().strip() if target.exists() else ""
        if line and line != last:
            last = line
            _say(f"  {line}")


def _plan(argv: Sequence[str] | None) -> Plan:
    parser = argparse.ArgumentParser(prog="python -m notebooks.runner", description=__doc__)
    parser.add_argument("--preset", default="workshop", help="preset, by name or path of a YAML")
    parser.add_argument(
        "--train", nargs="+", default=[], metavar="F", help="your own raw files (default: the planted sample)"
    )
    parser.add_argument(
        "--test", nargs="+", default=[], metavar="F", help="raw test files (default: the last seventh of the rows)"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        dest="overrides",
        metavar="key.path=value",
        help="training values",
    )
    parser.add_argument("--runs", default="", metavar="DIR", help="folder for results (default: runs/PRESET)")
    parser.add_argument("--html", default="", metavar="HTML", help="report page (default: reports/build/index.html)")
    arguments = parser.parse_args(argv)
    return Plan(**vars(arguments))


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
