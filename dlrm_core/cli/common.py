"""What every room of the command line uses."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

Arguments = argparse.Namespace
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    """A new command of that name, whose help shows the defaults."""
    return commands.add_parser(
        name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )


def add_preset(command: argparse.ArgumentParser) -> None:
    """The options --preset and --set."""
    command.add_argument("--preset", required=True, metavar="NAME", help="a preset of the kit, or the path of a YAML")
    command.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        nargs="+",
        metavar="key.path=value",
        help="change one training value, for example seed=3",
    )


def path(text: str) -> Path:
    """A file or folder by its name; an empty one would mean the working folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty name came, that of a file or folder is needed; . is this one")
    return Path(text)


def at_least(least: int) -> Callable[[str], int]:
    """A whole number from `least` on."""

    def number(text: str) -> int:
        value = int(text) if text.lstrip("+-").isdecimal() else None
        if value is None or value < least:
            raise argparse.ArgumentTypeError(f"{text!r} came, a whole number of at least {least} is needed")
        return value

    return number


def say(line: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(line + "\n")
