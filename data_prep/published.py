"""Published row counts: a raw file that `dlrm download` fetched must hold as many rows as its publisher, or others, counted."""

from pathlib import Path

from dlrm_core.schema.errors import KitError
from dlrm_core.schema.sources import PublishedRows, read_downloads, read_sources

SOURCES = Path(__file__).with_name("sources.yaml")


def check_rows(path: Path, rows: int) -> None:
    """Compare the rows of a raw file with what is published of it; nothing is known of a file that was not downloaded.

    Raises
    ------
    KitError
        If the numbers differ.
    """
    published = _published(path)
    if published is not None and published.rows != rows:
        raise KitError(
            f"{path}: holds {rows:,} rows, {published.rows:,} are published for {published.what} ({published.source}); the "
            "file is not whole, or of another origin: fetch it again"
        )


def _published(path: Path) -> PublishedRows | None:
    downloads = read_downloads(path.parent)
    if downloads is None:
        return None
    source = read_sources(SOURCES).dataset(downloads.dataset)
    day = next((file.day for file in source.files if file.name == path.name), None)
    return next((r for r in source.rows if (day is not None and r.days == (day,)) or r.what == path.name), None)
