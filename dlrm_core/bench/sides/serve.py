"""The process of one side: ``python -m dlrm_core.bench.sides.serve KIND MODE WORKLOAD``.

One command a line on standard input, a JSON object; one answer a line on standard output. The first line out says what runs.
"""

import json
import os
import sys
from typing import Any, TextIO

import torch

from dlrm_core.bench.sides.side import Answering
from dlrm_core.bench.workload import Workload
from dlrm_core.schema.errors import KitError


def main(kind: str, mode: str, workload: str) -> None:
    """Build the side and answer until standard input ends.

    A fault that the user can mend becomes the answer; any other ends the process.
    """
    answers = _own_output()
    threads = torch.get_num_threads()
    try:
        side = build(kind, mode, Workload.from_dict(json.loads(workload)))
    except KitError as error:
        _reply(answers, {"error": str(error)})
        return
    _reply(answers, {"description": f"{side.description}; torch {torch.__version__}, {threads} threads"})
    for line in sys.stdin:
        try:
            _reply(answers, side.answer(json.loads(line)))
        except KitError as error:
            _reply(answers, {"error": str(error)})


def build(kind: str, mode: str, workload: Workload) -> Answering:
    """The side of that kind; each is imported only where it runs."""
    if kind == "limits":
        from dlrm_core.bench.sides.limits import Limits

        return Limits(workload)
    if kind == "plain":
        from dlrm_core.bench.sides.plain import Plain

        return Plain(workload, mode)
    if kind == "torchrec":
        from dlrm_core.bench.sides.torchrec_dlrm import TorchRec

        return TorchRec(workload)
    from dlrm_core.bench.sides.ours import Ours

    return Ours(workload, mode)


def _own_output() -> TextIO:
    """The pipe to the parent; whatever a library prints goes to standard error from now on."""
    pipe = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return pipe


def _reply(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
