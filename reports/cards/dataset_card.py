"""The card of a data set, with the questions of Gebru et al., Datasheets for Datasets (arXiv:1803.09010), from records."""

from collections.abc import Iterator, Sequence
from typing import Any

from dlrm_core.schema.dataset import DatasetSpec, Preparation
from dlrm_core.schema.teacher import TeacherRecord
from reports.cards.card import Block, Bullets, Card, Cell, Code, Commands, Grid, Words, file_name, make_card, settings
from reports.cards.dataset_tables import composition, files, preparation
from reports.cards.origin import UNKNOWN, Kind, Origin, download_entries, find_origin, maker
from reports.dataset.repeat import raw_entries
from reports.read.collect import Collection, Entry
from reports.read.grouping import Group

FILES = ("train", "validation", "test", "whole", "halve")  # settings that the table of raw files shows better
SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
WHAT: dict[Kind, str] = {
    "planted": (
        "A click log in the raw Criteo format, a label, 13 integers and 26 categories a row, that a seeded generator of this "
        "kit drew. Its clicks come from a known teacher, so that the best attainable AUC and log loss are known."
    ),
    "downloaded": "A click log whose raw files are, by their SHA-256, those that `dlrm download` fetched.",
    "text": "A click log that was prepared from raw files in the Criteo format. No record tells where these files come from.",
    "table": "A table of the user's own, whose columns were given their roles by a specification.",
    "imported": (
        "A data set whose ids and numbers NVIDIA's tools made; this kit checked and copied them. Raw values, vocabulary and "
        "origin are unknown to the records."
    ),
    "synthetic": (
        "Random rows that this kit drew to measure speed. Labels do not depend on the features, so that no model can tell "
        "clicks from non-clicks better than by chance."
    ),
    "unknown": "No description of the data set (dataset.json) lies below the runs folder; only its digest is known.",
}
PERSONAL: dict[Kind, str] = {
    "planted": "None: every row is drawn by the generator, and no person stands behind any of them.",
    "synthetic": "None: every row is drawn at random, and no person stands behind any of them.",
    "downloaded": (
        "Each row is one display of an advertisement to a person. The categories are hashed and the meaning of the columns is "
        "not disclosed; hashing does not rule out that persons are recognised from combinations of values. Do not try to."
    ),
}
PERSONAL_UNKNOWN = (
    "The records cannot tell whether the raw rows hold personal data. Find out before you pass on data or weights: prepared ids "
    "and the rows of embedding tables still stand for the values that they were made from."
)
UNRECORDED = "No record of a command that made it lies below the runs folder."
MADE_IN_MEMORY = "The training commands drew the rows as they needed them; the cards of their models hold the settings."
VOCABULARY_FILE = (
    "The prepared folder holds vocabulary.parquet with the category values themselves; it falls under the same terms."
)


def dataset_card(group: Group, collection: Collection) -> Card:
    """The card of one data set.

    Parameters
    ----------
    group : Group
        From :func:`reports.read.grouping.group`.
    collection : Collection
        The records that the group was made of; they hold those of samples and downloads, too.

    Returns
    -------
    Card
        No row and no value of the data stands in it.
    """
    origin, spec = find_origin(group, collection), group.spec
    digest = group.digest or "none recorded"
    title = dataset_title(group, origin)
    sections: dict[str, Sequence[Block]] = {
        "What it is": [Words(WHAT[origin.kind]), Grid(["what", "value"], [["digest", Code(digest)]], "Identity")],
        "Composition": composition(group, spec) if spec else [],
        "How it was collected": [*_collected(group, origin, collection)],
        "Preparation": preparation(group, spec) if spec else [],
        "Files and digests": files(spec) if spec else [],
        "Uses": _uses(group, origin),
        "Licence and terms": licence_blocks(origin),
        "Personal data": _personal(origin, spec),
        "Known limits": [Bullets(list(_limits(group, origin, spec)))],
        "How to repeat it": _repeat(group, origin, collection),
    }
    return make_card(title, dataset_file(group), _metadata(title, origin, spec), sections)


def dataset_title(group: Group, origin: Origin) -> str:
    """Origin and the first letters of the digest."""
    return f"{origin.title} {group.digest[:12]}" if group.digest else origin.title


def dataset_file(group: Group) -> str:
    """Name of the card's file, without suffix."""
    return file_name("dataset-card", "", group.digest or "")


def licence_blocks(origin: Origin) -> list[Block]:
    """The terms of the data: name, address and one sentence, or that they are unknown."""
    remarks = remark_blocks(origin)
    if origin.licence is None:
        return [Words(f"Licence of the data: {UNKNOWN}."), *remarks]
    licence = origin.licence
    rows: list[Sequence[Cell]] = [
        ["name", licence.name],
        ["address", licence.url],
        ["terms in short", licence.terms],
        ["source of this", licence.source],
    ]
    return [Grid(["what", "value"], rows, "Licence of the data"), *remarks]


def remark_blocks(origin: Origin) -> list[Block]:
    """What is known of the terms in part, or was accepted."""
    return [Bullets(origin.remarks)] if origin.remarks else []


def _metadata(title: str, origin: Origin, spec: DatasetSpec | None) -> dict[str, Any]:
    sizes = {"size_categories": [_size(sum(split.rows for split in spec.splits.values()))]} if spec else {}
    return {
        "pretty_name": title,
        **origin.metadata,
        "task_categories": ["tabular-classification"],
        **sizes,
        "tags": ["click-through-rate", "recommendation", f"origin-{origin.kind}"],
    }


def _size(rows: int) -> str:
    """The Hub's size category.

    >>> _size(999), _size(1000), _size(4_195_197_692)
    ('n<1K', '1K<n<10K', '1B<n<10B')
    """
    step = max(len(str(rows)) - 3, 0)
    if step == 0:
        return "n<1K"
    return f"{SIZES[step - 1]}<n<{SIZES[step]}" if step < len(SIZES) else "n>1T"


def _collected(group: Group, origin: Origin, collection: Collection) -> Iterator[Block]:
    if origin.kind == "unknown":
        return
    if origin.kind == "planted":
        yield from (_generator(teacher) for teacher in _teachers(group, collection))
    rows: list[Sequence[Cell]] = [
        [entry.record.command, name, value]
        for entry in _makers(group, origin, collection)
        for name, value in settings(entry.record.config)
        if name not in FILES
    ]
    if rows:
        yield Grid(["command", "setting", "value"], rows, "Settings of the commands that made it")
    else:
        yield Words(MADE_IN_MEMORY if origin.kind == "synthetic" else UNRECORDED)


def _teachers(group: Group, collection: Collection) -> list[TeacherRecord]:
    assert group.spec is not None, "only a known data set is planted"
    raw = {source.sha256 for split in group.spec.splits.values() for source in split.sources}
    return [teacher for teacher in collection.teachers if raw & {file.sha256 for file in teacher.files}]


def _generator(teacher: TeacherRecord) -> Grid:
    rows: list[Sequence[Cell]] = [
        ["description", teacher.description],
        ["generator version", teacher.generator_version],
        ["seed", teacher.seed],
        ["rows drawn", f"{teacher.rows:,}"],
    ]
    return Grid(["what", "value"], rows, "The generator")


def _makers(group: Group, origin: Origin, collection: Collection) -> list[Entry]:
    """The records of the commands from the raw rows to the data set."""
    raw = {"planted": raw_entries(group, collection), "downloaded": download_entries(origin, collection)}
    made = maker(group)
    return [*raw.get(origin.kind, []), *([made] if made else [])]


def _uses(group: Group, origin: Origin) -> list[Block]:
    meant = {
        "synthetic": "To measure speed. No score on these rows means anything.",
        "planted": "To see how near a model comes to a known optimum. It says nothing about real clicks.",
    }.get(origin.kind, "To study click prediction and to reproduce published training runs.")
    models = [variant.name for variant in group.variants] + [model.name for model in group.baselines]
    scored: list[Block] = [Words("Models that were trained and scored on it:"), Bullets(models)] if models else []
    return [
        Words(meant),
        Words("Not for decisions about people, and not to find out who stands behind a row."),
        *scored,
    ]


def _personal(origin: Origin, spec: DatasetSpec | None) -> list[Block]:
    prepared = spec is not None and isinstance(spec.preparation, Preparation)
    kept: list[Block] = [Words(VOCABULARY_FILE)] if prepared and origin.kind not in ("planted", "synthetic") else []
    return [Words(PERSONAL.get(origin.kind, PERSONAL_UNKNOWN)), *kept, Words("No row of the data stands in this card.")]


def _limits(group: Group, origin: Origin, spec: DatasetSpec | None) -> Iterator[str]:
    if spec is None:
        yield "Nothing but the digest is known; put dataset.json below the runs folder and make the card again."
        return
    if spec.preparation.vocabulary == "all":
        yield "Ids were counted in the test rows too, so that scores on them may be too good."
    if spec.preparation.vocabulary == "unknown":
        yield "Whether ids were counted in the test rows is unknown."
    if spec.id_zero != "unknown":
        yield "Values that are missing, rare or not seen in the counted rows share one id and cannot be told apart."
    yield f"Numerical features are stored as {spec.numerical_dtype}; what that type cannot hold is lost."
    if not spec.splits["validation"].rows:
        yield "There is no validation part; stopping rules look at held-back training rows."
    if origin.kind in ("downloaded", "text", "table"):
        yield "Scores hold for rows like those of the test part; those of another time, place or product may differ."
    if group.optimum is not None:
        best = group.optimum
        yield (
            f"Best attainable on the test part: AUC {best.best_auc:.5f}, log loss {best.best_log_loss:.5f} nat; luck with "
            "these very rows may carry a model past it."
        )


def _repeat(group: Group, origin: Origin, collection: Collection) -> list[Block]:
    lines = making_lines(group, origin, collection)
    return [Words("DIR and DATA stand for folders of your choice."), Commands(lines)] if lines else []


def making_lines(group: Group, origin: Origin, collection: Collection) -> list[str]:
    """The commands that made the data set, as recorded, each once."""
    makers = _makers(group, origin, collection)
    return list(dict.fromkeys(entry.record.repeat for entry in makers if entry.record.status == "finished"))
