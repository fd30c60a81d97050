"""The stages of preprocessing, each done once and found again by its marker: parse, count, encode, write.

::

    raw file k --parse--> codes of k --count column c--> vocabulary of c --encode k--> buckets of k --write--> final files

A stage's key is the digest of all that it depends on. So a killed run goes on where it was, and a run with another
frequency limit reads no text again as long as the work folder is there.
"""

import shutil
from pathlib import Path

import polars as pl

from data_prep import definition, feature_spec
from data_prep.count_stage import Vocabularies, count_columns, digest_of, feature_of
from data_prep.job import Job
from data_prep.output import warn_of_one_class
from data_prep.parse_stage import parse_files
from data_prep.write_stages import SplitPlan, encode_split, write_split
from dlrm_core.schema.dataset import SPLITS, DatasetSpec, Split, read_dataset
from dlrm_core.schema.files import write_atomic
from dlrm_core.schema.record import Recorder
from dlrm_core.schema.stages import Marker


def run(job: Job, out: Path, recorder: Recorder) -> DatasetSpec:
    """Run what is not done yet, and publish the data set in `out`.

    Raises
    ------
    KitError
        If a file is damaged or malformed, or the vocabularies do not fit into memory.
    """
    with recorder.timed("parse"):
        read = parse_files(job)
    with recorder.timed("count"):
        vocabularies = count_columns(job, read)
    columns = job.engine.columns
    features = tuple(feature_of(i, c, len(vocabularies[c]), job.preparation) for i, c in enumerate(columns.categorical))
    vocabulary_digest = digest_of(vocabularies)
    splits: dict[str, Split] = {}
    for name in SPLITS:
        plan = SplitPlan.of(job, name, read, features)
        with recorder.timed("encode"):
            scattered = encode_split(job, plan, vocabularies, vocabulary_digest)
        with recorder.timed("write"):
            digests = write_split(job, plan, scattered)
            warned = warn_of_one_class(job.work / f"write-{name}", name)
        recorder.update(choices=recorder.record.choices | warned)
        splits[name] = Split(
            rows=plan.layout.rows,
            digests=digests,
            sources=tuple(read.sources[name]),
            shuffle_seed=plan.seed,
            holdback_rows=plan.holdback_rows,
        )
    with recorder.timed("publish"):
        spec = DatasetSpec(
            numerical=columns.numerical,
            categorical=features,
            preparation=job.preparation,
            engine=job.engine.name,
            vocabulary_digest=vocabulary_digest,
            splits=splits,  # type: ignore[arg-type]
            digest=DatasetSpec.digest_of(features, job.preparation, vocabulary_digest, splits),
        )
        _publish(job.work, out, spec, vocabularies)
        read_dataset(out)
    return spec


def clean(work: Path) -> None:
    """Take away the work of a data set that is published, or else what no finished stage stands for."""
    if not work.is_dir():
        return
    kept = {work / "lock"}
    published = not (work / "stages").is_dir()
    for path in () if published else (work / "stages").iterdir():
        marker = Marker(work, path.stem)
        kept |= {path, *(work / name for name in marker.read()["outputs"])}
    for path in sorted(work.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in kept:
            path.unlink()
    if {path.name for path in work.iterdir()} <= {"lock"}:
        shutil.rmtree(work)


def _publish(work: Path, out: Path, spec: DatasetSpec, vocabularies: Vocabularies) -> None:
    types = {v[definition.VALUE].dtype for v in vocabularies.values()}
    value = pl.col(definition.VALUE) if len(types) == 1 else pl.col(definition.VALUE).cast(pl.String)
    vocabulary = pl.concat(v.select(pl.lit(c).alias("feature"), value, definition.ID) for c, v in vocabularies.items())
    vocabulary.write_parquet(work / "vocabulary.parquet")
    (out / "dataset.json").unlink(missing_ok=True)
    for name in SPLITS:
        shutil.rmtree(out / name, ignore_errors=True)
        (work / f"write-{name}").replace(out / name)
    (work / "vocabulary.parquet").replace(out / "vocabulary.parquet")
    write_atomic(out / feature_spec.FILE, feature_spec.feature_spec_of(spec))
    write_atomic(out / "dataset.json", spec.to_json())
    shutil.rmtree(work / "stages")  # from here on the work folder stands for nothing
