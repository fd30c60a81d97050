import os
import subprocess
import sys

import pytest

# `report` of a folder that is not there loads no torch; what the library takes from the environment stands there before.
SHOW = """
import os, sys
from dlrm_core.cli import main
main(sys.argv[1:])
print(os.environ.get("OMP_WAIT_POLICY"), "torch" in sys.modules)
"""
NOTHING = "a-folder-that-is-not-there"


@pytest.mark.parametrize(
    ("argv", "environment", "found"),
    [
        (["report", "--runs", NOTHING, "--out", "x.html"], {}, "PASSIVE False"),
        (["report", "--runs", NOTHING, "--out", "x.html"], {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE False"),
        (["bench", "prepare", "--out", "/dev/null/x"], {}, "None False"),
    ],
)
def test_threads_that_wait_sleep_unless_the_user_says_otherwise_or_others_are_measured(
    argv, environment, found, tmp_path
):
    clean = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-c", SHOW, *argv]
    done = subprocess.run(command, env=clean | environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == found
