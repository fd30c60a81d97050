"""The command line: `dlrm COMMAND`, the same as `python -m dlrm_core.cli COMMAND`.

Exit codes: 0 done, 1 refused or failed with a reason, 2 wrong usage, 130 interrupted.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from dlrm_core.cli import bench, compare, models, raw, report, sweep
from dlrm_core.schema.errors import KitError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    from dlrm_core.idle import sleep_when_idle

    arguments = _parser().parse_args(argv)
    if arguments.command != "bench":  # which measures others as their users run them
        sleep_when_idle()
    try:
        with warnings.catch_warnings():
            _say_warnings(arguments.command)
            arguments.function(arguments)
    except KitError as error:
        if arguments.debug:
            raise
        sys.stderr.write(f"dlrm {arguments.command}: {error}\n")
        return 1
    except (OSError, MemoryError) as error:
        if arguments.debug:
            raise
        sys.stderr.write(f"dlrm {arguments.command}: {_of_the_system(error)}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"dlrm {arguments.command}: interrupted\n")
        return 130
    return 0


def _of_the_system(error: OSError | MemoryError) -> str:
    """What the machine lacks; `--debug` shows where."""
    if isinstance(error, MemoryError):
        return f"not enough memory ({error}); ask for less: smaller tables, batches or samples; --debug shows where"
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; --debug shows where"


def _say_warnings(command: str) -> None:
    """From here on, until the filters are restored, a warning of ours to the user is one line."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if category is UserWarning:
            sys.stderr.write(f"dlrm {command}: warning: {message}\n")
        else:
            usual(message, category, *where, **more)

    warnings.showwarning = show


def entry_point() -> None:
    """Console script."""
    sys.exit(main())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dlrm", description="Reproduce NVIDIA's DLRM for PyTorch: data, training, report."
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for room in (raw, models, sweep, report, compare, bench):
        room.add_commands(commands)
    return parser
