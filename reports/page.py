"""The report: one self-contained HTML page from the records below a folder, and the pages beside it; no page asks the network."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import make_output_folder, write_atomic
from reports.cards.card import Card
from reports.cards.dataset_card import dataset_card
from reports.cards.model_card import model_card
from reports.dataset.sections import Part, data_section
from reports.diagnose.findings import diagnosis_section
from reports.html.document import Link, contents, document
from reports.html.markup import Html, data_link, join, section, slug, tag
from reports.pages.errata import errata_section
from reports.pages.provenance import failed_section, foot, gpu_sentence, provenance_section, unreadable_section
from reports.pages.published import published_page, summary_sentence
from reports.pages.stability import stability_page
from reports.pages.throughput import throughput_page
from reports.read.collect import Collection, Entry, collect, committed
from reports.read.grouping import Group, group

TITLE = "DLRM reproduction report"
REDRAW = "make report"
BESIDE = {
    "published.html": "Published tables",
    "stability.html": "Stability",
    "throughput.html": "Throughput",
    "errata.html": "Errata",
    "model_card.html": "Model cards",
    "dataset_card.html": "Dataset cards",
}


def build_report(runs: Path, html: Path, *, repeat: str = "") -> Path:
    """Write the page of all records below `runs` to `html`, and the pages of :data:`BESIDE` into its folder.

    The same records give the same bytes, as long as the same notebooks' pages (01_....html) lie beside it: these are linked.
    Measurements that were committed with the sources, below reports/records, are on the pages too.

    Parameters
    ----------
    runs : Path
        Folder that holds run folders, at any depth.
    html : Path
        File to write; its folder is made if need be.
    repeat : str
        The one command that makes all of it again; empty for the `make reproduce` lines that the records suggest.

    Returns
    -------
    Path
        `html`.

    Raises
    ------
    KitError
        If `runs` holds no record of a model, or `html` is a folder, has the name of a page beside it, or cannot be written.
    """
    if html.is_dir():
        raise KitError(
            f"{html}: is a folder, an HTML file is to be written; name a file in it, for example {html / 'index.html'}"
        )
    if html.name in BESIDE:
        raise KitError(
            f"{html}: is the name of a page that is written beside this one; name another, for example index.html"
        )
    collection = collect(runs)
    groups = group(collection)
    judged = group(replace(collection, problems=[]), sweeps=True)  # for verdicts the runs of sweeps count, too
    measured = [*collection.entries, *committed()]
    make_output_folder(html.parent)
    links = [Link(html.name, "Report"), *(Link(*item) for item in BESIDE.items())]
    first = _first_page(collection, groups, judged, measured, repeat, _notebooks(html.parent))
    bodies = {html.name: first, **_beside(collection, groups, judged, measured)}
    for file, body in bodies.items():
        title = TITLE if file == html.name else f"{BESIDE[file]} – {TITLE}"
        write_atomic(
            html.with_name(file), document(title, join([body, foot(collection, REDRAW)]), pages=links, here=file)
        )
    return html


def _notebooks(folder: Path) -> Html | None:
    """Links to the pages of notebooks that lie beside the report."""
    found = sorted(folder.glob("[0-9][0-9]_*.html"))
    items = [tag("li", tag("a", path.stem, href=path.name)) for path in found]
    return section(2, "Notebooks", tag("ul", join(items))) if items else None


def _beside(
    collection: Collection, groups: Sequence[Group], judged: Sequence[Group], measured: Sequence[Entry]
) -> dict[str, Html]:
    benches = [e for e in measured if e.record.command == "bench" and e.record.status == "finished"]
    sweeps = [entry for entry in measured if entry.record.command == "sweep"]
    models = [model_card(each, variant, collection) for each in groups for variant in each.variants]
    return {
        "published.html": published_page(judged, benches, sweeps),
        "stability.html": stability_page(sweeps, groups),
        "throughput.html": throughput_page(benches),
        "errata.html": join([tag("h1", "Errata"), errata_section()]),
        "model_card.html": _cards("Model cards", models),
        "dataset_card.html": _cards("Dataset cards", [dataset_card(each, collection) for each in groups]),
    }


def _cards(title: str, cards: Sequence[Card]) -> Html:
    parts: list[object] = [tag("h1", title)]
    if not cards:
        parts.append(tag("p", "There is nothing to describe: no record names one."))
    for card in cards:
        link = data_link(
            "Markdown", f"{card.file}.md", "text/markdown", card.markdown, f"Markdown of the card: {card.title}"
        )
        parts += [card.html, tag("p", link, class_="download")]
    return join(parts)


def _first_page(
    collection: Collection,
    groups: Sequence[Group],
    judged: Sequence[Group],
    measured: Sequence[Entry],
    repeat: str,
    notebooks: Html | None,
) -> Html:
    parts: list[Part] = []
    for number, each in enumerate(groups, 1):
        first_figure = 1 + sum(part.num_figures for part in parts)
        parts.append(data_section(each, collection, number, first_figure, repeat))
    rest = {
        "Diagnosis": diagnosis_section(collection),
        "Failed or killed runs": failed_section(collection),
        "Could not be read": unreadable_section(collection.problems),
        "Notebooks": notebooks,
        "Provenance": provenance_section(collection),
    }
    shown = {name: content for name, content in rest.items() if content is not None}
    links = [(part.id_, part.title) for part in parts] + [(slug(name), name) for name in shown]
    benches = [e for e in measured if e.record.command == "bench" and e.record.status == "finished"]
    published = tag("p", join([summary_sentence(judged, benches), tag("a", "The tables", href="published.html")], " "))
    return join([_summary(collection, parts, published), contents(links), *(p.content for p in parts), *shown.values()])


def _summary(collection: Collection, data: list[Part], published: Html) -> Html:
    parts: list[object] = [tag("h1", TITLE)]
    for each in data:
        if len(data) > 1:
            parts.append(tag("p", f"{each.title}:", class_="on"))
        parts += [tag("p", sentence, class_="verdict-line") for sentence in each.verdicts]
    unfinished = sum(entry.record.status != "finished" for entry in collection.entries)
    amiss = f" Failed or not finished: {unfinished}." if unfinished else ""
    amiss += f" Files that could not be read or do not fit: {len(collection.problems)}." if collection.problems else ""
    parts.append(published)
    parts.append(tag("p", f"The page is made from {len(collection.entries)} run records.{amiss}"))
    parts.append(tag("p", gpu_sentence(collection.entries)))
    return tag("header", join(parts))
