import numpy as np
import pytest

from dlrm_core.metrics import row_log_loss
from dlrm_core.schema.config import TrainConfig
from dlrm_core.schema.record import RunRecord
from reports.cards.card import Card
from reports.cards.model_card import model_card
from reports.cards.model_scores import log_loss_interval
from reports.cards.origin import UNKNOWN
from reports.read.collect import collect
from reports.read.grouping import group
from reports.read.predictions import Predictions
from reports.stats.statistics import auc_interval
from tests.reports.cards.test_card import both, metadata_of
from tests.reports.cards.test_origin import download, sample
from tests.reports.conftest import ENVIRONMENT, ROWS, Runs, sha

SHAPE = {"model": {"embedding_dim": 4, "bottom_mlp_sizes": [6, 4], "top_mlp_sizes": [5, 1]}}


def trained(runs: Runs, seed: int, **fields) -> RunRecord:
    config = TrainConfig.from_dict(SHAPE | fields.pop("change", {}), source="a test").model_dump(mode="json")
    return runs.train(seed, config={"preset": "tiny", "train": config | {"seed": seed}}, **fields)


def card_of(runs: Runs, number: int = 0) -> Card:
    collection = collect(runs.root)
    (only,) = group(collection)
    return model_card(only, only.variants[number], collection)


@pytest.fixture
def usual(runs) -> Runs:
    """A data set, two baselines, one run of the DLRM with a whole configuration."""
    runs.dataset()
    runs.baseline("constant", np.full(ROWS, -1.0, np.float32))
    runs.baseline("logistic", runs.noisy(1.5, 99))
    trained(runs, 1)
    return runs


def test_the_card_tells_what_was_trained_on_what_and_how_good_it_is(usual):
    record = trained(usual, 1, timings_s={"total": 77.125, "train": 66.5})
    text = both(card_of(usual))
    score = {m.name: m.value for m in record.metrics}
    told = [
        f"{score['auc']:.5f}",
        f"{score['log_loss']:.5f}",
        f"{score['mean_prediction'] / score['click_rate']:.3f}",
        "2 → 6 → 4",
        "1,241 rows of 4",
        "4,964",
        "chosen somehow",
        "77.125",
        "66.500",
        "9,000",
        "stopping rows the last tenth",
        "model.bottom_mlp_sizes [6, 4]",
        usual.digest,
        ENVIRONMENT.source_digest,
        ENVIRONMENT.git_commit,
        record.outputs["predictions_test.safetensors"],
        "a processor",
        "torch 2.11.0",
        "Not run on a GPU",
        record.repeat,
    ]
    assert [each for each in told if each not in text] == []
    for section in ("Intended use", "Out-of-scope use", "Caveats", "Licence of the weights"):
        assert section in text
    assert "Decisions about people" in text
    assert "uncommitted changes" in text
    assert "hold no date" in text


def test_intervals_are_those_of_the_predictions(usual):
    predictions = Predictions(usual.label_B, usual.noisy(0.5, 1))
    text = both(card_of(usual))
    for interval in (auc_interval(predictions), log_loss_interval(predictions)):
        assert f"{interval.low:.5f} to {interval.high:.5f}" in text


def test_the_interval_of_the_log_loss_is_the_normal_one_of_the_mean(usual):
    predictions = Predictions(usual.label_B, usual.noisy(0.5, 1))
    loss_B = row_log_loss(predictions.label_B, predictions.logit_B)
    reach = 1.959964 * loss_B.std(ddof=1) / np.sqrt(ROWS)
    found = log_loss_interval(predictions)
    assert (found.value, found.low, found.high) == pytest.approx(
        (loss_B.mean(), loss_B.mean() - reach, loss_B.mean() + reach), abs=1e-7
    )


@pytest.mark.parametrize(("noise", "word"), [(0.2, "clearly better"), (3.0, "worse")])
def test_the_verdict_beside_baselines_follows_the_data(usual, noise, word):
    trained(usual, 1, noise=noise)
    assert f"logistic {word} {word} 1" in both(card_of(usual))


def test_without_predictions_scores_stay_and_intervals_go(usual):
    record = trained(usual, 1)
    (usual.root / "dlrm-seed-1" / "predictions_test.safetensors").unlink()
    text = both(card_of(usual))
    assert f"{record.metric('auc', 'test').value:.5f}" in text
    assert text.count("no sound predictions beside the record") == 2
    assert "nothing is compared" in text
    assert "clearly better" not in text


def test_several_seeds_have_a_mean_and_an_interval(usual):
    assert "One seed" in both(card_of(usual))
    records = [trained(usual, 1), trained(usual, 2)]
    assert "too few seeds" in both(card_of(usual))
    records.append(trained(usual, 3))
    card = card_of(usual)
    text = both(card)
    mean = np.mean([record.metric("auc", "test").value for record in records])
    assert f"AUC 3 {mean:.5f}" in text
    assert "too few seeds" not in text
    assert "One seed" not in text
    metrics = metadata_of(card)["model-index"][0]["results"][0]["metrics"]
    assert metrics[0] == {
        "type": "roc_auc",
        "name": "test AUC, mean over seeds",
        "value": pytest.approx(mean, abs=1e-5),
    }
    assert "seed 1, seed 2, seed 3" not in text  # what all runs share stands once, as that of all
    assert "all a processor 2" in text


def test_a_repeat_of_a_seed_is_named_by_its_folder_and_not_counted(usual):
    trained(usual, 1, folder="again")  # comes first in the order of folders
    text = both(card_of(usual))
    assert "seed 1 (dlrm-seed-1)" in text
    assert "One seed" in text
    records = [trained(usual, seed, folder=f"first-{seed}") for seed in (1, 2)]
    trained(usual, 1, noise=3.0, folder="second")
    mean = np.mean([record.metric("auc", "test").value for record in records])
    text = both(card_of(usual))
    assert f"AUC 2 {mean:.5f}" in text
    assert "A run whose seed stands in an earlier run is not counted here" in text


def test_the_optimum_is_a_limit_of_the_planted_sample(usual):
    assert "is unknown" in both(card_of(usual))
    best = usual.teacher("day_1")
    text = both(card_of(usual))
    way = (trained(usual, 1).metric("auc", "test").value - 0.5) / (best.best_auc - 0.5)
    assert f"{best.best_auc:.5f} {best.best_log_loss:.5f} 100.0 %" in text
    assert f"{100 * way:.1f} %" in text


def test_the_licence_of_the_weights_is_that_of_the_data(usual):
    card = card_of(usual)
    assert UNKNOWN in both(card)
    assert metadata_of(card)["license"] == "unknown"
    assert "datasets" not in metadata_of(card)
    download(usual, "criteo_1tb", "day_0", "day_1")
    card = card_of(usual)
    assert UNKNOWN not in both(card)
    assert "standing under the data's terms: CC BY-NC-SA 4.0" in both(card)
    assert metadata_of(card)["license"] == "cc-by-nc-sa-4.0"
    assert metadata_of(card)["datasets"] == ["criteo/CriteoClickLogs"]


def test_weights_of_the_planted_sample(usual):
    sample(usual, "day_0", "day_1")
    text = both(card_of(usual))
    assert "standing under the data's terms: Apache-2.0" in text
    assert "No person stands behind any row" in text
    assert "make reproduce PRESET=tiny" in text


def test_a_kaggle_download_has_terms_of_its_own(usual):
    download(usual, "criteo_kaggle", "day_0", "day_1")
    metadata = metadata_of(card_of(usual))
    assert metadata["license"] == "other"
    assert metadata["license_link"].startswith("https://ailab.criteo.com/")


def test_runs_without_scores_are_told(usual):
    trained(usual, 2, status="failed", reason="loss is nan at step 40", metrics=())
    trained(usual, 3, change={"batch_size": 17}, status="failed", reason="of another configuration", metrics=())
    text = both(card_of(usual))
    assert "The run in dlrm-seed-2 of the same configuration has no scores (failed: loss is nan at step 40)" in text
    assert "of another configuration" not in text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"deterministic": False}, "Not in deterministic mode"),
        ({"batch_size": 17}, "batch_size 17"),
        ({"model": {"embedding_dim": 8, "bottom_mlp_sizes": [8], "top_mlp_sizes": [1]}}, "1,241 rows of 8"),
    ],
)
def test_the_configuration_decides_the_card(usual, change, told):
    assert told not in both(card_of(usual))
    trained(usual, 1, change=change)
    assert told in both(card_of(usual))


@pytest.mark.parametrize(
    "change",
    [
        {"cores": 3},
        {"memory_bytes": 9 << 30},
        {"processor": "another"},
        {"git_commit": "d00d"},
        {"source_digest": sha("others")},
        {"gpus": ("NVIDIA H200",)},
        {"packages": {"torch": "2.99"}},
        {"git_dirty": False},
    ],
)
def test_the_environment_decides_the_card(usual, change):
    before = card_of(usual)
    trained(usual, 1, environment=ENVIRONMENT.model_copy(update=change))
    assert card_of(usual).markdown != before.markdown


@pytest.mark.parametrize("name", ["auc", "log_loss", "mean_prediction", "click_rate", "rows"])
def test_every_score_of_the_record_decides_the_card(usual, name):
    record, before = trained(usual, 1), card_of(usual)
    metrics = tuple(m.model_copy(update={"value": m.value * 1.125}) if m.name == name else m for m in record.metrics)
    trained(usual, 1, metrics=metrics)
    assert card_of(usual).markdown != before.markdown
    assert card_of(usual).html != before.html


def test_a_partial_configuration_is_no_reason_to_have_no_card(runs):
    runs.usual()
    text = both(card_of(runs))
    assert "Layers and parameters cannot be counted with this version of the kit" in text
    assert "does not say whether the mode was deterministic" in text


def test_a_run_without_configuration_or_data_has_a_card(runs):
    runs.train(1, config={}, choices={}, timings_s={}, dataset_digest=None)
    text = both(card_of(runs))
    assert "The records hold no training configuration" in text
    assert "do not say which implementation ran" in text
    assert UNKNOWN in text


def test_what_the_records_say_is_escaped(usual):
    nasty = "<script>alert(1)</script> a|b"
    trained(usual, 1, choices={"precision": nasty}, repeat="dlrm train --data '/home/somebody/DATA' --out '<b>'")
    usual.baseline("logistic|<i>", usual.noisy(1.0, 4))
    card = card_of(usual)
    text = both(card)
    assert nasty in text
    assert "logistic|<i>" in text
    assert "<script" not in card.html
    assert "<i>" not in card.html
    assert "somebody" not in card.html + card.markdown


def test_variants_of_one_data_set_have_files_of_their_own(usual):
    trained(usual, 2, change={"batch_size": 17})
    cards = [card_of(usual, 0), card_of(usual, 1)]
    assert len({card.file for card in cards}) == len({card.title for card in cards}) == 2


def test_the_same_records_give_the_same_bytes(usual):
    assert card_of(usual) == card_of(usual)
    assert str(usual.root) not in card_of(usual).markdown + card_of(usual).html
