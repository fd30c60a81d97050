"""The stage count: codes of a column become its vocabulary, one column after the other."""

import json
import re
from pathlib import Path

import narwhals as nw
import numpy as np
import polars as pl

from data_prep import definition
from data_prep.job import Input, Job
from dlrm_core.schema.dataset import SPLITS, CategoricalFeature, Preparation, id_dtype
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_bytes
from dlrm_core.schema.stages import fingerprint, once

BYTES_PER_VOCABULARY_VALUE = 64  # value, id, and the hash table of a join
Vocabularies = dict[str, pl.DataFrame]


def count_columns(job: Job, read: Input) -> Vocabularies:
    """One vocabulary a categorical column: ``value`` and ``id``, in the order of ids.

    Raises
    ------
    KitError
        If the vocabularies do not fit into memory.
    """
    counted = SPLITS if job.preparation.vocabulary == "all" else ("train",)
    parts = [part for split in counted for part in read.parts[split]]
    keys = [key for split in counted for key in read.keys[split]]
    vocabularies = {}
    for number, column in enumerate(job.engine.columns.categorical):
        limit, folder = job.preparation.limit_of(column), job.work / _count_folder(number, column)
        path = folder / "vocabulary.parquet"

        def count(column: str = column, limit: int = limit, path: Path = path) -> None:
            frequent = nw.from_native(job.engine.frequent(parts, column, limit), eager_only=True)
            path.parent.mkdir()
            definition.number_values(frequent).to_native().write_parquet(path)

        once(
            job.marker(folder.name),
            fingerprint(**job.common_key, parts=keys, column=column, limit=limit),
            folder,
            count,
        )
        vocabularies[column] = pl.read_parquet(path, glob=False)
        job.progress("count: columns", number + 1, len(job.engine.columns.categorical))
    _check_memory(job, vocabularies)
    return vocabularies


def _count_folder(number: int, column: str) -> str:
    """Named by the column, or by its number where a folder cannot be called so."""
    return f"count-{column if re.fullmatch(r'[A-Za-z0-9_]{1,80}', column) else f'no-{number}'}"


def _check_memory(job: Job, vocabularies: Vocabularies) -> None:
    needed = sum(map(len, vocabularies.values())) * BYTES_PER_VOCABULARY_VALUE
    if needed > job.memory_bytes // 2:
        raise KitError(
            f"the vocabularies hold {sum(map(len, vocabularies.values())):,} values and need about {needed >> 20:,} MiB while "
            f"rows are encoded, half of --memory is {job.memory_bytes >> 21:,} MiB; give a larger --memory or a higher "
            "--frequency-limit"
        )


def feature_of(index: int, name: str, kept: int, preparation: Preparation) -> CategoricalFeature:
    """A categorical column's description, given the values that were kept."""
    cardinality = kept + 1
    return CategoricalFeature(
        name=name,
        file=f"cat_{index}.bin",
        cardinality=cardinality,
        dtype=id_dtype(cardinality),
        frequency_limit=preparation.limit_of(name),
    )


def digest_of(vocabularies: Vocabularies) -> str:
    """SHA-256 over the values of every vocabulary, in the order of their ids."""
    return sha256_bytes(
        json.dumps({c: sha256_bytes(_bytes(v[definition.VALUE])) for c, v in vocabularies.items()}).encode()
    )


def _bytes(values: pl.Series) -> bytes:
    """Values in the order of their ids as bytes that no other values have."""
    if values.dtype == pl.UInt32:
        return np.ascontiguousarray(values.to_numpy(), dtype="<u4").tobytes()
    return json.dumps([str(values.dtype), values.to_list()]).encode()
