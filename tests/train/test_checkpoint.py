"""Weights on disk: the same bytes wherever they are written, and nothing but a whole file is read."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dlrm_core.schema.dataset import read_dataset
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_file
from dlrm_core.train.checkpoint import MLPS, TABLES, build_model, check_weights, load_model, save_model
from tests.train.builders import CARDINALITIES, tiny_config


def saved(data: Path, folder: Path, seed: int = 1) -> dict[str, str]:
    folder.mkdir()
    spec = read_dataset(data)
    return save_model(build_model(tiny_config().model, spec, seed), spec, folder)


def header(path: Path) -> dict[str, object]:
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length])


def test_same_bytes_in_two_folders_and_only_final_files(data, tmp_path):
    first, second = saved(data, tmp_path / "one"), saved(data, tmp_path / "another with a longer name")
    assert first == second == {name: sha256_file(tmp_path / "one" / name) for name in (MLPS, TABLES)}
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == [MLPS, TABLES]
    assert saved(data, tmp_path / "other seed", seed=2) != first


def test_no_metadata_and_names_of_features(data, tmp_path):
    saved(data, tmp_path / "run")
    assert "__metadata__" not in header(tmp_path / "run" / MLPS)
    tables = header(tmp_path / "run" / TABLES)
    assert list(tables) == ["C0", "C1", "C2"]
    assert {name: tuple(t.shape) for name, t in load_file(tmp_path / "run" / TABLES).items()} == {
        f"C{i}": (n, 6) for i, n in enumerate(CARDINALITIES)
    }


def test_loads_what_was_saved(data, tmp_path):
    spec, config = read_dataset(data), tiny_config().model
    model = build_model(config, spec, 7)
    tmp_path.joinpath("run").mkdir()
    save_model(model, spec, tmp_path / "run")
    loaded = load_model(tmp_path / "run", config, spec)
    assert all(torch.equal(t, loaded.state_dict()[n]) for n, t in model.state_dict().items())


@pytest.mark.parametrize("name", [MLPS, TABLES])
@pytest.mark.parametrize("fault", ["missing", "truncated", "empty", "text", "shape", "names", "folder"])
def test_a_wrong_file_is_refused_by_name(data, tmp_path, name, fault):
    run = tmp_path / "run"
    saved(data, run)
    path = run / name
    tensors = load_file(path)
    if fault in ("missing", "folder"):
        path.unlink()
    if fault == "folder":
        path.mkdir()
    elif fault == "truncated":
        path.write_bytes(path.read_bytes()[:-8])
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "text":
        path.write_text("not safetensors at all")
    elif fault == "shape":
        key = next(iter(tensors))
        save_file(tensors | {key: torch.zeros(3, 3)}, path)
    elif fault == "names":
        save_file(dict(list(tensors.items())[1:]), path)
    with pytest.raises(KitError, match=name) as caught:
        load_model(run, tiny_config().model, read_dataset(data))
    assert "\n" not in str(caught.value)


def test_weights_of_the_record_are_let_through(data, tmp_path):
    digests = saved(data, tmp_path / "run")
    check_weights(tmp_path / "run", digests | {"predictions_test.safetensors": "0" * 64})


@pytest.mark.parametrize("name", [MLPS, TABLES])
@pytest.mark.parametrize("fault", ["missing", "flipped", "another model's"])
def test_other_bytes_than_the_record_tells_are_refused_by_name(data, tmp_path, name, fault):
    digests = saved(data, tmp_path / "run")
    path = tmp_path / "run" / name
    raw = bytearray(path.read_bytes())
    path.unlink()
    if fault == "flipped":
        raw[-1] ^= 1
        path.write_bytes(raw)
    elif fault == "another model's":
        saved(data, tmp_path / "other", seed=2)
        (tmp_path / "other" / name).rename(path)
    with pytest.raises(KitError, match=rf"{name}: (is missing|has SHA-256 \w+.*{digests[name][:12]}).*train"):
        check_weights(tmp_path / "run", digests)
