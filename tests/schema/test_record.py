import json
import socket
from pathlib import Path

import pytest

from dlrm_core.schema.environment import describe_environment
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import Metric, RunRecord, Series, read_record, recording, write_record

GIVEN = {"name": "run", "repeat": "dlrm train", "config": {"seed": 3}}


def metric(name, value, split):
    return Metric(name=name, value=value, unit="1", split=split, selection="last step")


def curve(name, split):
    return Series(name=name, split=split, x_label="step", y_label="loss", x=(1.0, 2.0), y=(0.7, 0.6))


@pytest.fixture
def record():
    return RunRecord(
        command="train",
        status="finished",
        **GIVEN,
        choices={"interaction": "dot"},
        dataset_digest="ab" * 32,
        seeds={"train": 3},
        environment=describe_environment(),
        metrics=(metric("auc", 0.1 + 0.2, "test"), metric("auc", 0.7, "train")),
        series=(curve("loss", "train"), curve("roc", "test")),
        timings_s={"total": 1.5},
    )


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_round_trip(record, tmp_path):
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record
    assert files(tmp_path) == ["run.json"]
    assert json.loads((tmp_path / "run.json").read_text())["metrics"][0]["value"] == 0.1 + 0.2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_record_that_was_written_can_be_read(record, tmp_path, value):
    # Either the number is refused where it is made, or it comes back: never a run.json that nobody can read.
    try:
        odd = record.model_copy(update={"metrics": (metric("gap", value, "test"),)})
    except ValueError:
        return
    write_record(tmp_path, odd)
    back = read_record(tmp_path).metrics[0].value
    assert back == value or (back != back and value != value)


def test_metric_by_name_and_split(record):
    assert record.metric("auc", "train").value == 0.7
    assert record.metric("auc", "validation") is None
    assert record.metric("log_loss", "test") is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": "done"}, "'status' is 'done'"),
        ({"command": "trian"}, "'command' is 'trian'"),
        ({"metrix": []}, "did you mean 'metrics'?"),
        ({"metrics": [{"name": "auc"}]}, "'metrics.0.value' is missing"),
        ({"schema_version": 2}, "schema_version"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(record, tmp_path, change, said):
    (tmp_path / "run.json").write_text(json.dumps(json.loads(record.to_json()) | change))
    with pytest.raises(KitError, match=r"run\.json: ") as caught:
        read_record(tmp_path)
    assert said in str(caught.value)


def test_no_record(tmp_path):
    with pytest.raises(KitError, match=r"holds no run\.json; a folder written by a `dlrm` command is needed"):
        read_record(tmp_path)


# --- recording()


def test_running_then_finished(tmp_path):
    out = tmp_path / "new" / "RUN"
    with recording(out, "train", **GIVEN, seeds={"train": 3}) as recorder:
        during = read_record(out)
        assert (during.status, during.reason, during.timings_s) == ("running", None, {})
        with recorder.timed("fit"):
            pass
        recorder.update(metrics=(metric("auc", 0.5, "test"),))
        assert read_record(out).metrics[0].value == 0.5
    after = read_record(out)
    assert (after.status, after.reason) == ("finished", None)
    assert set(after.timings_s) == {"fit", "total"}
    assert after.config == {"seed": 3}
    assert after.seeds == {"train": 3}
    assert files(out) == ["run.json"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KitError("the loss is not finite at step 7; lower the learning rate"), None),
        (KeyboardInterrupt(), "interrupted by the user"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (SystemExit(3), "SystemExit: 3"),
    ],
    ids=["known", "interrupted", "defect", "exit"],
)
def test_failed_with_the_reason(tmp_path, error, reason):
    with pytest.raises(type(error)) as caught, recording(tmp_path, "train", **GIVEN) as recorder:  # noqa: PT012
        recorder.update(seeds={"train": 5})
        raise error
    assert caught.value is error
    record = read_record(tmp_path)
    assert record.status == "failed"
    assert record.reason == (reason or str(error))
    assert record.seeds == {"train": 5}, "what was known before the failure stays"
    assert files(tmp_path) == ["run.json"]


def test_a_new_run_does_not_inherit_the_reason_of_the_last(tmp_path):
    with pytest.raises(KitError), recording(tmp_path, "train", **GIVEN):
        raise KitError("x")
    with recording(tmp_path, "train", **GIVEN):
        assert read_record(tmp_path).reason is None
    assert read_record(tmp_path).status == "finished"


def test_recording_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    ran = False
    with pytest.raises(KitError, match="name another --out"), recording(tmp_path / "file", "train", **GIVEN):
        ran = True
    assert not ran


@pytest.mark.parametrize("error", [KitError, OSError, FileNotFoundError], ids=["known", "system", "system with number"])
def test_reasons_name_no_folder_of_this_machine(tmp_path, error):
    path = tmp_path / "home-of-somebody" / "day_0"
    out = tmp_path / "RUN"
    made = error(2, "No such file", str(path)) if error is FileNotFoundError else error(f"{path}:17: has 38 fields")
    with pytest.raises(error), recording(out, "prepare", **GIVEN):
        raise made
    text = (out / "run.json").read_text()
    assert "home-of-somebody" not in text
    assert str(tmp_path) not in text
    assert "day_0" in text, "the file's own name is what the user needs"


def test_record_names_neither_host_nor_user(tmp_path, monkeypatch):
    for name in ("USER", "LOGNAME", "USERNAME", "HOSTNAME"):
        monkeypatch.setenv(name, "somebody-unmistakable")
    out = tmp_path / "RUN"
    with recording(out, "train", **GIVEN):
        pass
    text = (out / "run.json").read_text()
    assert "somebody-unmistakable" not in text
    assert f'"{socket.gethostname()}"' not in text
    for place in (tmp_path, Path.cwd(), Path.home()):
        assert f"{place}/" not in text


def test_the_record_of_another_command_is_not_replaced(tmp_path):
    with recording(tmp_path, "train", name="a run", repeat="dlrm train", config={}):
        pass
    before = (tmp_path / "run.json").read_bytes()
    with (
        pytest.raises(KitError, match="holds the record of `train`, `bench` would replace it"),
        recording(tmp_path, "bench", name="a benchmark", repeat="dlrm bench", config={}),
    ):
        pass
    assert (tmp_path / "run.json").read_bytes() == before


def test_a_damaged_record_is_replaced(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with recording(tmp_path, "bench", name="a benchmark", repeat="dlrm bench", config={}):
        pass
    assert read_record(tmp_path).status == "finished"
