"""The command `import`: a data set that NVIDIA's tools prepared becomes DATA. Every row is checked, and the order is kept."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep import feature_spec
from data_prep.feature_spec import feature_spec_of
from data_prep.nvidia_layouts import Layout, find_layout
from data_prep.output import outcome, refuse_strangers
from data_prep.record_files import RecordFile, RecordReader, rows_of
from data_prep.writer import SplitWriter
from dlrm_core.schema.dataset import SPLITS, DatasetSpec, Imported, Split, read_dataset
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import keep_apart, make_output_folder, sha256_bytes, write_atomic
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import recording

BLOCK_ROWS = 1 << 16  # 10 MB of the widest layout's records
ENGINE = "imported"

Block = Mapping[str, NDArray[Any]]  # one array a column


def import_dataset(
    *,
    source: Path,
    out: Path,
    format: Literal["auto", "feature_spec", "split", "binary"] = "auto",
    progress: Progress = silent,
) -> DatasetSpec:
    """Read a data set in one of NVIDIA's layouts, check every row, and write it as DATA, in the same order.

    Parameters
    ----------
    source : Path
        Folder of the data set; see :mod:`data_prep.nvidia_layouts`.
    out : Path
        The DATA folder: `dataset.json`, `feature_spec.yaml`, `run.json` and one folder a split. Without a validation part
        the last tenth of the training rows is marked as what training may hold back for its stopping rule.
    format : {'auto', 'feature_spec', 'split', 'binary'}
        `auto` takes the layout that lies there.
    progress : callable (what, done, total)
        Called with rows done.

    Raises
    ------
    KitError
        If the data set is not whole or a row does not fit its description (with file and row), or `out` cannot be written.
        `run.json` in `out` then says failed and why, and no new data set is left there.
    """
    layout = find_layout(source, format)
    keep_apart((source, *(file.path for files in layout.splits.values() for file in files)), out)
    refuse_strangers(out)
    make_output_folder(out)
    label = source.resolve().name
    with recording(
        out,
        "import",
        name=out.resolve().name,
        repeat=f"dlrm import --from {label} --out DATA --format {layout.format}",
        config={"from": label, "format": layout.format, "described_by": layout.described_by},
        choices=layout.choices,
    ) as recorder:
        work = out / ".work"
        shutil.rmtree(work, ignore_errors=True)
        try:
            with recorder.timed("check and write"):
                splits = {name: _import_split(layout, name, work, progress) for name in SPLITS}
            spec = _describe(layout, splits)
            _publish(work, out, spec)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        recorder.update(**outcome(spec))
    return spec


def _import_split(layout: Layout, name: str, work: Path, progress: Progress) -> Split:
    files = layout.splits[name]
    rows = rows_of(files)
    readers = [RecordReader(file) for file in files]
    writer = SplitWriter(work / name, rows, layout.numerical, layout.features)
    for start in range(0, rows, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, rows)
        block = {field: column for reader in readers for field, column in reader.read(stop - start).items()}
        _check(layout, files, block, start)
        writer.put(
            np.arange(start, stop, dtype=np.int64),
            block["label"],
            block.get("numerical", np.zeros((stop - start, 0), np.float16)),
            {feature.name: block[f"ids_{i}"].astype(np.int32) for i, feature in enumerate(layout.features)},
        )
        progress(f"import {name}", stop, rows)
    held_back = name == "train" and not rows_of(layout.splits["validation"])
    return Split(
        rows=rows,
        digests=writer.finish(),
        sources=tuple(reader.source() for reader in readers),
        holdback_rows=rows // 10 if held_back else 0,
    )


def _check(layout: Layout, files: tuple[RecordFile, ...], block: Block, start: int) -> None:
    """Raise for the first value of the block that does not fit, with its file and its row (from 0)."""
    paths = {field: file.path for file in files for field in file.dtype.names or ()}

    def refuse(field: str, wrong: NDArray[np.bool_], said: Callable[..., str]) -> None:
        if wrong.any():
            row, *column = (int(i) for i in np.argwhere(wrong)[0])
            raise KitError(f"{paths[field]}: row {start + row} holds {said(block[field][(row, *column)], *column)}")

    refuse("label", (block["label"] != 0) & (block["label"] != 1), lambda x: f"the label {x}; 0 or 1 is needed")
    if "numerical" in block:
        with np.errstate(over="ignore"):
            rounded = block["numerical"].astype(np.float16)
        limit = f"a finite number is needed, of at most {np.finfo(np.float16).max:.0f} in size"
        refuse("numerical", ~np.isfinite(rounded), lambda x, n: f"{x} in {layout.numerical[n]}; {limit}")
    for i, feature in enumerate(layout.features):
        ids = block[f"ids_{i}"]
        needed = f"0 to {feature.cardinality - 1} are needed, as {layout.described_by} says"
        name = feature.name
        refuse(f"ids_{i}", (ids < 0) | (ids >= feature.cardinality), lambda x, n=name, r=needed: f"id {x} of {n}; {r}")


def _describe(layout: Layout, splits: dict[str, Split]) -> DatasetSpec:
    """The description. The vocabulary is unknown: only the same training ids prove that ids mean the same."""
    ids = [splits["train"].digests[feature.file] for feature in layout.features]
    vocabulary_digest = sha256_bytes("\n".join(["imported", *ids]).encode())
    preparation = Imported()
    return DatasetSpec(
        numerical=layout.numerical,
        categorical=layout.features,
        id_order="unknown",
        id_zero="unknown",
        preparation=preparation,
        engine=ENGINE,
        vocabulary_digest=vocabulary_digest,
        splits=splits,  # type: ignore[arg-type]
        digest=DatasetSpec.digest_of(layout.features, preparation, vocabulary_digest, splits),
    )


def _publish(work: Path, out: Path, spec: DatasetSpec) -> None:
    for stale in ("dataset.json", feature_spec.FILE, "vocabulary.parquet"):
        (out / stale).unlink(missing_ok=True)
    for name in SPLITS:
        shutil.rmtree(out / name, ignore_errors=True)
        (work / name).replace(out / name)
    write_atomic(out / feature_spec.FILE, feature_spec_of(spec))
    write_atomic(out / "dataset.json", spec.to_json())
    read_dataset(out)
