"""How long work tells where it is: a callable of (what, done, total); total 0 means unknown."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]


def silent(what: str, done: int, total: int) -> None:
    """Say nothing."""
