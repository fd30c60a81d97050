"""What is to be fetched: days, files, sizes, and repositories that list their files."""

import hashlib
import json

import pytest

from data_prep.download_plan import make_plan
from data_prep.web import Web
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.sources import DataSource, read_sources
from tests.data_prep.downloads import DATA, OTHER, ROOT, assert_whole, fetch, source, write_sources
from tests.data_prep.web_site import Site

# A repository that lists its files


def listed(site: Site, entries: list[dict], folder: str = "day%3D2015-02-15") -> DataSource:
    site.serve(f"/api/datasets/some/logs/tree/main/data/{folder}?recursive=true", json.dumps(entries).encode())
    listing = {
        "endpoint": f"{site.address}/",
        "repository": "some/logs",
        "revision": "main",
        "strip": "data/",
        "days": [{"day": 0, "folder": "data/day=2015-02-15"}, {"day": 1, "folder": "data/day=2015-02-16"}],
    }
    return DataSource.from_dict(source(listing=listing, content="parquet"), source="a test")


def entry(site: Site, name: str, data: bytes, **changes: object) -> dict:
    path = f"data/day=2015-02-15/{name}"
    site.serve(f"/datasets/some/logs/resolve/main/data/day%3D2015-02-15/{name}", data)
    digest = hashlib.sha256(data).hexdigest()
    return {"type": "file", "path": path, "size": len(data), "lfs": {"oid": digest, "size": len(data)}} | changes


def test_a_listing_names_files_sizes_and_hashes(tmp_path, site):
    folder = {"type": "directory", "path": "data/day=2015-02-15"}
    dataset = listed(site, [folder, entry(site, "part-0.parquet", DATA)])
    page = "/api/datasets/some/logs/tree/main/data/day%3D2015-02-15?recursive=true"
    site.files[page].headers["Link"] = f'<{site.address}/page2>; rel="next"'
    site.serve("/page2", json.dumps([entry(site, "part-1.parquet", OTHER)]).encode())
    sources = write_sources(tmp_path, dataset.model_dump(mode="json"))
    downloads = fetch(tmp_path, sources, days=[0])
    assert sorted(downloads.files) == ["day=2015-02-15/part-0.parquet", "day=2015-02-15/part-1.parquet"]
    assert_whole(tmp_path, name="day=2015-02-15/part-0.parquet")
    assert all(file.checked_against == "published sha256, size_bytes" for file in downloads.files.values())
    site.files[page].data = json.dumps([entry(site, "part-0.parquet", OTHER)]).encode()
    site.files[page].headers.clear()
    with pytest.raises(KitError, match=r"the source now offers SHA-256 .* recorded .* other data"):
        fetch(tmp_path, sources, days=[0])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "its index names no file in data/day=2015-02-15"),
        ({"error": "gone"}, "has an unknown form"),
        ([{"type": "file", "path": "data/../../x", "size": 1}], "the index of some/logs: 'name' is '../../x'"),
        ([{"type": "file", "path": "/x", "size": 1}], "'name' is '/x'"),
        ([{"type": "file", "path": "data/x", "size": "1"}], "'size_bytes' is '1'"),
        ([{"type": "file", "path": "data/x", "size": 1, "lfs": {"oid": "short"}}], "'sha256' is 'short'"),
    ],
)
def test_an_odd_listing_is_refused(tmp_path, site, entries, message):
    dataset = listed(site, entries)
    with pytest.raises(KitError, match=message):
        make_plan(dataset, tmp_path / "out", files=(), days=[0], web=Web(timeout_s=5))


def test_a_listing_that_cannot_be_read(tmp_path, site):
    dataset = listed(site, [], folder="elsewhere")
    with pytest.raises(KitError, match=r"the list of its files cannot be read; http://127\.\S+: answered 404"):
        make_plan(dataset, tmp_path / "out", files=(), days=[0], web=Web(timeout_s=5))
    site.serve("/api/datasets/some/logs/tree/main/data/day%3D2015-02-15?recursive=true", b"<html>")
    with pytest.raises(KitError, match="did not answer with JSON"):
        make_plan(dataset, tmp_path / "out", files=(), days=[0], web=Web(timeout_s=5))


def test_the_data_file_of_the_kit_can_be_planned_without_a_network(tmp_path, site):
    """No address is asked for the sizes of the day files but one that does not answer."""
    sources = read_sources(ROOT / "data_prep" / "sources.yaml")
    web = Web(timeout_s=5, base_url="http://127.0.0.1:9")
    plan = make_plan(sources.dataset("criteo_1tb_gz"), tmp_path, files=(), days=[0, 23], web=web)
    assert "2 files, about 31.3 GB; 0 complete" in plan.line()
