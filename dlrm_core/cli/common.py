"""What every room of the command line uses."""

import argparse
import sys
from typing import TypeAlias

Arguments = argparse.Namespace
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    """A new command of that name, whose help shows the defaults."""
    return commands.add_parser(
        name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )


def say(line: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(line + "\n")
