import json

import pytest

from dlrm_core.schema.dataset import Preparation
from reports.cards.card import Card
from reports.cards.dataset_card import dataset_card
from reports.cards.origin import UNKNOWN
from reports.read.collect import collect
from reports.read.grouping import group
from tests.reports.cards.test_card import both, metadata_of
from tests.reports.cards.test_origin import download, sample
from tests.reports.conftest import ROWS, Runs, sha


def card_of(runs: Runs, number: int = 0) -> Card:
    collection = collect(runs.root)
    return dataset_card(group(collection)[number], collection)


def prepared(runs: Runs, **config) -> None:
    repeat = "dlrm prepare --train day_0 --test day_1 --out DATA"
    runs.record("data", "prepare", "data", config=config, dataset_digest=runs.digest, repeat=repeat)


def test_the_card_of_a_planted_sample(runs):
    runs.usual()
    sample(runs, "day_0", "day_1")
    prepared(runs, train=["day_0"], test=["day_1"], engine="polars")
    card = card_of(runs)
    text = both(card)
    assert card.title == f"Planted sample {runs.digest[:12]}"
    assert metadata_of(card)["license"] == "apache-2.0"
    assert metadata_of(card)["size_categories"] == ["10K<n<100K"]
    assert "Apache-2.0" in text
    assert "no person stands behind any of them" in text
    assert "unknown" not in text
    for told in (
        "9,000",
        "900",
        f"{ROWS:,}",
        "1,234",
        runs.digest,
        sha("day_0"),
        sha("label day_1"),
        sha("vocabulary"),
    ):
        assert told in text
    assert "I1, I2" in text
    assert "DLRM, preset tiny" in text
    assert "dlrm sample --out DIR dlrm prepare --train day_0 --test day_1 --out DATA" in text


def test_the_generator_is_described_where_it_left_its_record(runs):
    runs.usual()
    sample(runs, "day_0", "day_1")
    assert "2020" not in both(card_of(runs))
    best = runs.teacher("day_1")
    text = both(card_of(runs))
    assert "generator version 1 seed 2020" in text
    assert f"AUC {best.best_auc:.5f}, log loss {best.best_log_loss:.5f} nat" in text


def test_an_unknown_source_is_called_unknown(runs):
    runs.usual()
    card = card_of(runs)
    assert UNKNOWN in both(card)
    assert metadata_of(card)["license"] == "unknown"
    assert "Criteo format. No record tells where these files come from" in both(card)
    assert "CC BY-NC-SA" not in card.markdown
    assert "Apache" not in card.markdown
    assert "vocabulary.parquet" in card.markdown


def test_a_download_names_its_licence(runs):
    runs.usual()
    download(runs, "criteo_1tb_gz", "day_0", "day_1")
    text = both(card_of(runs))
    assert UNKNOWN not in text
    assert "CC BY-NC-SA 4.0" in text
    assert "https://creativecommons.org/licenses/by-nc-sa/4.0/" in text
    assert "categories are hashed" in text
    assert "dlrm download" in text


def test_a_table_of_ones_own_tells_its_columns_and_leaves_terms_to_its_owner(runs):
    runs.usual()
    table = {"label": "clicked|really", "numerical": ["price"], "categorical": ["<city>"]}
    prepared(runs, table=table, whole=["mine.csv"])
    card = card_of(runs)
    text = both(card)
    assert metadata_of(card)["tags"][-1] == "origin-table"
    assert UNKNOWN in text
    assert "clicked|really" in text
    assert "<city>" not in card.html
    assert "the last seventh of all rows is the test part" in text
    assert "cannot tell whether the raw rows hold personal data" in text


def test_halves_are_told_apart(runs):
    runs.usual()
    prepared(runs, train=["day_0"], halve=["day_1"])
    assert "the first half of day_1 is the test part, the second the validation part" in both(card_of(runs))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (Preparation(frequency_limit=7), "for an id of its own 7"),
        (Preparation(column_limits={"C2": 3}), "C2 3"),
        (Preparation(vocabulary="all"), "scores on them may be too good"),
        (Preparation(shuffle_seed=77), "shuffle seed 77"),
        (Preparation(numerical_transform="none"), "numerical transform none"),
    ],
)
def test_choices_of_the_preparation_are_told(runs, change, told):
    runs.usual()
    assert told not in both(card_of(runs))
    runs.write("data", "dataset.json", runs.dataset().model_copy(update={"preparation": change}).to_json())
    assert told in both(card_of(runs))


def numbers(node):
    """Every whole number of a JSON document, with a way to change it."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, (dict, list)):
            yield from numbers(value)
        elif type(value) is int and key not in ("schema_version",):
            yield node, key


def test_every_number_of_the_description_decides_the_card(runs):
    runs.usual()
    document = json.loads(runs.dataset().to_json())
    first = card_of(runs)
    found = [(node, key) for node, key in numbers(document) if key != "shuffle_seed" or "rows" not in node]
    assert len(found) > 10
    for node, key in found:
        node[key] += 1
        runs.write("data", "dataset.json", json.dumps(document))
        changed = card_of(runs)
        node[key] -= 1
        assert changed.markdown != first.markdown, key
        assert changed.html != first.html, key


def test_without_dataset_json_the_card_says_so(runs):
    runs.train(1)
    text = both(card_of(runs))
    assert "Nothing but the digest is known" in text
    assert runs.digest in text
    assert UNKNOWN in text


def test_no_digest_at_all(runs):
    runs.train(1, dataset_digest=None)
    card = card_of(runs)
    assert card.title == "Unknown data set"
    assert "none recorded" in both(card)


def test_two_data_sets_have_two_files(runs):
    runs.usual()
    other = Runs(runs.root, data_seed=1)
    other.dataset("data-2")
    other.train(1, folder="other")
    assert len({card_of(runs, number).file for number in (0, 1)}) == 2


def test_the_same_records_give_the_same_bytes_and_no_folder_of_the_machine(runs):
    runs.usual()
    prepared(runs, train=["day_0"])
    card = card_of(runs)
    assert card == card_of(runs)
    assert str(runs.root) not in card.markdown + card.html
