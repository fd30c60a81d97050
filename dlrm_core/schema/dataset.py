"""`dataset.json`: all that a model may know of its data."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from dlrm_core.schema.base import Strict
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_bytes

SPLITS = ("train", "validation", "test")
IdDtype = Literal["int8", "int16", "int32"]
ID_DTYPES: dict[IdDtype, int] = {"int8": 127, "int16": 32767, "int32": 2147483647}

Vocabulary = Literal["train", "all"]
NumericalTransform = Literal["log_x_plus_3_missing_0", "readme_missing_0_log_x_plus_2", "none"]


def id_dtype(cardinality: int) -> IdDtype:
    """The narrowest integer whose maximum exceeds `cardinality` (June 2020 ``data/utils.py:157-164``, on max id + 1 as at HEAD).

    >>> [id_dtype(n) for n in (126, 127, 32766, 32767)]
    ['int8', 'int16', 'int16', 'int32']

    Raises
    ------
    KitError
        If no 32-bit id can number that many rows.
    """
    for name, largest in ID_DTYPES.items():
        if cardinality < largest:
            return name
    raise KitError(
        f"a feature has {cardinality} distinct ids; at most {ID_DTYPES['int32'] - 1} fit; raise the frequency limit"
    )


class CategoricalFeature(Strict):
    """One categorical column: ids 0 .. cardinality - 1, where 0 stands for missing, rare or unseen values.

    The frequency limit is None where the ids were imported.
    """

    name: str
    file: str
    cardinality: int = Field(ge=1)
    dtype: IdDtype
    frequency_limit: int | None = Field(ge=1)

    @model_validator(mode="after")
    def _width(self) -> "CategoricalFeature":
        if self.dtype != id_dtype(self.cardinality):
            raise ValueError(
                f"dtype {self.dtype} does not fit cardinality {self.cardinality}: {id_dtype(self.cardinality)} is needed"
            )
        return self


class Source(Strict):
    """A raw file that rows came from, by name, size and SHA-256."""

    name: str
    size_bytes: int = Field(ge=0)
    sha256: str


class Split(Strict):
    """Rows of one part and the SHA-256 of each of its files.

    The last `holdback_rows` rows on disk are the last tenth of the input: what training holds back for its stopping rule.
    """

    rows: int = Field(ge=0)
    digests: dict[str, str]
    sources: tuple[Source, ...]
    shuffle_seed: int | None = None
    holdback_rows: int = Field(default=0, ge=0)


class Preparation(Strict):
    """The choices that made the ids and numbers; where README and code disagree, the code's is the default."""

    frequency_limit: int = Field(default=15, ge=1)
    column_limits: dict[str, int] = Field(default_factory=dict)
    vocabulary: Vocabulary = "train"
    numerical_transform: NumericalTransform = "log_x_plus_3_missing_0"
    shuffle_seed: int = Field(default=12345, ge=0)
    shuffle: Literal["feistel-8-splitmix64"] = "feistel-8-splitmix64"

    def limit_of(self, column: str) -> int:
        """Rows that a value of `column` needs for an id of its own."""
        return self.column_limits.get(column, self.frequency_limit)


class Imported(Strict):
    """Stands in the place of :class:`Preparation` where another tool made the ids and numbers: nothing of it is known."""

    frequency_limit: None = None
    vocabulary: Literal["unknown"] = "unknown"
    numerical_transform: Literal["unknown"] = "unknown"
    shuffle_seed: None = None


class Drawn(Strict):
    """Stands in the place of :class:`Preparation` where the rows were drawn at random: there are no raw values."""

    frequency_limit: None = None
    vocabulary: Literal["synthetic"] = "synthetic"
    numerical_transform: Literal["unknown"] = "unknown"
    shuffle_seed: None = None


MAKERS: dict[type[Strict], str] = {Preparation: "`dlrm prepare`", Imported: "`dlrm import`", Drawn: "`dlrm synthetic`"}


class DatasetSpec(Strict):
    """A prepared data set, an imported one, or one drawn at random."""

    schema_version: Literal[1] = 1
    label_file: Literal["label.bin"] = "label.bin"
    label_dtype: Literal["bool"] = "bool"
    numerical_file: Literal["numerical.bin"] = "numerical.bin"
    numerical_dtype: Literal["float16"] = "float16"
    numerical: tuple[str, ...]
    categorical: tuple[CategoricalFeature, ...]
    id_order: Literal["count falling, then value rising, from 1", "unknown"] = (
        "count falling, then value rising, from 1"
    )
    id_zero: Literal["missing, rare or unseen", "unknown"] = "missing, rare or unseen"
    preparation: Preparation | Imported | Drawn = Field(discriminator="vocabulary")
    engine: str
    vocabulary_digest: str
    splits: dict[Literal["train", "validation", "test"], Split]
    digest: str

    @model_validator(mode="after")
    def _consistent(self) -> "DatasetSpec":
        if set(self.splits) != set(SPLITS):
            raise ValueError(f"splits are {sorted(self.splits)}, {sorted(SPLITS)} are needed")
        names = [feature.name for feature in self.categorical]
        if len(set(names)) != len(names):
            raise ValueError("a categorical feature stands twice")
        self._check_files()
        train = self.splits["train"]
        if train.holdback_rows > train.rows:
            raise ValueError(f"holdback_rows {train.holdback_rows} exceed the {train.rows} training rows")
        return self

    def _check_files(self) -> None:
        taken = {self.label_file, self.numerical_file}
        for feature in self.categorical:
            name = feature.file
            if not name or name == ".." or Path(name).name != name:
                raise ValueError(f"file {name!r} of feature {feature.name} leaves its folder, or is none")
            if name in taken:
                raise ValueError(f"file {name!r} of feature {feature.name} belongs to another column too")
            taken.add(name)

    @staticmethod
    def digest_of(
        features: tuple[CategoricalFeature, ...],
        preparation: Preparation | Imported | Drawn,
        vocabulary_digest: str,
        splits: dict[Any, Split],
    ) -> str:
        """SHA-256 of what decides the meaning of the files, and of their bytes; not of the names of the raw files."""
        identity = {
            "features": [feature.model_dump() for feature in features],
            "preparation": preparation.model_dump(),
            "vocabulary": vocabulary_digest,
            "splits": {name: split.model_dump(exclude={"sources"}) for name, split in splits.items()},
        }
        return sha256_bytes(json.dumps(identity, sort_keys=True).encode())

    @property
    def cardinalities(self) -> dict[str, int]:
        """Rows of each embedding table, by feature name."""
        return {feature.name: feature.cardinality for feature in self.categorical}

    def row_bytes(self) -> dict[str, int]:
        """Bytes a row takes in each file of a split."""
        widths = {self.label_file: 1, self.numerical_file: 2 * len(self.numerical)}
        itemsize = {"int8": 1, "int16": 2, "int32": 4}
        return widths | {feature.file: itemsize[feature.dtype] for feature in self.categorical}


def read_dataset(folder: Path) -> DatasetSpec:
    """Read DATA/dataset.json; check that every file has the length that its rows ask for, and the description its digest.

    Raises
    ------
    KitError
        If it is missing, malformed or changed, or a file is missing or has another length.
    """
    path = folder / "dataset.json"
    if not path.is_file():
        raise KitError(
            f"{folder}: holds no dataset.json; make it with `dlrm prepare --out {folder} ...` or `dlrm import`"
        )
    spec = DatasetSpec.from_json(path.read_bytes(), source=str(path))
    maker = MAKERS[type(spec.preparation)]
    for name, split in spec.splits.items():
        for file, width in spec.row_bytes().items():
            target = folder / name / file
            if not target.is_file():
                raise KitError(f"{target}: is missing; run {maker} again")
            if target.stat().st_size != split.rows * width:
                raise KitError(
                    f"{target}: holds {target.stat().st_size} bytes, {split.rows} rows of {width} bytes are "
                    f"{split.rows * width}; the file is damaged, run {maker} again"
                )
    found = spec.digest_of(spec.categorical, spec.preparation, spec.vocabulary_digest, spec.splits)
    if found != spec.digest:
        raise KitError(
            f"{path}: its digest is {spec.digest[:12]}..., what it describes has {found[:12]}...; it was changed after "
            f"{maker} wrote it, run that again"
        )
    return spec
