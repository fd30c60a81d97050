"""Cut raw rows into a training and a test part, for users who bring one file (or several) and no test file."""

from collections.abc import Sequence
from pathlib import Path

from data_prep.raw import read_blocks
from data_prep.text_parser import parse
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import keep_apart, make_output_folder
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import Metric, recording


def split_last_seventh(files: Sequence[Path], out: Path, progress: Progress = silent) -> tuple[Path, Path]:
    """Write `out`/train.tsv with the first floor(6 n / 7) of the n rows, in input order, and `out`/test.tsv with the rest.

    Criteo's Kaggle set covers seven days, so this is "train on six, test on the seventh".

    Raises
    ------
    KitError
        If a file cannot be read, is malformed or lies in `out`, there are fewer than seven rows, or `out` cannot be written.
    """
    keep_apart(files, out)
    rows = 0
    for path in files:
        for block in read_blocks(path):
            parse(block)  # a fault is told by the user's own file and line, not by those of the parts
            rows += block.num_lines
            progress("check", rows, 0)
    if rows < 7:
        raise KitError(
            f"{', '.join(str(f) for f in files)}: {rows} rows; at least 7 are needed to split off a test part"
        )
    make_output_folder(out)
    config = {
        "files": [path.name for path in files],
        "rule": "test = rows after the first floor(6 n / 7), in input order",
    }
    with recording(
        out, "split", name=out.name, repeat="make reproduce PRESET=... TRAIN=...", config=config
    ) as recorder:
        num_train = 6 * rows // 7
        parts = out / "train.tsv.part", out / "test.tsv.part"
        try:
            _copy(files, parts, num_train, rows, progress)
            final = parts[0].replace(out / "train.tsv"), parts[1].replace(out / "test.tsv")
        finally:
            for part in parts:
                part.unlink(missing_ok=True)
        counts = {"train": num_train, "test": rows - num_train}
        recorder.update(
            metrics=tuple(
                Metric(name="rows", value=n, unit="rows", split=s, selection="input order") for s, n in counts.items()
            )
        )
    return final


def _copy(files: Sequence[Path], parts: tuple[Path, Path], num_train: int, rows: int, progress: Progress) -> None:
    done = 0
    with parts[0].open("wb") as train, parts[1].open("wb") as test:
        for path in files:
            for block in read_blocks(path):
                cut = min(max(num_train - done, 0), block.num_lines)
                end = _end_of_line(block.data, cut)
                train.write(block.data[:end])
                test.write(block.data[end:])
                done += block.num_lines
                progress("split", done, rows)


def _end_of_line(data: bytes, line: int) -> int:
    """Byte offset after the first `line` lines."""
    position = 0
    for _ in range(line):
        position = data.index(b"\n", position) + 1
    return position
