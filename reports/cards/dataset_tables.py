"""What `dataset.json` says of a data set, as the tables of its card."""

from collections.abc import Sequence

from dlrm_core.schema.dataset import SPLITS, DatasetSpec, Drawn, Imported, Preparation, Split
from reports.cards.card import Block, Cell, Code, Grid, Words
from reports.cards.origin import maker
from reports.read.grouping import Group


def composition(group: Group, spec: DatasetSpec) -> list[Block]:
    """Rows by part, columns, and the ids of each categorical feature."""
    parts = [
        [name, f"{s.rows:,}", f"{s.holdback_rows:,}", _click_rate(group, name, s.rows)] for name, s in _splits(spec)
    ]
    total, largest = sum(spec.cardinalities.values()), max(spec.cardinalities.values(), default=0)
    counts: list[Sequence[Cell]] = [
        ["label", "0 or 1; 1 is what a model predicts, a click"],
        ["numerical features", f"{len(spec.numerical)}: {', '.join(spec.numerical)}"],
        ["categorical features", f"{len(spec.categorical)}, {total:,} ids in all, {largest:,} in the largest column"],
    ]
    features = [
        [f.name, f"{f.cardinality:,}", f.dtype, _or_unknown(f.frequency_limit), f.file] for f in spec.categorical
    ]
    return [
        Grid(["part", "rows", "of them held back", "click rate"], parts, "Rows by part"),
        Words("Click rates are those that the records of scored models hold; – where there is none."),
        Grid(["what", "value"], counts, "Columns"),
        Grid(["feature", "ids", "stored as", "frequency limit", "file"], features, "Categorical features"),
    ]


def preparation(group: Group, spec: DatasetSpec) -> list[Block]:
    """The choices that made ids and numbers, and which rows are in which part."""
    how = spec.preparation
    counted = {"train": "the training rows", "all": "all rows, test included"}.get(how.vocabulary, "unknown rows")
    rows: list[Sequence[Cell]] = [
        ["which rows are in which part", _split_rule(group)],
        ["rows that a value needs for an id of its own", _or_unknown(how.frequency_limit)],
        ["limits of single columns", _limits_of_columns(how)],
        ["id 0 stands for", spec.id_zero],
        ["order of ids", spec.id_order],
        ["ids counted in", counted],
        ["numerical transform", how.numerical_transform],
        ["shuffle seed", _or_unknown(how.shuffle_seed)],
        ["engine", spec.engine],
    ]
    return [Grid(["choice", "value"], rows, "How raw rows became ids and numbers")]


def files(spec: DatasetSpec) -> list[Block]:
    """Sizes and SHA-256 of the raw and the prepared files."""
    raw: list[Sequence[Cell]] = [
        [name, source.name, f"{source.size_bytes:,}", Code(source.sha256)]
        for name, split in _splits(spec)
        for source in split.sources
    ]
    prepared: list[Sequence[Cell]] = [
        [name, file, Code(digest)]
        for name, split in _splits(spec)
        if split.rows
        for file, digest in split.digests.items()
    ]
    grids = [
        Grid(["part", "raw file", "bytes", "SHA-256"], raw, "Raw files", "dataset.json"),
        Grid(["part", "file", "SHA-256"], prepared, "Prepared files", "dataset.json"),
        Grid(["what", "digest"], [["vocabulary", Code(spec.vocabulary_digest)]], "Vocabulary"),
    ]
    return [grid for grid in grids if grid.rows]


def _splits(spec: DatasetSpec) -> list[tuple[str, Split]]:
    return sorted(spec.splits.items(), key=lambda item: SPLITS.index(item[0]))


def _click_rate(group: Group, split: str, rows: int) -> str:
    """From the models that were scored on that part; those of a part without rows were scored on held-back ones."""
    found = [model.entry.record.metric("click_rate", split) for model in group.models] if rows else []
    return ", ".join(sorted({f"{metric.value:.5f}" for metric in found if metric})) or "–"


def _split_rule(group: Group) -> str:
    made = maker(group)
    if made is None:
        return "the files of each part as listed below; no record of the command says more"
    config = made.record.config
    if config.get("whole"):
        return "in the order of the files, the last seventh of all rows is the test part, the rest the training part"
    if config.get("halve"):
        return (
            f"by file; the first half of {', '.join(config['halve'])} is the test part, the second the validation part"
        )
    if made.record.command == "prepare":
        return "by file, as the user named them for each part"
    return (
        "as the import found them" if made.record.command == "import" else "each part is drawn from a stream of its own"
    )


def _limits_of_columns(how: Preparation | Imported | Drawn) -> str:
    limits = how.column_limits if isinstance(how, Preparation) else {}
    return ", ".join(f"{column} {limit}" for column, limit in limits.items()) or "none"


def _or_unknown(value: object) -> str:
    return "unknown" if value is None else str(value)
