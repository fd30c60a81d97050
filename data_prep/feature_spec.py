"""NVIDIA's later description of a split-binary data set, ``feature_spec.yaml``: written beside `dataset.json`, and read.

Layout, names and checks are those of HEAD (``dlrm/data/feature_spec.py``, ``dlrm/data/defaults.py``): which features there
are (`feature_spec`), which files hold them (`source_spec`, one list of chunks for ``train`` and one for ``test``), and what
the model takes them for (`channel_spec`). The validation part is not listed there.
"""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dlrm_core.schema.base import Strict, nearest, parse_yaml
from dlrm_core.schema.dataset import DatasetSpec
from dlrm_core.schema.errors import KitError

FILE = "feature_spec.yaml"
MAPPINGS = ("train", "test")
CHANNELS = ("categorical", "numerical", "label")
SPLIT_BINARY = "split_binary"


class Feature(Strict):
    """A column: its numpy dtype on disk and, of a categorical one, max id + 1."""

    dtype: str
    cardinality: int | None = None


class Chunk(Strict):
    """Columns that share a file, named relative to the folder of the description."""

    type: str
    features: tuple[str, ...]
    files: tuple[str, ...]


class FeatureSpec(Strict):
    """The description as it stands in the file; :func:`read_feature_spec` checks it."""

    feature_spec: dict[str, Feature]
    source_spec: dict[str, tuple[Chunk, ...]]
    channel_spec: dict[str, tuple[str, ...]]
    metadata: dict[str, Any] | None = None

    @property
    def categorical(self) -> tuple[str, ...]:
        """Names of the categorical features, in the order of the tables."""
        return self.channel_spec["categorical"]

    @property
    def numerical(self) -> tuple[str, ...]:
        """Names of the numerical features, in the order on disk."""
        return self.channel_spec["numerical"]

    @property
    def label(self) -> str:
        """Name of the label."""
        return self.channel_spec["label"][0]

    def file_of(self, mapping: str, feature: str) -> str:
        """The file that holds `feature` in a mapping, relative to the folder of the description."""
        return next(chunk.files[0] for chunk in self.source_spec[mapping] if feature in chunk.features)


def feature_spec_of(spec: DatasetSpec) -> str:
    """`spec` as YAML text: NVIDIA's names (``num_0``, ``cat_0.bin``, ``label``), the recorded widths and cardinalities."""
    categorical = [f"cat_{i}.bin" for i in range(len(spec.categorical))]
    numerical = [f"num_{i}" for i in range(len(spec.numerical))]
    lines = ["channel_spec:", f"  categorical: {_flow(categorical)}", "  label: [label]"]
    lines += [f"  numerical: {_flow(numerical)}", "feature_spec:"]
    for name, feature in zip(categorical, spec.categorical, strict=True):
        lines += [f"  {name}:", f"    cardinality: {feature.cardinality}", f"    dtype: {feature.dtype}"]
    for name in numerical:
        lines += [f"  {name}:", f"    dtype: {spec.numerical_dtype}"]
    lines += ["  label:", f"    dtype: {spec.label_dtype}", "metadata: {}", "source_spec:"]
    chunks: list[tuple[list[str], str]] = [(numerical, spec.numerical_file)] if numerical else []
    chunks.append((["label"], spec.label_file))
    chunks += [([name], feature.file) for name, feature in zip(categorical, spec.categorical, strict=True)]
    for mapping in sorted(MAPPINGS):
        lines.append(f"  {mapping}:")
        for features, file in chunks:
            place = json.dumps(f"{mapping}/{file}", ensure_ascii=False)
            lines += [f"  - features: {_flow(features)}", f"    files: [{place}]", f"    type: {SPLIT_BINARY}"]
    return "\n".join(lines) + "\n"


def _flow(names: list[str]) -> str:
    return f"[{', '.join(names)}]"


def read_feature_spec(path: Path) -> FeatureSpec:
    """Read a description and check it as NVIDIA's reader does; every file it names must lie in the folder of `path`.

    Raises
    ------
    KitError
        If the file is missing, no YAML or against one of the rules; the message names the file and the feature.
    """
    if not path.is_file():
        raise KitError(f"{path}: no such file; a {FILE} as NVIDIA's tools write it is needed")
    values = parse_yaml(path.read_text(encoding="utf-8", errors="replace"), source=str(path))
    if not isinstance(values, dict):
        raise KitError(f"{path}: holds no mapping; the sections feature_spec, source_spec and channel_spec are needed")
    spec = FeatureSpec.from_dict(values, source=str(path))
    checks = (_section_faults, _name_faults, _dtype_faults, _chunk_faults, lambda s: _place_faults(s, path.parent))
    fault = next(chain.from_iterable(check(spec) for check in checks), None)  # each relies on those before it
    if fault is not None:
        raise KitError(f"{path}: {fault}")
    return spec


def _section_faults(spec: FeatureSpec) -> Iterator[str]:
    for section, found, needed in (
        ("source_spec", spec.source_spec, MAPPINGS),
        ("channel_spec", spec.channel_spec, CHANNELS),
    ):
        if set(found) != set(needed):
            yield f"{section} has {_said(found)}; exactly {_said(needed)} are needed"


def _name_faults(spec: FeatureSpec) -> Iterator[str]:
    if len(spec.channel_spec["label"]) != 1:
        yield f"channel_spec.label holds {_said(spec.channel_spec['label'])}; exactly one label is needed"
    counts = Counter(chain.from_iterable(spec.channel_spec.values()))
    for name, count in counts.items():
        if count > 1:
            yield f"feature {name} stands {count} times in channel_spec; once is needed"
        if name not in spec.feature_spec:
            hint = nearest(name, list(spec.feature_spec))
            yield f"feature {name} of channel_spec is not described in feature_spec{hint}; describe it there"
    for name in spec.feature_spec:
        if name not in counts:
            yield f"feature {name} belongs to no channel; name it in channel_spec or leave it out of feature_spec"


def _dtype_faults(spec: FeatureSpec) -> Iterator[str]:
    needed = dict.fromkeys(spec.numerical, "float16") | {spec.label: "bool"}
    for name, feature in spec.feature_spec.items():
        dtype = dtype_of(feature.dtype)
        if dtype is None:
            yield f"feature {name} has dtype {feature.dtype!r}; a numpy dtype is needed"
        if name in needed and dtype != np.dtype(needed[name]):
            kind = "the label" if name == spec.label else "a numerical feature"
            yield f"feature {name} has dtype {feature.dtype}; {needed[name]} is needed for {kind}"
        if name not in needed and (feature.cardinality is None or feature.cardinality < 1):
            came = "no cardinality" if feature.cardinality is None else f"cardinality {feature.cardinality}"
            yield f"feature {name} has {came}; a categorical feature needs it, its largest id + 1"


def dtype_of(name: str) -> np.dtype[np.generic] | None:
    """The numpy dtype of that name, or None if there is none.

    >>> dtype_of("int16"), dtype_of("integer"), dtype_of("int61")
    (dtype('int16'), None, None)
    """
    try:
        return np.dtype(name)
    except (TypeError, ValueError, SyntaxError):
        return None


def _chunk_faults(spec: FeatureSpec) -> Iterator[str]:
    for mapping in MAPPINGS:
        counts = Counter(name for chunk in spec.source_spec[mapping] for name in chunk.features)
        for place, chunk in enumerate(spec.source_spec[mapping]):
            reason = _chunk_fault(spec, chunk, counts)
            if reason:
                yield f"source_spec.{mapping}, chunk {place} ({_said(chunk.features)}): {reason}"
        for name in spec.feature_spec:
            if name not in counts:
                yield f"feature {name} is in no chunk of source_spec.{mapping}; one that names its file is needed"


def _chunk_fault(spec: FeatureSpec, chunk: Chunk, counts: Counter[str]) -> str | None:
    unknown = next((name for name in chunk.features if name not in spec.feature_spec), None)
    twice = next((name for name in chunk.features if counts[name] > 1), None)
    if chunk.type != SPLIT_BINARY:
        return f"its type is {chunk.type!r}; {SPLIT_BINARY} is needed, transcode the files first"
    if not chunk.features:
        return "it holds no feature; at least one is needed"
    if unknown is not None:
        return f"feature {unknown} is not described in feature_spec{nearest(unknown, list(spec.feature_spec))}"
    if twice is not None:
        return f"feature {twice} stands {counts[twice]} times in the mapping; once is needed"
    if len(chunk.files) != 1:
        return f"it names {len(chunk.files)} files; exactly one is needed"
    if set(chunk.features) & set(spec.numerical):
        return None if chunk.features == spec.numerical else _numerical_fault(spec)
    kind = "the label" if spec.label in chunk.features else "a categorical feature"
    return None if len(chunk.features) == 1 else f"it holds {len(chunk.features)} features; {kind} needs its own chunk"


def _numerical_fault(spec: FeatureSpec) -> str:
    return f"all numerical features are needed in one chunk, in the order of channel_spec: {_said(spec.numerical)}"


def _place_faults(spec: FeatureSpec, folder: Path) -> Iterator[str]:
    for mapping in MAPPINGS:
        for chunk in spec.source_spec[mapping]:
            if leaves(folder, chunk.files[0]):
                yield (
                    f"source_spec.{mapping}: the file {chunk.files[0]!r} of feature {chunk.features[0]} leaves the folder of "
                    "the description, or is none; a path inside it is needed, relative to it"
                )


def leaves(folder: Path, file: str) -> bool:
    """Whether a path relative to `folder` leads out of it: absolute, with ``..``, through a link, or not to a file at all."""
    place = PurePosixPath(file)
    if not file or "\0" in file or "\\" in file or place.is_absolute() or ".." in place.parts or not place.parts:
        return True
    try:
        return not (folder / place).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a link to itself, or a name too long
        return True


def _said(names: Any) -> str:
    return ", ".join(str(name) for name in names) or "nothing"
