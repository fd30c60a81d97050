"""The command report."""

from dlrm_core.cli.common import Arguments, Commands, add_command, path, say


def add_commands(commands: Commands) -> None:
    """Declare the commands of this room."""
    _add_report(commands)


def _add_report(commands: Commands) -> None:
    command = add_command(commands, "report", "Write one self-contained HTML page from the records below a folder.")
    command.add_argument(
        "--runs", type=path, required=True, metavar="DIR", help="folder that holds run folders, at any depth"
    )
    command.add_argument("--out", type=path, required=True, metavar="HTML", help="file to write")
    command.set_defaults(function=_report)


def _report(arguments: Arguments) -> None:
    from reports.page import build_report

    say(f"wrote {build_report(arguments.runs, arguments.out)}")
