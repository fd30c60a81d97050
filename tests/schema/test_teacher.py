import pytest

from dlrm_core.schema.errors import KitError
from dlrm_core.schema.teacher import TeacherFile, TeacherRecord, read_teacher

DAY = TeacherFile(name="day_0", rows=5, sha256="0" * 64, best_auc=0.78, best_log_loss=0.43, click_rate=0.2)
TEACHER = TeacherRecord(generator_version=1, description="made up", seed=3, rows=5, files=(DAY,))


def test_round_trip(tmp_path):
    path = tmp_path / "teacher.json"
    path.write_text(TEACHER.to_json())
    assert read_teacher(path) == TEACHER


def test_missing_or_odd(tmp_path):
    path = tmp_path / "teacher.json"
    with pytest.raises(KitError, match="no such file; `dlrm sample` writes it"):
        read_teacher(path)
    path.write_text(TEACHER.to_json().replace('"seed"', '"sede"'))
    with pytest.raises(KitError, match=r"teacher\.json: .*did you mean 'seed'|teacher\.json: key 'seed' is missing"):
        read_teacher(path)
