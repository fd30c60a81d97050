"""One process a side, all alive together, of which only the one that was asked works."""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

from dlrm_core.bench.peers import SideSpec
from dlrm_core.bench.workload import Workload
from dlrm_core.schema.environment import project_root
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.progress import Progress


class Worker:
    """The parent's end of a side's process."""

    def __init__(self, side: SideSpec, workload: Workload) -> None:
        self.side = side
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        words = ["-W", "ignore", "-m", "dlrm_core.bench.sides.serve", side.kind, side.mode]
        self._process = subprocess.Popen(
            [side.python, *words, json.dumps(workload.to_dict())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            cwd=tempfile.gettempdir(),  # so that no folder of the user's shadows a package of the peer
            env=os.environ | {"PYTHONPATH": str(project_root())},
        )

    def ready(self) -> str:
        """Wait until the side is built; what runs, in words."""
        return str(self._receive()["description"])

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and wait for the answer.

        Raises
        ------
        KitError
            If the side says so, or its process has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, and _receive says why
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise KitError(f"{self.side.name}: its process ended with {self._process.wait()}: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise KitError(answer["error"])
        return answer

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().strip().splitlines()
        errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
        return (errors or lines or ["nothing said"])[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()


@contextmanager
def workers(
    sides: Sequence[SideSpec], workload: Workload, progress: Progress
) -> Iterator[tuple[dict[str, Worker], dict[str, str]]]:
    """Every side's process by name, started one after the other, and what each runs; killed at the end."""
    with ExitStack() as stack:
        started, described = {}, {}
        for number, side in enumerate(sides):
            started[side.name] = stack.enter_context(Worker(side, workload))
            described[side.name] = started[side.name].ready()
            progress(f"bench {workload.name}: start", number + 1, len(sides))
        yield started, described
