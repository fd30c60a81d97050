"""Published row counts: what `dlrm download` fetched must hold as many rows as its publisher, or others, counted."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from data_prep.table_reader import count_rows
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.sources import DataSource, PublishedRows, read_downloads, read_sources

SOURCES = Path(__file__).with_name("sources.yaml")


def check_rows(path: Path, rows: int) -> None:
    """Compare the rows of a raw file with what is published of it; nothing is known of a file that was not downloaded.

    Raises
    ------
    KitError
        If the numbers differ.
    """
    source = _downloaded(path.parent)
    if source is None:
        return
    day = next((file.day for file in source.files if file.name == path.name), None)
    published = _of_day(source, day) or next((r for r in source.rows if r.what == path.name), None)
    if published is not None and published.rows != rows:
        raise KitError(
            f"{path}: holds {rows:,} rows, {published.rows:,} are published for {published.what} ({published.source}); the "
            "file is not whole, or of another origin: fetch it again"
        )


def check_days(paths: Sequence[Path]) -> None:
    """Compare the rows of each day of the Parquet copy of the 1TB logs, many files a day, with what is published of it.

    Each file tells its rows, so nothing is read for that. A day of which some downloaded files are not among `paths` is
    taken in part on purpose; no part holds more rows than the day.

    Raises
    ------
    KitError
        If the numbers differ.
    """
    days: dict[Path, set[Path]] = defaultdict(set)
    for path in paths:
        days[path.absolute().parent].add(path.absolute())
    for folder, files in days.items():
        published = _of_folder(folder)
        if published is None:
            continue
        rows = sum(count_rows(path) or 0 for path in files)
        whole = _recorded(folder) <= files
        if rows > published.rows or (whole and rows < published.rows):
            raise KitError(
                f"{folder}: its {len(files):,} files hold {rows:,} rows, {published.rows:,} are published for {published.what} "
                f"({published.source}); the day is not whole, or of another origin: fetch it again (to take a part of a day "
                "on purpose, leave out files of it)"
            )


def _downloaded(folder: Path) -> DataSource | None:
    downloads = read_downloads(folder)
    return read_sources(SOURCES).dataset(downloads.dataset) if downloads else None


def _of_day(source: DataSource, day: int | None) -> PublishedRows | None:
    return next((r for r in source.rows if day is not None and r.days == (day,)), None)


def _of_folder(folder: Path) -> PublishedRows | None:
    """What is published of the day whose folder it is, below that of the download."""
    source = _downloaded(folder.parent)
    if source is None or source.listing is None:
        return None
    strip = source.listing.strip
    day = next((d.day for d in source.listing.days if d.folder.removeprefix(strip) == folder.name), None)
    return _of_day(source, day)


def _recorded(folder: Path) -> set[Path]:
    downloads = read_downloads(folder.parent)
    files = downloads.files if downloads else {}
    return {folder.parent / name for name in files if Path(name).parent.name == folder.name}
