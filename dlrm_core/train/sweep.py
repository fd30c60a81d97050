"""The command `sweep`: one configuration with several seeds in several precisions, a run folder each, and the scores together.

Each run is an ordinary training and evaluation, done once (:mod:`dlrm_core.schema.stages`): a sweep that was killed goes on
where it stopped, and a longer list of seeds or precisions trains only what is new.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrm_core.data import keep_off_dataset, open_part
from dlrm_core.schema.environment import source_digest
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import make_output_folder
from dlrm_core.schema.lock import only_process
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import FILE, RunRecord, read_record, recording, write_record
from dlrm_core.schema.stages import Marker, fingerprint, once
from dlrm_core.train.checkpoint import MLPS, TABLES
from dlrm_core.train.loop import TrainEvent
from dlrm_core.train.modes import MODES
from dlrm_core.train.run import train
from dlrm_core.train.scoring import evaluate
from dlrm_core.train.sweep_request import Request, Run
from dlrm_core.train.tally import FAILED, Tally

# What decides the bits of a trained model and of its scores: a run that other sources made is not taken for done.
MODEL_ROOMS = (
    "dlrm_core/data",
    "dlrm_core/metrics.py",
    "dlrm_core/model",
    "dlrm_core/ops",
    "dlrm_core/synthetic.py",
    "dlrm_core/zipf.py",
    "dlrm_core/schema",
    "dlrm_core/train",
)
# What must not change in a folder, as the record calls it and in words.
IDENTITY = {"dataset_digest": "data set", "preset": "preset", "overrides": "--set", "train": "configuration"}
STAGES = "stages"  # folder of the lock and of the marks of the runs that are done


class OtherSweepError(KitError):
    """The folder holds a sweep of another configuration or of other data."""


def sweep(*, data: Path, out: Path, request: Request, progress: Progress = silent) -> RunRecord:
    """Train and score each run in OUT/MODE-seed-N and keep OUT/run.json true after each.

    A run that finished before on the same data, with the same configuration and sources, and whose files are unchanged,
    is not trained again; anything else is, a failed one too. A run that fails does not stop the others: `choices` of the
    record say why it has no scores. What an earlier call finished stays in the record, whatever seeds and precisions are
    named now.

    Returns
    -------
    RunRecord
        That of the sweep: series of the scores by seed, means, and for every precision how many standard deviations of
        the reference's seeds its mean lies away from the reference's, over the seeds that both have.

    Raises
    ------
    OtherSweepError
        If OUT holds a sweep of another preset, other overrides or other data.
    KitError
        If the request cannot work, there are fewer than two seeds, OUT holds something else, or another process works there.
    """
    request.check()
    digest = open_part(data, "test").spec.digest
    keep_off_dataset(out)
    make_output_folder(out)
    _refuse_other_content(out)
    with only_process(out / STAGES):
        works = _Works(data, out, request, digest, progress)
        wanted = request.runs()
        runs = wanted + [run for run in _earlier(out, request, digest) if run not in wanted and works.is_done(run)]
        _check_seeds(runs)
        return works.go(runs)


def failures(record: RunRecord) -> dict[str, str]:
    """Why runs of a sweep have no scores, by "MODE, seed N"."""
    return {key.removeprefix(FAILED): why for key, why in record.choices.items() if key.startswith(FAILED)}


@dataclass(frozen=True)
class _Works:
    """What a sweep works with, in one hand."""

    data: Path
    out: Path
    request: Request
    digest: str
    progress: Progress

    def go(self, runs: Sequence[Run]) -> RunRecord:
        """Do the runs that are not done, in the order given, and record them."""
        seeds, modes = sorted({run.seed for run in runs}), list(dict.fromkeys(run.mode for run in runs))
        tally = Tally(modes)
        config = self.request.identity() | {"seeds": seeds, "modes": {mode: list(MODES[mode]) for mode in modes}}
        name = f"sweep, preset {config['preset']}{''.join(f', {override}' for override in self.request.overrides)}"
        with recording(
            self.out,
            "sweep",
            name=name,
            repeat=self._repeat(seeds, modes),
            config=config,
            dataset_digest=self.digest,
            **tally.fields([run.name for run in runs]),
        ) as recorder:
            for number, run in enumerate(runs, 1):
                record, how = self._do(run)
                if record.status == "finished":
                    tally.add(run.mode, run.seed, record)
                else:
                    tally.add_failure(run.mode, run.seed, record.reason or "no reason was recorded")
                recorder.update(**tally.fields([later.name for later in runs[number:]]))
                self.progress(f"sweep, {run.name} {how}", number, len(runs))
        return recorder.record

    def is_done(self, run: Run) -> bool:
        """Whether the run finished before, and nothing that it depends on or left has changed."""
        return self._marker(run).holds(self._key(run))

    def _do(self, run: Run) -> tuple[RunRecord, str]:
        """The record of a run, done now or before, and which of the two; a failed one where training or scoring failed."""
        folder, how = self.out / run.name, "finished before"

        def fit() -> None:
            nonlocal how
            how = "finished"
            self._fit(run, folder)

        try:
            once(self._marker(run), self._key(run), folder, fit)
        except KitError:
            if not (folder / FILE).is_file() or read_record(folder).status != "failed":
                raise  # it never began: what is wrong is wrong with all of them
            how = "failed"
        return read_record(folder), how

    def _fit(self, run: Run, folder: Path) -> None:
        def listener(event: TrainEvent) -> None:
            self.progress(f"{run.name}, {event.phase}", event.step, event.steps)

        request = self.request
        config, words = request.config(run), request.words(run)
        train(data=self.data, out=folder, config=config, preset=request.preset, overrides=words, listener=listener)
        record = evaluate(run=folder, data=self.data, progress=self.progress)
        if request.discard_weights:
            told = record.choices | {"weights": "deleted once scored, as asked for; outputs has their digests"}
            write_record(folder, record.model_copy(update={"choices": told}))
            for name in (MLPS, TABLES):
                (folder / name).unlink()

    def _marker(self, run: Run) -> Marker:
        return Marker(self.out, run.name)

    def _key(self, run: Run) -> str:
        config = self.request.config(run).model_dump(mode="json")
        return fingerprint(data=self.digest, config=config, sources=source_digest(MODEL_ROOMS))

    def _repeat(self, seeds: Sequence[int], modes: Sequence[str]) -> str:
        words = ["dlrm", "sweep", "--data", "DATA", "--out", "DIR", "--preset", Path(self.request.preset).name]
        words += ["--seeds", *map(str, seeds), "--precisions", *modes]
        words += [word for override in self.request.overrides for word in ("--set", override)]
        return shlex.join(words)


def _refuse_other_content(out: Path) -> None:
    """A run's folder is emptied before it is trained: what is no sweep's must not be there."""
    ours = (out / FILE).is_file() and read_record(out).command == "sweep"
    names = sorted(path.name for path in out.iterdir() if path.suffix != ".part" and not path.name.startswith("."))
    others = [name for name in names if name != STAGES]
    if others and not ours:
        raise KitError(f"{out}: holds {others[0]}, and is no folder of a sweep; name another --out, new or empty")


def _earlier(out: Path, request: Request, digest: str) -> list[Run]:
    """The runs that an earlier call in this folder named."""
    if not (out / FILE).is_file():
        return []
    record, now = read_record(out), {"dataset_digest": digest} | request.identity()
    there = {"dataset_digest": record.dataset_digest} | record.config
    for key, what in IDENTITY.items():
        if there.get(key) != now[key]:
            words = _difference(there.get(key), now[key])
            raise OtherSweepError(f"{out}: holds a sweep of another {what}, {words}; name another --out")
    return [Run(mode, seed) for seed in there["seeds"] for mode in there["modes"] if mode in MODES]


def _difference(there: Any, now: Any) -> str:
    """What differs, for a message; of two configurations the first value."""
    if isinstance(there, dict) and isinstance(now, dict):
        key = next(key for key in [*now, *there] if there.get(key) != now.get(key))
        return f"{key} is {there.get(key)} there and {now.get(key)} now"
    return f"{there} there and {now} now"


def _check_seeds(runs: Sequence[Run]) -> None:
    seeds = {run.seed for run in runs}
    if len(seeds) < 2:
        raise KitError(f"{len(seeds)} seed came; at least 2 are needed for a spread, --seeds 1 2 3")
