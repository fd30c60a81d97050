import hashlib
import subprocess
import sys
from importlib import metadata

import pytest

from dlrm_core.schema.environment import Environment, describe_environment, project_root, source_digest


def test_what_a_run_was_made_on():
    made = describe_environment()
    assert made.python == ".".join(map(str, sys.version_info[:3]))
    assert made.packages["numpy"] == metadata.version("numpy")
    assert made.packages["torch"] == metadata.version("torch")
    assert made.cores >= 1
    assert made.memory_bytes > 1 << 28
    assert len(made.source_digest) == 64
    assert Environment.from_json(made.to_json(), source="x") == made


def test_commit_is_that_of_the_checkout():
    root = project_root()
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    assert describe_environment().git_commit == head.stdout.strip()
    assert describe_environment().git_dirty in (True, False)


def test_source_digest_is_names_and_bytes_of_the_sources():
    root = project_root()
    wanted = hashlib.sha256()
    paths = [p for p in (root / "dlrm_core/schema").rglob("*") if p.suffix in (".py", ".yaml")]
    for path in sorted(paths):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        wanted.update(f"{path.relative_to(root).as_posix()}\0{digest}\n".encode())
    assert source_digest(("dlrm_core/schema",)) == wanted.hexdigest()


def test_rooms_and_single_files_have_digests_of_their_own():
    digests = {source_digest(rooms) for rooms in [("data_prep",), ("dlrm_core",), ("dlrm_core/metrics.py",)]}
    assert len(digests) == 3


def test_a_room_that_does_not_exist_is_an_error():
    # Its digest would never change: a stage that depends on it would never run again.
    with pytest.raises((ValueError, OSError, AssertionError), match="no_such_room"):
        source_digest(("no_such_room",))
