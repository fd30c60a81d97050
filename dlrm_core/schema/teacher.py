"""`teacher/teacher.json`: what the best possible model scores on each day of a planted sample."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from dlrm_core.schema.base import Strict
from dlrm_core.schema.errors import KitError


class TeacherFile(Strict):
    """One raw day file, and the scores of the true click probabilities on its labels (AUC; log loss in nats)."""

    name: str
    rows: int = Field(ge=1)
    sha256: str
    best_auc: float
    best_log_loss: float
    click_rate: float


class TeacherRecord(Strict):
    """The record that the sample generator leaves away from the raw files."""

    schema_version: Literal[1] = 1
    generator_version: int
    description: str
    seed: int
    rows: int
    files: tuple[TeacherFile, ...]


def read_teacher(path: Path) -> TeacherRecord:
    """Read a teacher.json.

    Raises
    ------
    KitError
        If it cannot be read or does not fit the schema.
    """
    if not path.is_file():
        raise KitError(f"{path}: no such file; `dlrm sample` writes it")
    return TeacherRecord.from_json(path.read_bytes(), source=str(path))
