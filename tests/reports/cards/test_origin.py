from pathlib import Path

import pytest

import data_prep
from dlrm_core.schema.dataset import Drawn, Imported
from dlrm_core.schema.sources import read_sources
from reports.cards.origin import HUB_DATASETS, LICENCES, OWN, Origin, find_origin
from reports.read.collect import collect
from reports.read.grouping import group
from tests.reports.conftest import Runs, sha

SOURCES = read_sources(Path(data_prep.__file__).with_name("sources.yaml"))


def origin_of(runs: Runs) -> Origin:
    collection = collect(runs.root)
    return find_origin(group(collection)[0], collection)


def sample(runs: Runs, *days: str) -> None:
    runs.record("raw", "sample", "planted sample", config={"rows": 10}, outputs={day: sha(day) for day in days})


def download(runs: Runs, name: str, *files: str, folder: str = "raw") -> None:
    config = {"dataset": name, "files": [], "days": [], "licence_accepted": "the one that was shown"}
    runs.record(folder, "download", name, config=config, outputs={file: sha(file) for file in files})


def test_licences_are_those_of_the_downloads():
    assert {source.name: source.licence for source in SOURCES.datasets} == LICENCES
    listed = {source.name: source.listing.repository for source in SOURCES.datasets if source.listing}
    assert listed == HUB_DATASETS


def test_the_sample_is_told_by_every_file(runs):
    runs.usual()
    sample(runs, "day_0", "day_1", "day_2")
    assert origin_of(runs) == Origin("planted", "Planted sample", licence=OWN)
    assert origin_of(runs).metadata == {"license": "apache-2.0"}


def test_one_file_of_the_sample_is_not_the_sample(runs):
    runs.usual().teacher("day_1")
    origin = origin_of(runs)
    assert (origin.kind, origin.licence) == ("text", None)
    assert "1 of the 2 raw files are the planted sample's" in origin.remarks[0]


def test_files_of_the_same_name_but_other_bytes_prove_nothing(runs):
    runs.usual()
    runs.record(
        "raw", "download", "x", config={"dataset": "criteo_1tb_gz"}, outputs={"day_0": sha("a"), "day_1": sha("b")}
    )
    assert origin_of(runs) == Origin("text", "Raw click log of unknown origin")


@pytest.mark.parametrize(
    ("name", "licence"),
    [("criteo_1tb", "cc-by-nc-sa-4.0"), ("criteo_1tb_gz", "cc-by-nc-sa-4.0"), ("criteo_kaggle", "other")],
)
def test_a_download_is_told_by_every_file(runs, name, licence):
    runs.usual()
    download(runs, name, "day_0", "day_1")
    origin = origin_of(runs)
    assert (origin.kind, origin.source, origin.licence) == ("downloaded", name, LICENCES[name])
    assert origin.metadata["license"] == licence
    assert ("license_link" in origin.metadata) == (licence == "other")
    assert "the one that was shown" in origin.remarks[0]


def test_a_download_of_a_data_set_that_is_not_known_has_no_licence(runs):
    runs.usual()
    download(runs, "somebody_s", "day_0", "day_1")
    assert (origin_of(runs).kind, origin_of(runs).licence) == ("downloaded", None)


def test_files_of_two_origins_are_of_unknown_origin_and_known_terms_are_named(runs):
    runs.usual()
    sample(runs, "day_0")
    download(runs, "criteo_1tb_gz", "day_1", folder="logs")
    origin = origin_of(runs)
    assert (origin.kind, origin.licence) == ("text", None)
    assert len(origin.remarks) == 2
    assert "CC BY-NC-SA 4.0" in origin.remarks[0]


@pytest.mark.parametrize(
    ("preparation", "kind", "licence"), [(Imported(), "imported", "unknown"), (Drawn(), "synthetic", "apache-2.0")]
)
def test_what_made_the_ids_tells_the_rest(runs, preparation, kind, licence):
    runs.usual()
    spec = runs.dataset()
    splits = {name: split.model_copy(update={"sources": ()}) for name, split in spec.splits.items()}
    sample(runs, "day_0", "day_1")  # beside, but not what the rows came from
    runs.write("data", "dataset.json", spec.model_copy(update={"preparation": preparation, "splits": splits}).to_json())
    assert origin_of(runs).kind == kind
    assert origin_of(runs).metadata == {"license": licence}


def test_a_table_of_ones_own(runs):
    runs.usual()
    runs.record("data", "prepare", "data", config={"table": {"label": "clicked"}}, dataset_digest=runs.digest)
    assert (origin_of(runs).kind, origin_of(runs).licence) == ("table", None)


def test_without_a_description_nothing_is_known(runs):
    runs.train(1)
    assert origin_of(runs) == Origin("unknown", "Unknown data set")
