import pytest

from dlrm_core.schema.errors import KitError
from dlrm_core.schema.record import Metric
from reports.page import build_report
from reports.read.collect import collect
from reports.read.grouping import group


def test_everything_below_a_folder_is_found_in_the_order_of_the_paths(runs):
    runs.usual().teacher()
    found = collect(runs.root)
    assert [entry.folder for entry in found.entries] == ["baselines/constant", "baselines/logistic", "dlrm-seed-1"]
    assert [dataset.folder for dataset in found.datasets] == ["data"]
    assert len(found.teachers) == 1
    assert found.problems == []


def test_a_folder_without_a_model_is_refused_with_advice(runs):
    runs.record("data", "prepare", "data")
    with pytest.raises(KitError, match=r"no record of a model.*run `make reproduce`"):
        collect(runs.root)
    with pytest.raises(KitError, match="no such folder"):
        collect(runs.root / "nowhere")


def test_a_folder_of_damaged_records_names_them(runs):
    runs.write("broken", "run.json", "{")
    with pytest.raises(KitError, match=r"broken/run\.json"):
        collect(runs.root)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.json", "{nonsense"),
        ("run.json", '{"some": "other program"}'),
        ("run.json", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")),
        ("dataset.json", "[]"),
        ("teacher.json", '{"schema_version": 2}'),
    ],
)
def test_damaged_and_foreign_files_become_problems(runs, name, text):
    runs.usual().write("odd", name, text)
    problems = collect(runs.root).problems
    assert [problem.where for problem in problems] == [f"odd/{name}"]
    assert str(runs.root) not in problems[0].what
    assert "nonsense" not in problems[0].what  # what is no JSON may be anything, rows of data too


def test_a_record_whose_numbers_cannot_be_shown_becomes_a_problem(runs):
    runs.usual()
    curve = runs.train(8).series[0].model_copy(update={"y": (1.0,)})
    runs.train(8, series=(curve,))
    metric = Metric(name="auc", value=0.5, unit="1", split="test", selection="")
    path = runs.root / "odd" / "run.json"
    runs.train(9, folder="odd", metrics=(metric,))
    path.write_text(path.read_text().replace('"value": 0.5', '"value": Infinity'))
    what = {problem.where: problem.what for problem in collect(runs.root).problems}
    assert "as many are needed" in what["dlrm-seed-8/run.json"]
    assert "finite" in what["odd/run.json"]


def test_the_optimum_needs_the_very_test_file(runs):
    runs.usual()
    assert group(collect(runs.root))[0].optimum is None
    best = runs.teacher("day_2")
    assert group(collect(runs.root))[0].optimum is None
    best = runs.teacher("day_1")
    assert group(collect(runs.root))[0].optimum == best


def test_seeds_of_one_configuration_make_one_variant_and_repeats_do_not_count(runs):
    runs.usual()
    runs.train(2)
    runs.train(2, folder="again")
    runs.train(3, config={"preset": "tiny", "train": {"seed": 3, "batch_size": 128}})
    variants = group(collect(runs.root))[0].variants
    assert [[run.seed for run in variant.runs] for variant in variants] == [[1, 2], [3]]
    assert [len(variant.repeats) for variant in variants] == [1, 0]


def test_missing_damaged_and_swapped_predictions_are_problems(runs):
    runs.usual()
    for seed in (2, 3, 4):
        runs.train(seed)
    (runs.root / "dlrm-seed-2" / "predictions_test.safetensors").unlink()
    (runs.root / "dlrm-seed-3" / "predictions_test.safetensors").write_bytes(b"x")
    record = runs.train(4)
    flattered = tuple(m.model_copy(update={"value": 0.99}) if m.name == "auc" else m for m in record.metrics)
    runs.train(4, metrics=flattered)
    found = collect(runs.root)
    models = group(found)[0].models
    assert [m.entry.folder for m in models if m.predictions is None] == ["dlrm-seed-2", "dlrm-seed-3", "dlrm-seed-4"]
    what = {problem.where: problem.what for problem in found.problems}
    assert "missing" in what["dlrm-seed-2"]
    assert "SHA-256" in what["dlrm-seed-3"]
    assert "its record says 0.99000" in what["dlrm-seed-4"]


def test_models_of_other_rows_are_not_compared(runs):
    runs.usual()
    runs.label_B = ~runs.label_B
    runs.baseline("trees", runs.noisy(1.0, 3))
    found = collect(runs.root)
    group(found)
    assert ["test labels" in problem.what for problem in found.problems] == [True]


def test_records_of_speed_are_read_and_stand_in_no_way(runs):
    runs.usual()
    page = build_report(runs.root, runs.root.parent / "without.html").read_text()
    runs.record(
        "records/prepare", "bench", "bench prepare, polars", repeat="dlrm bench prepare --out DIR --rows 2000000"
    )
    found = collect(runs.root)
    assert [entry.record.command for entry in found.entries].count("bench") == 1
    assert found.problems == []
    assert build_report(runs.root, runs.root.parent / "with.html").read_text().count("<table") == page.count("<table")
