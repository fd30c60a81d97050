"""The command compare."""

from dlrm_core.cli.common import Arguments, Commands, add_command, path, say


def add_commands(commands: Commands) -> None:
    """Declare the commands of this room."""
    command = add_command(
        commands, "compare", "Say which factors differ between two runs, and what that did to each metric."
    )
    for name, example in (("RUN_A", "folder with a run.json of any command"), ("RUN_B", "another one")):
        command.add_argument(name.lower(), type=path, metavar=name, help=example)
    command.set_defaults(function=_compare)


def _compare(arguments: Arguments) -> None:
    from reports.compare.runs import compare_runs
    from reports.compare.text import text

    say(text(compare_runs(arguments.run_a, arguments.run_b)))
