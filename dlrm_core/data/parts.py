"""Which rows of a prepared data set serve what."""

from dataclasses import dataclass
from pathlib import Path

from dlrm_core.data.part import Part
from dlrm_core.schema.dataset import read_dataset
from dlrm_core.schema.errors import KitError


@dataclass(frozen=True)
class TrainingParts:
    """What training reads: rows to fit, rows that stopping rules look at, and all of the training split."""

    fit: Part
    stop: Part
    everything: Part
    stop_rule: str


def keep_off_dataset(out: Path) -> None:
    """Make sure that output does not go into a prepared data set, whose `dataset.json` and `run.json` it would replace.

    Raises
    ------
    KitError
        If `out` holds one.
    """
    if (out / "dataset.json").is_file() and (out / "train").is_dir():
        raise KitError(
            f"{out}: is a prepared data set, a folder of its own is needed for the output; name another --out"
        )


def open_part(folder: Path, split: str) -> Part:
    """One split of DATA.

    Raises
    ------
    KitError
        If DATA is damaged or the split is empty.
    """
    part = Part(folder, read_dataset(folder), split)
    if not len(part):
        raise KitError(f"{folder}: its {split} part has no rows; prepare the data set with files for it")
    return part


def open_training_parts(folder: Path, max_rows: int | None = None) -> TrainingParts:
    """The training split of DATA, cut into rows to fit and rows for stopping rules.

    These are the validation split where there is one, else the last tenth of the training rows in input order. With
    `max_rows`, only that many of the first rows are there to be fitted.
    """
    spec = read_dataset(folder)
    train = spec.splits["train"]
    most = train.rows if max_rows is None else min(max_rows, train.rows)
    everything = Part(folder, spec, "train", stop=most)
    if spec.splits["validation"].rows:
        return TrainingParts(everything, Part(folder, spec, "validation"), everything, "the validation part")
    cut = train.rows - train.holdback_rows
    rule = f"the last {train.holdback_rows} training rows in input order, held back"
    return TrainingParts(
        Part(folder, spec, "train", stop=min(cut, most)), Part(folder, spec, "train", start=cut), everything, rule
    )
