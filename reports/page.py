"""One self-contained HTML page from the records below a folder: nothing in it asks the network for anything."""

from importlib import resources
from pathlib import Path

from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import make_output_folder, write_atomic
from reports.collect import Collection, collect
from reports.grouping import Group, group
from reports.markup import Html, join, slug, tag
from reports.provenance import failed_section, gpu_sentence, provenance_section, unreadable_section
from reports.sections import Part, data_section

TITLE = "DLRM reproduction report"


def build_report(runs: Path, html: Path, *, repeat: str = "") -> Path:
    """Write the page of all records below `runs` to `html`; the same records give the same bytes.

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
        If `runs` holds no record of a model, or `html` is a folder or cannot be written.
    """
    if html.is_dir():
        raise KitError(
            f"{html}: is a folder, an HTML file is to be written; name a file in it, for example {html / 'index.html'}"
        )
    collection = collect(runs)
    page = _page(collection, group(collection), repeat)
    make_output_folder(html.parent)
    write_atomic(html, page)
    return html


def _page(collection: Collection, groups: list[Group], repeat: str) -> str:
    parts: list[Part] = []
    for number, each in enumerate(groups, 1):
        first_figure = 1 + sum(part.num_figures for part in parts)
        parts.append(data_section(each, collection, number, first_figure, repeat))
    rest = {
        "Failed or killed runs": failed_section(collection),
        "Could not be read": unreadable_section(collection.problems),
        "Provenance": provenance_section(collection),
    }
    shown = {name: content for name, content in rest.items() if content is not None}
    links = [(part.id_, part.title) for part in parts] + [(slug(name), name) for name in shown]
    return _document(
        join([_summary(collection, parts), _contents(links), *(p.content for p in parts), *shown.values()])
    )


def _summary(collection: Collection, data: list[Part]) -> Html:
    parts: list[object] = [tag("h1", TITLE)]
    for each in data:
        if len(data) > 1:
            parts.append(tag("p", f"{each.title}:", class_="on"))
        parts += [tag("p", sentence, class_="verdict-line") for sentence in each.verdicts]
    unfinished = sum(entry.record.status != "finished" for entry in collection.entries)
    amiss = f" Failed or not finished: {unfinished}." if unfinished else ""
    amiss += f" Files that could not be read or do not fit: {len(collection.problems)}." if collection.problems else ""
    parts.append(tag("p", f"The page is made from {len(collection.entries)} run records.{amiss}"))
    parts.append(tag("p", gpu_sentence(collection.entries)))
    return tag("header", join(parts))


def _contents(links: list[tuple[str, str]]) -> Html:
    items = join(tag("li", tag("a", name, href=f"#{id_}")) for id_, name in links)
    return tag("nav", tag("ol", items), aria_label="Contents")


def _document(body: Html) -> str:
    style = (resources.files("reports") / "style.css").read_text()
    head = join(
        [
            Html('<meta charset="utf-8">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<meta name="color-scheme" content="light dark">'),
            tag("title", TITLE),
            Html(f"<style>\n{style}</style>"),
        ]
    )
    skip = tag("a", "Skip to the content", class_="skip", href="#content")
    content = tag("main", body, id="content", tabindex="-1")
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{skip}\n{content}\n</body>\n</html>\n'
