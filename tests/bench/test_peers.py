"""Names of sides, and what is said where one is absent."""

import sys

import pytest

from dlrm_core.bench.peers import resolve
from dlrm_core.schema.errors import KitError


def test_sides_in_order(tmp_path):
    sides = resolve(["pytorch-onednn", "pytorch"], ["auto", "deterministic"], tmp_path)
    assert [side.name for side in sides] == ["ours:auto", "ours:deterministic", "pytorch-onednn", "pytorch"]
    assert [side.is_fp32 for side in sides] == [False, True, True, True]
    assert {side.python for side in sides} == {sys.executable}


def test_an_absent_peer_is_named_with_its_command(tmp_path):
    with pytest.raises(KitError, match=r"absent are torchrec .*make .venv-peers/.installed"):
        resolve(["torchrec", "pytorch"], ["fp32"], tmp_path)


def test_a_peer_that_is_there_runs_with_its_own_python(tmp_path):
    folder = tmp_path / ".venv-peers"
    for package in ("torchrec", "fbgemm_gpu"):
        (folder / "lib" / "python3.11" / "site-packages" / package).mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").touch()
    assert resolve(["torchrec"], ["fp32"], tmp_path)[1].python == str(folder / "bin" / "python")


@pytest.mark.parametrize(
    ("against", "precisions", "said"),
    [
        (["fuxi"], ["fp32"], "--against: fuxi came; some of torchrec, pytorch"),
        (["pytorch"], ["fp8"], "--precision: fp8 came; some of auto, fp32"),
        (["pytorch", "pytorch"], ["fp32"], "each once"),
        ([], ["fp32"], "nothing came"),
    ],
)
def test_refused(tmp_path, against, precisions, said):
    with pytest.raises(KitError, match=said):
        resolve(against, precisions, tmp_path)


def test_no_compiler_is_an_error_that_names_one(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(KitError, match=r"absent are torchrec .*; pytorch-bf16-compile .*apt-get install g\+\+"):
        resolve(["torchrec", "pytorch", "pytorch-bf16-compile"], ["fp32"], tmp_path)
