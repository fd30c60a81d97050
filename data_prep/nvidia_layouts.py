"""The three layouts that NVIDIA's tools leave a data set in, as files of equal records.

* ``feature_spec``: a ``feature_spec.yaml`` that tells files, widths and cardinalities (HEAD);
* ``split``: ``model_size.json`` and the folders ``train``, ``test`` and ``val`` with one file a column (June 2020);
* ``binary``: ``model_size.json`` and ``train_data.bin``, ``test_data.bin``, ``val_data.bin``, whose records of 160 bytes
  hold an int32 label, 13 float32 and 26 int32, little endian.

``model_size.json`` holds the number of kept values of each column, which is the largest id: cardinality - 1.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import numpy as np

from data_prep import feature_spec
from data_prep.feature_spec import FeatureSpec, dtype_of, leaves, read_feature_spec
from data_prep.raw import CATEGORICAL, NUMERICAL
from data_prep.record_files import RecordFile, record_dtype, rows_of, size_of
from dlrm_core.schema.dataset import ID_DTYPES, CategoricalFeature, id_dtype
from dlrm_core.schema.errors import KitError

Format = Literal["feature_spec", "split", "binary"]
MODEL_SIZE = "model_size.json"


@dataclass(frozen=True)
class Layout:
    """What was found: the columns, the files of each split (none without a validation part), and what was decided."""

    format: Format
    described_by: str
    numerical: tuple[str, ...]
    features: tuple[CategoricalFeature, ...]
    splits: dict[str, tuple[RecordFile, ...]]
    choices: dict[str, str]


def find_layout(source: Path, format: Literal["auto", "feature_spec", "split", "binary"] = "auto") -> Layout:
    """The layout of the data set in `source`; descriptions and file sizes are checked, rows are not read.

    Raises
    ------
    KitError
        If there is no such data set, several lie there, or its description or sizes do not fit together.
    """
    if format not in ("auto", *get_args(Format)):
        raise KitError(f"--format {format}: auto, {', '.join(get_args(Format))} are known")
    if not source.is_dir():
        raise KitError(f"{source}: no such folder; one with a data set prepared by NVIDIA's tools is needed")
    readers: dict[Format, Callable[[Path], Layout]] = {
        "feature_spec": _from_feature_spec,
        "split": _from_split,
        "binary": _from_binary,
    }
    layout = readers[_detect(source) if format == "auto" else format](source)
    for name, files in layout.splits.items():
        if not rows_of(files) and name != "validation":
            raise KitError(f"{files[0].path}: holds no rows; the {name} part needs some")
    return layout


def _detect(source: Path) -> Format:
    if (source / feature_spec.FILE).exists():
        return "feature_spec"
    split, binary = (source / "train").is_dir(), (source / "train_data.bin").exists()
    if split and binary:
        raise KitError(
            f"{source}: holds both train/ and train_data.bin; choose one with --format split or --format binary"
        )
    if not (split or binary):
        raise KitError(
            f"{source}: holds no {feature_spec.FILE}, no {MODEL_SIZE} with train/ and none with train_data.bin; a folder "
            "with a data set prepared by NVIDIA's tools is needed"
        )
    return "split" if split else "binary"


def _feature(index: int, name: str, cardinality: int, described_by: Path) -> CategoricalFeature:
    if cardinality >= ID_DTYPES["int32"]:
        raise KitError(f"{described_by}: feature {name} has {cardinality} ids; at most {ID_DTYPES['int32'] - 1} fit")
    return CategoricalFeature(
        name=name,
        file=f"cat_{index}.bin",
        cardinality=cardinality,
        dtype=id_dtype(cardinality),
        frequency_limit=None,
    )


def _from_feature_spec(source: Path) -> Layout:
    path = source / feature_spec.FILE
    spec = read_feature_spec(path)
    cardinalities = {name: spec.feature_spec[name].cardinality or 0 for name in spec.categorical}
    for name, cardinality in cardinalities.items():
        dtype = np.dtype(spec.feature_spec[name].dtype)
        if dtype.kind not in "iu" or np.iinfo(dtype).max < cardinality - 1:
            raise KitError(
                f"{path}: feature {name} has dtype {dtype}; an integer that holds its ids, 0 to {cardinality - 1}, is needed"
            )
    features = tuple(_feature(i, *item, path) for i, item in enumerate(cardinalities.items()))
    splits = {name: _described_files(source, spec, name) for name in ("train", "validation", "test")}
    found = "the folder validation" if splits["validation"] else "none, there is no folder validation beside train"
    return Layout("feature_spec", path.name, spec.numerical, features, splits, {"validation part": found})


def _described_files(source: Path, spec: FeatureSpec, split: str) -> tuple[RecordFile, ...]:
    """Files of a split. The validation part, which is not listed, has the files of ``train/`` under ``validation/``."""
    mapping = "test" if split == "test" else "train"
    columns: dict[str, tuple[str, tuple[int, ...]]] = {"label": (spec.label, ())}
    if spec.numerical:
        columns["numerical"] = (spec.numerical[0], (len(spec.numerical),))
    columns |= {f"ids_{i}": (name, ()) for i, name in enumerate(spec.categorical)}
    files = []
    for field, (feature, shape) in columns.items():
        name, dtype = spec.file_of(mapping, feature), dtype_of(spec.feature_spec[feature].dtype)
        if split == "validation":
            first, *rest = PurePosixPath(name).parts
            if first != "train" or not rest or not (source / split).is_dir():
                return ()
            name = str(PurePosixPath(split, *rest))
            if leaves(source, name):
                raise KitError(f"{source / name}: leaves the folder of the data set; a file inside it is needed")
        files.append(RecordFile(source, name, record_dtype((field, "u1" if field == "label" else dtype, shape))))
    return tuple(files)


def _kept_values(path: Path) -> dict[str, int]:
    """Kept values of each column, by the column's name in the raw format where the file has the name of Spark's."""
    if not path.is_file():
        raise KitError(f"{path}: no such file; it holds the number of kept values of each column, copy it there")
    sizes: Any = None
    with suppress(ValueError):
        sizes = json.loads(path.read_bytes())
    if not isinstance(sizes, dict) or not sizes:
        raise KitError(f'{path}: holds no JSON object; one like {{"_c14": 7912888, ...}} is needed')
    for name, kept in sizes.items():
        if type(kept) is not int or kept < 0:
            raise KitError(f"{path}: column {name} has {kept!r} kept values; a whole number, at least 0, is needed")
    first = 1 + len(NUMERICAL)
    spark = {f"_c{first + i}": name for i, name in enumerate(CATEGORICAL)}
    return {str(spark.get(name, name)): kept for name, kept in sizes.items()}


def _validation_name(source: Path, *names: str) -> str | None:
    present = [name for name in names if (source / name).exists()]
    if len(present) > 1:
        raise KitError(f"{source}: holds both {' and '.join(present)}; leave the one that belongs to the data set")
    return present[0] if present else None


def _from_binary(source: Path) -> Layout:
    path = source / MODEL_SIZE
    kept = _kept_values(path)
    if len(kept) != len(CATEGORICAL):
        raise KitError(f"{path}: lists {len(kept)} columns; the records of 160 bytes hold {len(CATEGORICAL)}")
    features = tuple(_feature(i, name, n + 1, path) for i, (name, n) in enumerate(kept.items()))
    ids = [(f"ids_{i}", "<i4", ()) for i in range(len(features))]
    record = record_dtype(("label", "<i4", ()), ("numerical", "<f4", (len(NUMERICAL),)), *ids)
    validation = _validation_name(source, "val_data.bin", "validation_data.bin")
    names: dict[str, str | None] = {"train": "train_data.bin", "validation": validation, "test": "test_data.bin"}
    splits = {split: tuple(RecordFile(source, n, record) for n in (name,) if n) for split, name in names.items()}
    choices = {"validation part": validation or "none"}
    return Layout("binary", path.name, NUMERICAL, features, splits, choices)


def _from_split(source: Path) -> Layout:
    path = source / MODEL_SIZE
    kept = _kept_values(path)
    features = tuple(_feature(i, name, n + 1, path) for i, (name, n) in enumerate(kept.items()))
    surplus = {p.name for p in (source / "train").glob("cat_*.bin")} - {f.file for f in features}
    if surplus:
        raise KitError(
            f"{source / 'train' / min(surplus)}: {path.name} lists {len(kept)} columns only; copy the one that fits"
        )
    validation = _validation_name(source, "val", "validation")
    folders: dict[str, str | None] = {"train": "train", "validation": validation, "test": "test"}
    widths = _widths(source, features)
    splits = {split: _split_files(source, folder, widths) if folder else () for split, folder in folders.items()}
    odd = [f"{f.name} {w} B" for f, w in zip(features, widths, strict=True) if w != np.dtype(f.dtype).itemsize]
    choices = {
        "validation part": validation or "none",
        "id widths read": "from the file sizes; other than for max id + 1: " + (", ".join(odd) or "none"),
    }
    return Layout("split", path.name, NUMERICAL, features, splits, choices)


def _split_files(source: Path, folder: str, widths: Sequence[int]) -> tuple[RecordFile, ...]:
    records = {"label.bin": record_dtype(("label", "u1", ()))}
    records["numerical.bin"] = record_dtype(("numerical", "<f2", (len(NUMERICAL),)))
    records |= {f"cat_{i}.bin": record_dtype((f"ids_{i}", f"<i{width}", ())) for i, width in enumerate(widths)}
    return tuple(RecordFile(source, f"{folder}/{name}", record) for name, record in records.items())


def _widths(source: Path, features: Sequence[CategoricalFeature]) -> list[int]:
    """Bytes of an id in each training file, from its size.

    The writer of June 2020 chose the width for the number of kept values, its reader for one more: at 126 and 32766 they
    disagree, so neither rule is believed. Fewer bytes than the writer chose cannot hold the ids.
    """
    rows = rows_of(_split_files(source, "train", ()))
    widths = []
    for feature in features:
        path = source / "train" / feature.file
        width, rest = divmod(size_of(path), max(rows, 1))
        written = np.dtype(id_dtype(feature.cardinality - 1)).itemsize
        if rows and (rest or width not in (1, 2, 4) or width < written):
            raise KitError(
                f"{path}: holds {size_of(path)} bytes for {rows} rows; {written} a row are needed for feature {feature.name} "
                f"with {feature.cardinality - 1} kept values; it was written in part, or {MODEL_SIZE} belongs to another set"
            )
        widths.append(width)
    return widths
