"""Whole runs in processes of 1, 2 and 4 threads, of a size at which torch splits its work: the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlrm_core.train.checkpoint import MLPS, TABLES
from tests.train.builders import tiny_config, write_dataset

ROOT = Path(__file__).resolve().parents[2]
# Odd sizes, so that no border between threads falls on one of the vector instructions. The joint table has 157,743
# numbers, the largest layer 156,468; torch splits elementwise work from 32,768 on.
CARDINALITIES = (9001, 240, 38)
MODEL = {"embedding_dim": 17, "bottom_mlp_sizes": [301, 17], "top_mlp_sizes": [378, 414, 1]}
BATCH = 2303

PROGRAM = """
import json, sys
from pathlib import Path
import torch
from dlrm_core.schema.config import TrainConfig
from dlrm_core.train.run import train
from dlrm_core.train.scoring import evaluate

work, configurations = Path(sys.argv[1]), json.loads(sys.argv[2])
torch.set_num_threads(int(sys.argv[4]))  # MKL would not go beyond the cores of the machine
found = {"threads": torch.get_num_threads()}
for name, values in configurations.items():
    config = TrainConfig.from_dict(values, source="the test")
    train(data=work / "DATA", out=work / sys.argv[3] / name, config=config, preset="tiny")
    found[name] = evaluate(run=work / sys.argv[3] / name, data=work / "DATA").outputs
print(json.dumps(found))
"""


def configurations() -> dict[str, Any]:
    common: dict[str, Any] = {
        "model": MODEL,
        "batch_size": BATCH,
        "test_batch_size": BATCH,
        "schedule": {"warmup_steps": 0, "decay_start_step": None, "decay_steps": 0},
    }
    mixed = {
        "model": MODEL | {"dropout": 0.1},
        "mlps": {"name": "adam", "lr": 0.01, "decoupled_decay": 0.5},
        "tables": {"name": "adagrad", "lr": 0.05, "weight_decay": 1e-4, "dense_decay": 1e-3},
        "reshuffle": True,
        "standardize": True,
        "average_decay": 0.9,
    }
    asked = {"sgd": {}, "adam and adagrad": mixed}
    return {name: tiny_config(**(common | changes)).model_dump(mode="json") for name, changes in asked.items()}


def start(work: Path, threads: int, out: str) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", PROGRAM, str(work), json.dumps(configurations()), out, str(threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_weights_and_predictions_have_the_same_bits_for_any_threads_and_a_repeat(tmp_path):
    write_dataset(tmp_path / "DATA", train=3 * BATCH, test=BATCH + 200, cardinalities=CARDINALITIES)
    threads = (1, 2, 4, 4)
    runs = [start(tmp_path, count, str(place)) for place, count in enumerate(threads)]
    found = []
    for run in runs:
        out, err = run.communicate(timeout=300)
        assert run.returncode == 0, err
        found.append(json.loads(out))
    assert [one.pop("threads") for one in found] == list(threads)
    assert all(one == found[0] for one in found[1:])
    for outputs in found[0].values():
        assert set(outputs) == {MLPS, TABLES, "predictions_test.safetensors"}
    digests = [digest for outputs in found[0].values() for digest in outputs.values()]
    assert len(set(digests)) == len(digests)
