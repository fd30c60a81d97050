"""Synthetic data sets of any size: in memory, made batch by batch, or on disk, like a prepared one.

A row is a function of the seed, the split and the row's number, so that both give the same rows, whatever the batch size.
The published ones hold one batch of zeros and ones over and over, so that two rows of each table serve all look-ups.

Legend: B rows of a batch, N numerical features, T tables.
"""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dlrm_core.data import Batch, Part, TrainingParts, keep_off_dataset
from dlrm_core.schema.config import SyntheticConfig
from dlrm_core.schema.dataset import SPLITS, CategoricalFeature, DatasetSpec, Drawn, Split, id_dtype
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_bytes
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import recording
from dlrm_core.zipf import ZipfIds

BLOCK = 16_384  # rows made at once


class SyntheticRows:
    """Makes the rows of a configuration, block by block."""

    def __init__(self, config: SyntheticConfig) -> None:
        self.config = config
        exponent = config.zipf_exponent if config.ids == "zipf" else 0.0
        shuffled = np.random.default_rng([config.seed, len(SPLITS)])
        self._columns = [ZipfIds(shuffled.permutation(rows), exponent) for rows in config.cardinalities]

    def block(self, split: str, number: int) -> tuple[NDArray[np.float16], NDArray[np.int64], NDArray[np.bool_]]:
        """Numericals (BLOCK, N), ids (BLOCK, T) and labels (BLOCK,) of the rows from BLOCK * `number` on."""
        generator = np.random.default_rng([self.config.seed, SPLITS.index(split), number])
        numerical = np.abs(generator.standard_normal((BLOCK, self.config.numerical), dtype=np.float32)).astype(
            np.float16
        )
        ids = np.stack([column.draw(generator, BLOCK) for column in self._columns], axis=1)
        return numerical, ids, generator.random(BLOCK) < self.config.click_rate


class SyntheticPart(Part):
    """Rows of one split that are made when they are asked for."""

    def __init__(self, rows: SyntheticRows, spec: DatasetSpec, split: str) -> None:
        self.spec = spec
        self.split = split
        self._rows = rows
        self._count = spec.splits[split].rows  # type: ignore[index]
        self._kept: tuple[int, tuple[NDArray[np.float16], NDArray[np.int64], NDArray[np.bool_]]] | None = None

    def __len__(self) -> int:
        return self._count

    def labels(self) -> NDArray[np.bool_]:
        """All labels, bool of shape (rows,)."""
        blocks = [self._rows.block(self.split, number)[2] for number in range(-(-self._count // BLOCK))]
        return np.concatenate([*blocks, np.empty(0, np.bool_)])[: self._count]

    def read(self, start: int, stop: int, order: NDArray[np.int64] | None = None) -> Batch:
        """Rows `start` up to `stop`, as tensors.

        Raises
        ------
        KitError
            If another order of the rows is asked for: they would have to be made one by one.
        """
        if order is not None:
            raise KitError("reshuffle draws a new order of rows, which synthetic rows have not; leave it out")
        stop = min(stop, self._count)
        pieces = [self._block(number) for number in range(start // BLOCK, -(-stop // BLOCK))]
        rows = slice(start - start // BLOCK * BLOCK, stop - start // BLOCK * BLOCK)
        numerical, ids, label = (np.concatenate(columns)[rows] for columns in zip(*pieces, strict=True))
        # Copies into torch's memory, which is aligned.
        return Batch(torch.tensor(numerical).float(), torch.tensor(ids), torch.tensor(label).float())

    def _block(self, number: int) -> tuple[NDArray[np.float16], NDArray[np.int64], NDArray[np.bool_]]:
        """The block, kept until another one is needed: small batches ask for the same one over and over."""
        kept = self._kept
        if kept is None or kept[0] != number:
            kept = self._kept = (number, self._rows.block(self.split, number))
        return kept[1]

    def columns(self) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_]]:
        """All rows in memory, as of a :class:`Part`."""
        whole = self.read(0, self._count)
        return whole.numerical_BN.numpy(), whole.ids_BT.numpy().astype(np.int32), whole.label_B.numpy() != 0


def synthetic_parts(config: SyntheticConfig, max_rows: int | None = None) -> TrainingParts:
    """What training reads, made as it goes; the test rows serve the stopping rules."""
    rows = SyntheticRows(config.model_copy(update={"rows": min(config.rows, max_rows or config.rows)}))
    spec = _describe(rows.config, {split: {} for split in SPLITS})
    fit = SyntheticPart(rows, spec, "train")
    return TrainingParts(fit, SyntheticPart(rows, spec, "test"), fit, "the synthetic test rows")


def write_synthetic(*, out: Path, config: SyntheticConfig, progress: Progress = silent) -> DatasetSpec:
    """Write a synthetic data set in the layout of a prepared one.

    Raises
    ------
    KitError
        If `out` is a prepared data set already or cannot be written.
    """
    keep_off_dataset(out)
    with recording(
        out,
        "synthetic",
        name=f"synthetic data set, {config.ids} ids, seed {config.seed}",
        repeat=f"dlrm synthetic --out DATA {config.words()}",
        config={"synthetic": config.model_dump(mode="json")},
        seeds={"rows": config.seed},
    ) as recorder:
        rows = SyntheticRows(config)
        digests = {split: _write(rows, split, _count(config, split), out / split, progress) for split in SPLITS}
        spec = _describe(config, digests)
        (out / "dataset.json").write_text(spec.to_json(), encoding="utf-8")
        recorder.update(dataset_digest=spec.digest)
    return spec


def _count(config: SyntheticConfig, split: str) -> int:
    return {"train": config.rows, "validation": 0, "test": config.test_rows}[split]


def _features(config: SyntheticConfig) -> tuple[CategoricalFeature, ...]:
    return tuple(
        CategoricalFeature(
            name=f"C{t}", file=f"cat_{t - 1}.bin", cardinality=rows, dtype=id_dtype(rows), frequency_limit=None
        )
        for t, rows in enumerate(config.cardinalities, 1)
    )


def _describe(config: SyntheticConfig, digests: dict[str, dict[str, str]]) -> DatasetSpec:
    features, preparation = _features(config), Drawn()
    splits = {split: Split(rows=_count(config, split), digests=digests[split], sources=()) for split in SPLITS}
    made = sha256_bytes(config.to_json().encode())
    return DatasetSpec(
        numerical=tuple(f"I{n}" for n in range(1, config.numerical + 1)),
        categorical=features,
        id_order="unknown",
        id_zero="unknown",
        preparation=preparation,
        engine="synthetic",
        vocabulary_digest=made,
        splits=splits,  # type: ignore[arg-type]
        digest=DatasetSpec.digest_of(features, preparation, made, splits),
    )


def _write(rows: SyntheticRows, split: str, count: int, folder: Path, progress: Progress) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    features = _features(rows.config)
    names = ["label.bin", "numerical.bin", *(feature.file for feature in features)]
    hashes = {name: hashlib.sha256() for name in names}
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / name).open("wb")) for name in names}
        for columns, done in _blocks(rows, split, count, features):
            for name, values in zip(names, columns, strict=True):
                data = np.ascontiguousarray(values).tobytes()
                files[name].write(data)
                hashes[name].update(data)
            progress(f"write {split}", done, count)
    return {name: found.hexdigest() for name, found in hashes.items()}


def _blocks(
    rows: SyntheticRows, split: str, count: int, features: tuple[CategoricalFeature, ...]
) -> Iterator[tuple[list[NDArray[np.generic]], int]]:
    for start in range(0, count, BLOCK):
        numerical, ids, label = rows.block(split, start // BLOCK)
        stop = min(count, start + BLOCK)
        columns = [label, numerical, *(ids[:, t].astype(feature.dtype) for t, feature in enumerate(features))]
        yield [column[: stop - start] for column in columns], stop
