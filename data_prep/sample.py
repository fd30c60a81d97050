"""The command `sample`: a planted sample with its record."""

from pathlib import Path

from data_prep.planted import TEACHER_FOLDER, SampleRecord, check_request, write_sample
from dlrm_core.schema.files import sha256_file
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import Metric, recording


def make_sample(*, out: Path, rows: int, days: int, seed: int, progress: Progress = silent) -> SampleRecord:
    """Write a planted sample and `out`/run.json; see :func:`data_prep.planted.write_sample`.

    Raises
    ------
    KitError
        As there.
    """
    check_request(out, rows, days, seed)
    with recording(
        out,
        "sample",
        name=f"planted sample, {rows} rows, {days} days, seed {seed}",
        repeat=f"dlrm sample --out DIR --rows {rows} --days {days} --seed {seed}",
        config={"rows": rows, "days": days, "seed": seed},
        seeds={"sample": seed},
    ) as recorder:
        with recorder.timed("generate"):
            record = write_sample(out, rows=rows, days=days, seed=seed, progress=progress)
        made = [*record.files, out / TEACHER_FOLDER / "teacher.json", out / TEACHER_FOLDER / "teacher.npz"]
        recorder.update(
            metrics=_metrics(record),
            outputs={path.relative_to(out).as_posix(): sha256_file(path) for path in made},
        )
    return record


def _metrics(record: SampleRecord) -> tuple[Metric, ...]:
    test = f"day_{len(record.files) - 1}"
    return (
        Metric(name="rows", value=sum(record.rows_per_day), unit="rows", split="all", selection="all days"),
        Metric(name="click_rate", value=record.click_rate, unit="clicks per row", split="all", selection="all days"),
        Metric(name="best_auc", value=record.best_auc, unit="1", split=test, selection="true click probabilities"),
        Metric(
            name="best_log_loss",
            value=record.best_log_loss,
            unit="nat",
            split=test,
            selection="true click probabilities",
        ),
        Metric(
            name="generation_rate",
            value=sum(record.rows_per_day) / record.seconds,
            unit="rows/s",
            split="all",
            selection="wall time, teacher and digests included",
        ),
    )
