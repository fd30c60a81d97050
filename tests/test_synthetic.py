"""Synthetic rows: the same in memory and on disk, every id of every table, and a data set like any other."""

import numpy as np
import pytest
import torch

from dlrm_core.data import open_part
from dlrm_core.schema.config import SyntheticConfig, synthetic_config
from dlrm_core.schema.dataset import read_dataset
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_file
from dlrm_core.synthetic import BLOCK, synthetic_parts, write_synthetic
from dlrm_core.train.run import train
from dlrm_core.train.scoring import evaluate
from tests.train.builders import tiny_config

CONFIG = SyntheticConfig(rows=BLOCK + 1000, test_rows=700, cardinalities=(3, 200, 40_000), numerical=4, click_rate=0.3)


def test_on_disk_as_in_memory_whatever_the_batch_size(tmp_path):
    spec = write_synthetic(out=tmp_path, config=CONFIG)
    assert read_dataset(tmp_path) == spec
    parts = synthetic_parts(CONFIG)
    for made, split in ((parts.fit, "train"), (parts.stop, "test")):
        part = open_part(tmp_path, split)
        assert len(part) == len(made)
        assert np.array_equal(part.labels(), made.labels())
        for size in (999, BLOCK, 3 * BLOCK):
            for a, b in zip(part.batches(size), made.batches(size), strict=True):
                assert torch.equal(a.numerical_BN, b.numerical_BN)
                assert torch.equal(a.ids_BT, b.ids_BT)
                assert torch.equal(a.label_B, b.label_B)
    for split, described in spec.splits.items():
        assert all(sha256_file(tmp_path / split / name) == digest for name, digest in described.digests.items())


def test_every_id_occurs_not_zero_and_one_alone():
    """Quirk 10: the published synthetic ids are 0 and 1, in every table."""
    batch = synthetic_parts(CONFIG.model_copy(update={"ids": "uniform"})).fit.read(0, BLOCK)
    assert sorted(batch.ids_BT[:, 0].unique().tolist()) == [0, 1, 2]
    assert len(batch.ids_BT[:, 1].unique()) == 200
    assert 12_000 < len(batch.ids_BT[:, 2].unique()) < 14_500  # 40,000 (1 - e^-0.41) = 13,500 of 16,384 draws
    counts = batch.ids_BT[:, 1].bincount()
    assert counts.max() < 2 * counts.float().mean()
    zipf = synthetic_parts(CONFIG).fit.read(0, BLOCK).ids_BT[:, 1].bincount()
    assert zipf.max() > 20 * zipf.float().mean()


def test_no_two_batches_are_alike():
    first, second = list(synthetic_parts(CONFIG).fit.batches(500))[:2]
    assert not torch.equal(first.ids_BT, second.ids_BT)
    assert abs(float(first.label_B.mean()) - 0.3) < 5 * (0.3 * 0.7 / 500) ** 0.5


def test_seeds_differ_and_repeat():
    other = CONFIG.model_copy(update={"seed": 2})
    a, b, c = (synthetic_parts(config).fit.read(5, 50).ids_BT for config in (CONFIG, CONFIG, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_training_in_memory_and_on_disk_gives_the_same_model(tmp_path):
    write_synthetic(out=tmp_path / "DATA", config=CONFIG)
    config = tiny_config(batch_size=2048)
    memory = train(data=CONFIG, out=tmp_path / "A", config=config, preset="tiny")
    disk = train(
        data=tmp_path / "DATA", out=tmp_path / "B", config=config.model_copy(update={"max_rows": None}), preset="tiny"
    )
    assert memory.repeat.startswith("dlrm train --synthetic rows=17384 test_rows=700 cardinalities=3,200,40000 ")
    assert memory.config["synthetic"]["ids"] == "zipf"
    assert disk.outputs["mlps.safetensors"] == memory.outputs["mlps.safetensors"]
    assert evaluate(run=tmp_path / "A", data=tmp_path / "DATA").status == "finished"


def test_reshuffling_is_refused(tmp_path):
    with pytest.raises(KitError, match="reshuffle"):
        train(data=CONFIG, out=tmp_path / "A", config=tiny_config(reshuffle=True), preset="tiny")


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["rows"], "NAME=VALUE is needed"),
        (["rows=-3"], "rows"),
        (["cardinalities=3,x"], "10,20,30 or 100000x26"),
        (["cardinality=3"], "cardinality"),
        (["ids=zip"], "ids"),
        (["cardinalities=0"], "at least one row"),
    ],
)
def test_wrong_words_are_refused(words, needed):
    with pytest.raises(KitError, match=needed):
        synthetic_config(words)


def test_a_damaged_file_names_the_command_that_makes_it_again(tmp_path):
    write_synthetic(out=tmp_path, config=CONFIG)
    with (tmp_path / "train" / "label.bin").open("ab") as handle:
        handle.write(b"x")
    with pytest.raises(KitError, match="run `dlrm synthetic` again"):
        read_dataset(tmp_path)


def test_what_a_killed_command_left_is_written_over(tmp_path):
    config = SyntheticConfig(rows=50, test_rows=10, cardinalities=(3,))
    write_synthetic(out=tmp_path / "D", config=config)
    (tmp_path / "D" / "dataset.json").unlink()
    assert write_synthetic(out=tmp_path / "D", config=config).splits["train"].rows == 50
    with pytest.raises(KitError, match="prepared data set"):
        write_synthetic(out=tmp_path / "D", config=config)


def test_a_table_too_large_for_int32_ids_is_refused():
    with pytest.raises(KitError, match="the largest table has 99999999999 rows"):
        SyntheticConfig.from_dict({"cardinalities": [99999999999]}, source="synthetic data")
