"""Where raw data sets come from (`data_prep/sources.yaml`) and what a download left behind (`downloads.json`)."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dlrm_core.schema.base import Strict, nearest
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.yaml_file import read_mapping

DOWNLOADS_FILE = "downloads.json"

# Names become paths below the output folder and may come from a remote listing: no "..", no absolute path, one folder.
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.=-]*"
Name = Annotated[str, Field(pattern=rf"^{_PART}(/{_PART})?$", max_length=200)]
# Plain http only on this machine: what has no known hash must at least come from the host that was named.
Url = Annotated[str, Field(pattern=r"^(https://[^\s/]+|http://(127\.0\.0\.1|localhost)(:[0-9]+)?)/\S*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Bytes = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]


class Licence(Strict):
    """What the user accepts: its name, its text's address, and its terms in one sentence of ours."""

    name: Text
    url: Url
    terms: Text
    source: Text


class SourceFile(Strict):
    """One file. Every url holds the same bytes; a size or hash stands only with the `source` that published it.

    `about_bytes` is a rounded size: it is announced, never compared.
    """

    name: Name
    day: int | None = Field(default=None, ge=0)
    urls: tuple[Url, ...] = Field(min_length=1)
    size_bytes: Bytes | None = None
    about_bytes: Bytes | None = None
    sha256: Sha256 | None = None
    md5: Md5 | None = None
    source: Text | None = None

    @model_validator(mode="after")
    def _figures_are_cited(self) -> Self:
        figures = (self.size_bytes, self.about_bytes, self.sha256, self.md5)
        if self.source is None and any(figure is not None for figure in figures):
            raise ValueError(f"{self.name} has a size or a hash but no source that published it")
        return self


class ListedDay(Strict):
    """One day's folder in a listed repository."""

    day: int = Field(ge=0)
    folder: Text


class Listing(Strict):
    """A Hugging Face data set whose own index names the files, their sizes and their SHA-256."""

    endpoint: Url
    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = Field(pattern=r"^[\w.-]+$")
    strip: str
    days: tuple[ListedDay, ...] = Field(min_length=1)


class PublishedRows(Strict):
    """A row count that somebody published, of one or several days."""

    what: Text
    days: tuple[int, ...] = ()
    rows: int = Field(ge=1)
    source: Text


class DataSource(Strict):
    """One data set from one origin. Copies of other content under the same file names are another data set."""

    name: Name
    title: Text
    description: Text
    content: Literal["tsv.gz", "parquet", "tar.gz"]
    licence: Licence
    citation: Text
    about_bytes: Bytes | None = None
    about_source: Text | None = None
    warnings: tuple[str, ...] = ()
    next_step: Text
    files: tuple[SourceFile, ...] = ()
    listing: Listing | None = None
    rows: tuple[PublishedRows, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if bool(self.files) == (self.listing is not None):
            raise ValueError(f"{self.name} needs either files or a listing")
        if (self.about_bytes is None) != (self.about_source is None):
            raise ValueError(f"{self.name}: about_bytes and about_source go together")
        _unique([file.name for file in self.files], f"file of {self.name}")
        return self

    @property
    def days(self) -> tuple[int, ...]:
        """The days that can be asked for, rising; empty if the files are not by day."""
        if self.listing is not None:
            return tuple(sorted(day.day for day in self.listing.days))
        return tuple(sorted({file.day for file in self.files if file.day is not None}))


class Sources(Strict):
    """The data file as a whole."""

    schema_version: Literal[1] = 1
    datasets: tuple[DataSource, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        _unique([dataset.name for dataset in self.datasets], "data set")
        return self

    def dataset(self, name: str) -> DataSource:
        """The data set of that name.

        Raises
        ------
        KitError
            If there is none; the message names the nearest one.
        """
        names = [dataset.name for dataset in self.datasets]
        if name not in names:
            raise KitError(f"unknown data set {name!r}{nearest(name, names)}; known: {', '.join(names)}")
        return self.datasets[names.index(name)]


def _unique(names: list[str], what: str) -> None:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"the name {min(twice)} stands for more than one {what}")


def read_sources(path: Path) -> Sources:
    """Read a data file of sources.

    Raises
    ------
    KitError
        If it cannot be read, is not YAML or does not fit the schema.
    """
    values = read_mapping(path, "a YAML of data sources is needed")
    values.pop("shared", None)  # a place for YAML anchors
    return Sources.from_dict(values, source=path.name)


def parse_days(text: str) -> tuple[int, ...]:
    """Days from `3`, `0-3` or `0-3,23`.

    >>> parse_days("0-2,23")
    (0, 1, 2, 23)

    Raises
    ------
    KitError
        If the text is anything else.
    """
    days: list[int] = []
    for piece in text.split(","):
        found = re.fullmatch(r"\s*([0-9]{1,3})(?:-([0-9]{1,3}))?\s*", piece)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if last < first:
            raise KitError(f"{text!r} names no days; write 3, 0-3 or 0-3,23")
        days.extend(range(first, last + 1))
    return tuple(dict.fromkeys(days))


class Downloaded(Strict):
    """One complete file: its size and hash as they were when it first arrived, and from where it came."""

    size_bytes: Bytes
    sha256: Sha256
    url: str
    etag: str | None = None
    checked_against: str


class Downloads(Strict):
    """`downloads.json`: the complete files of one folder, by name."""

    schema_version: Literal[1] = 1
    dataset: str
    files: dict[str, Downloaded] = Field(default_factory=dict)


class PartState(Strict):
    """Of which version of which address the bytes of an unfinished file are: what its server said of it."""

    url: str
    etag: str | None
    last_modified: str | None
    total: int | None

    def is_of(self, etag: str | None, last_modified: str | None, total: int | None) -> bool:
        """Whether an answer with these headers is of the same version; what either side does not tell is no difference."""
        mine, theirs = (self.etag, self.last_modified, self.total), (etag, last_modified, total)
        return all(None in pair or pair[0] == pair[1] for pair in zip(mine, theirs, strict=True))


def read_downloads(folder: Path) -> Downloads | None:
    """Read `folder`/downloads.json; None if there is none.

    Raises
    ------
    KitError
        If it does not fit the schema.
    """
    path = folder / DOWNLOADS_FILE
    return Downloads.from_json(path.read_bytes(), source=str(path)) if path.is_file() else None
