"""Where the rows of a data set come from and on which terms, as far as the records prove it; nothing is guessed."""

from dataclasses import dataclass
from typing import Any, Literal

from dlrm_core.schema.dataset import Drawn, Imported
from dlrm_core.schema.sources import Licence
from reports.read.collect import Collection, Entry
from reports.read.grouping import Group

Kind = Literal["planted", "downloaded", "text", "table", "imported", "synthetic", "unknown"]
MAKERS = ("prepare", "import", "synthetic")
PLANTED = "planted"
UNKNOWN = "unknown: the records do not say where the raw files come from; find out before you pass on data or weights"
OWN = Licence(
    name="Apache-2.0",
    url="https://www.apache.org/licenses/LICENSE-2.0",
    terms="You may use, change and pass on the data, with the licence's text and notices.",
    source="the licence of this kit, which generates the rows",
)
_CC_BY_NC_SA = Licence(
    name="CC BY-NC-SA 4.0",
    url="https://creativecommons.org/licenses/by-nc-sa/4.0/",
    terms=(
        "You may use, change and share the data for non-commercial purposes if you credit Criteo and pass on whatever you "
        "derive from them under the same licence."
    ),
    source=(
        "metadata of the data set card (license: cc-by-nc-sa-4.0), https://huggingface.co/datasets/criteo/CriteoClickLogs"
    ),
)
_KAGGLE = Licence(
    name="CC BY-NC-SA 4.0 (Criteo's page); older copies carry the Criteo Labs Data Terms of Use",
    url="https://ailab.criteo.com/kaggle-contest-dataset-now-available-academic-use/",
    terms=(
        "You may use the data for non-commercial research and teaching if you credit Criteo; read the readme.txt in the "
        "archive, whose terms of use forbid passing the data on, and keep to the stricter of the two."
    ),
    source="the page above as others quote it (it could not be opened here); check it before you accept",
)
# By the name that `dlrm download` records; a test holds them equal to data_prep/sources.yaml, which no page may read.
LICENCES = {
    "criteo_1tb": _CC_BY_NC_SA,
    "criteo_1tb_gz": _CC_BY_NC_SA,
    "criteo_kaggle": _KAGGLE,
    "criteo_kaggle_figshare": _KAGGLE,
}
# As the Hub names them: https://huggingface.co/docs/hub/repositories-licenses
HUB_LICENCES = {OWN.name: "apache-2.0", _CC_BY_NC_SA.name: "cc-by-nc-sa-4.0"}
HUB_DATASETS = {"criteo_1tb": "criteo/CriteoClickLogs"}
TITLES: dict[Kind, str] = {
    "planted": "Planted sample",
    "text": "Raw click log of unknown origin",
    "table": "Table of one's own",
    "imported": "Data set prepared by NVIDIA's tools",
    "synthetic": "Synthetic data set",
    "unknown": "Unknown data set",
}


@dataclass(frozen=True)
class Origin:
    """What the records prove about the raw rows.

    Attributes
    ----------
    kind : str
        How the rows came about.
    title : str
        In words, for headings.
    source : str or None
        Name of the data set that `dlrm download` fetched.
    licence : Licence or None
        Terms of the data; None where they are unknown.
    remarks : tuple of str
        What is known in part, or was accepted at the download.
    """

    kind: Kind
    title: str
    source: str | None = None
    licence: Licence | None = None
    remarks: tuple[str, ...] = ()

    @property
    def metadata(self) -> dict[str, Any]:
        """The licence in the words of the Hub's metadata."""
        if self.licence is None:
            return {"license": "unknown"}
        if self.licence.name in HUB_LICENCES:
            return {"license": HUB_LICENCES[self.licence.name]}
        return {"license": "other", "license_name": "terms-of-the-data", "license_link": self.licence.url}


def find_origin(group: Group, collection: Collection) -> Origin:
    """Tell by the SHA-256 of every raw file, else by the command that made the data set.

    A planted or downloaded file proves its origin by its bytes alone. One file that no record knows is enough to make the
    origin of the whole unknown.
    """
    if group.spec is None:
        return Origin("unknown", TITLES["unknown"])
    known = _known_files(collection)
    files = {source.sha256 for split in group.spec.splits.values() for source in split.sources}
    names = {known.get(sha256) for sha256 in files}
    only = names.pop() if len(names) == 1 else None
    if only == PLANTED:
        return Origin("planted", TITLES["planted"], licence=OWN)
    if only is not None:
        return _downloaded(only, collection)
    kind = _made_kind(group)
    remarks = tuple(
        _known_in_part(name, sum(known.get(sha256) == name for sha256 in files), len(files))
        for name in sorted({known[sha256] for sha256 in files & known.keys()})
    )
    return Origin(kind, TITLES[kind], licence=OWN if kind == "synthetic" else None, remarks=remarks)


def maker(group: Group) -> Entry | None:
    """The finished record of the command that made the data set, or None."""
    made = (entry for entry in group.entries if entry.record.command in MAKERS and entry.record.status == "finished")
    return next(made, None)


def download_entries(origin: Origin, collection: Collection) -> list[Entry]:
    """The records of the downloads of that data set."""
    return [
        entry
        for entry in collection.entries
        if entry.record.command == "download" and entry.record.config.get("dataset") == origin.source
    ]


def _known_files(collection: Collection) -> dict[str, str]:
    """SHA-256 of each raw file that a record knows: of the planted sample, or of a download by its data set's name."""
    known = {file.sha256: PLANTED for teacher in collection.teachers for file in teacher.files}
    for entry in collection.entries:
        record = entry.record
        if record.command == "sample":
            known |= dict.fromkeys(record.outputs.values(), PLANTED)
        elif record.command == "download" and isinstance(record.config.get("dataset"), str):
            known |= dict.fromkeys(record.outputs.values(), record.config["dataset"])
    return known


def _downloaded(name: str, collection: Collection) -> Origin:
    origin = Origin("downloaded", f"Downloaded data set {name}", name, LICENCES.get(name))
    accepted = {str(e.record.config.get("licence_accepted", "none")) for e in download_entries(origin, collection)}
    remarks = tuple(f"Licence that was accepted at the download: {licence}." for licence in sorted(accepted))
    return Origin(origin.kind, origin.title, name, origin.licence, remarks)


def _made_kind(group: Group) -> Kind:
    assert group.spec is not None, "find_origin() has looked"
    if isinstance(group.spec.preparation, Drawn):
        return "synthetic"
    if isinstance(group.spec.preparation, Imported):
        return "imported"
    made = maker(group)
    return "table" if made is not None and "table" in made.record.config else "text"


def _known_in_part(name: str, count: int, of: int) -> str:
    what = "the planted sample's" if name == PLANTED else f"those of the download {name}"
    licence = LICENCES.get(name)
    terms = f", so that its terms hold in any case: {licence.name}, {licence.url}" if licence else ""
    return f"{count} of the {of} raw files are {what} by their SHA-256{terms}. The origin of the others is another or unknown."
