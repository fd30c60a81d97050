"""Draw every page again from what lies on disk, records and executed notebooks, without running anything: `make report`."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dlrm_core.schema.errors import KitError
from notebooks.parameters import shown
from notebooks.runner import render
from reports.page import build_report


def redraw(runs: Path, html: Path) -> list[Path]:
    """Write the pages of the executed notebooks in `runs`/notebooks, then the report and the pages beside it; all of them.

    Raises
    ------
    KitError
        If `runs` holds no record of a model.
    """
    pages = [render(notebook, html) for notebook in sorted((runs / "notebooks").glob("*.ipynb"))]
    return [build_report(runs, html), *pages]


def main(argv: Sequence[str] | None = None) -> int:
    """Redraw; return the exit code: 0 done, 1 failed."""
    parser = argparse.ArgumentParser(prog="python -m notebooks.redraw", description=__doc__)
    parser.add_argument(
        "--runs", type=Path, required=True, metavar="DIR", help="folder for results, as of make reproduce"
    )
    parser.add_argument("--html", type=Path, required=True, metavar="HTML", help="report page")
    arguments = parser.parse_args(argv)
    start = time.monotonic()
    try:
        pages = redraw(arguments.runs, arguments.html)
    except KitError as error:
        sys.stderr.write(f"failed: {error}\n")
        return 1
    sys.stderr.write(f"{shown(pages[0])} and {len(pages) - 1} notebooks in {time.monotonic() - start:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
