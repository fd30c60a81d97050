"""The page of the published tables: every number as printed, ours beside it, and a verdict on each."""

from collections import Counter
from collections.abc import Sequence

from dlrm_core.schema.published import PublishedTable
from reports.html.markup import Html, code, details, join, section, table, tag
from reports.pages.own_tables import own_tables
from reports.published import read_tables
from reports.read.collect import Entry
from reports.read.grouping import Group
from reports.stats.verdicts import RELATIVE_ORIGIN, VERDICTS, Judgement, judge, mark

DOCUMENTS = {
    "seed": "README of June 2020, the one that this kit reproduces",
    "head": "NVIDIA's last README",
    "triton": "README of the Triton part",
    "notebook": "Outputs printed in NVIDIA's notebooks",
}
MEANING = (
    "our interval lies within the tolerance around the published number; a faster run counts as reproduced, too",
    "our interval reaches over the edge of the tolerance; more runs would tell",
    "our interval lies outside of the tolerance",
    "no run of ours has the same data, scale, precision or hardware; the reason stands beside it",
)


def published_page(groups: Sequence[Group], benches: Sequence[Entry], sweeps: Sequence[Entry]) -> Html:
    """Title, how verdicts are given and how many there are of each, ours in the same form, then the tables by document."""
    judged = {each.id: [judge(figure, groups, benches) for figure in each.figures] for each in read_tables()}
    everything = [judgement for judgements in judged.values() for judgement in judgements]
    parts = []
    for document, title in DOCUMENTS.items():
        of_document = [each for each in read_tables() if each.document == document]
        tables = [_table_section(each, judged[each.id]) for each in of_document]
        first = of_document[0]
        origin = tag(
            "p", join([f"{first.source}, commit ", code(first.commit), ": ", code(first.url)], ""), class_="note"
        )
        parts.append(section(2, title, origin, *tables))
    return join(
        [tag("h1", "The published tables, ours beside them"), _summary(everything), own_tables(sweeps, benches), *parts]
    )


def summary_sentence(groups: Sequence[Group], benches: Sequence[Entry]) -> str:
    """How many published numbers got which verdict, for the first page."""
    counts = Counter(judge(figure, groups, benches).verdict for each in read_tables() for figure in each.figures)
    total = sum(counts.values())
    return f"Of {total} published numbers: " + ", ".join(f"{counts[word]} {word}" for word in VERDICTS) + "."


def _summary(judgements: Sequence[Judgement]) -> Html:
    counts = Counter(judgement.verdict for judgement in judgements)
    rows = [[mark(word), counts[word], meaning] for word, meaning in zip(VERDICTS, MEANING, strict=True)]
    words = (
        "A verdict other than NOT COMPARABLE needs a run record of ours on the same data, with the same preparation, batch and "
        "precision, and for a speed on the same hardware. Each verdict names its tolerance and where that comes from. "
        f"For speeds it is {RELATIVE_ORIGIN}."
    )
    return join([tag("p", words), table(["verdict", "numbers", "what it means"], rows, "Verdicts on this page")])


def _table_section(each: PublishedTable, judgements: Sequence[Judgement]) -> Html:
    """The table as printed with a verdict for each row, its caveats, and every number by itself."""
    rows = []
    for number, row in enumerate(each.rows):
        of_row = [judgement for judgement in judgements if judgement.figure.row == number]
        words = dict.fromkeys(judgement.verdict for judgement in of_row)
        rows.append([*row, _ours(of_row), join([mark(word) for word in words], ", ") if words else "–"])
    printed = table([*each.head, "ours", "verdict"], rows, each.title)
    caveats = dict.fromkeys([*each.caveats, *(c for j in judgements for c in j.figure.caveats)])
    notes = tag("ul", join(tag("li", caveat) for caveat in caveats), class_="note") if caveats else Html("")
    return section(
        3,
        each.title,
        printed,
        notes,
        details(f"Number by number: {each.title}", _numbers(each, judgements)),
        id_=each.id,
    )


def _ours(judgements: Sequence[Judgement]) -> Html:
    """What the nearest runs of ours have, each quantity and value once."""
    found = dict.fromkeys(
        f"{judgement.figure.quantity.replace('_', ' ')} {_value(judgement)} (n = {len(judgement.ours.values)})"
        for judgement in judgements
        if judgement.ours is not None
    )
    return join(found, "<br>") if found else Html("–")


def _value(judgement: Judgement) -> str:
    """Our mean with its unit."""
    assert judgement.ours is not None, "only judgements with a value of ours are asked for it"
    _, unit = judgement.figure.in_base_unit()
    return f"{judgement.ours.mean:.6g} {unit if unit != '1' else ''}".strip()


def _numbers(each: PublishedTable, judgements: Sequence[Judgement]) -> Html:
    head = [
        "number",
        "published",
        "unit",
        "ours",
        "95 % interval",
        "runs n",
        "verdict",
        "because",
        "tolerance",
        "repeat with",
    ]
    return table(head, [_row(each, judgement) for judgement in judgements], f"{each.title}: number by number")


def _row(each: PublishedTable, judgement: Judgement) -> list[object]:
    figure, ours, tolerance = judgement.figure, judgement.ours, judgement.tolerance
    _, unit = figure.in_base_unit()
    name = figure.id.removeprefix(f"{each.id}/")
    value = interval = repeat = "–"
    n = "0"
    if ours is not None:
        value, n = _value(judgement), str(len(ours.values))
        repeat = ours.entries[0].record.repeat
    if judgement.interval is not None:
        interval = f"{judgement.interval[0]:.6g} to {judgement.interval[1]:.6g}"
    allowed = f"±{tolerance.value:.4g} {unit if unit != '1' else ''}: {tolerance.origin}" if tolerance else "–"
    because = judgement.because
    return [name, figure.text, figure.unit, value, interval, n, mark(judgement.verdict), because, allowed, code(repeat)]
