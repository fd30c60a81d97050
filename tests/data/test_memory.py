"""Memory of a reader is bounded, whatever the size of the data set."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlrm_core.schema.dataset import DatasetSpec, read_dataset
from tests.train.builders import write_dataset

ROWS = 1_200_000
DATASET_BYTES = 200 << 20
MOST_BYTES = 64 << 20

# Reads every row in each of the ways, and says how many bytes the process came to hold at most beyond those it held before.
READ = """
import json, sys
from pathlib import Path
import numpy as np
from dlrm_core.data import ahead, open_part

def status(name):
    (line,) = [line for line in open("/proc/self/status") if line.startswith(name + ":")]
    return int(line.split()[1]) * 1024

def read(*order):
    assert sum(len(batch) for batch in ahead(part.batches(2048, *order), 4)) == len(part)

def keep_pages():
    maps = [np.memmap(path, mode="r") for path in (folder / "train").iterdir()]
    assert not sum(int(pages[::4096].sum()) for pages in maps)

folder = Path(sys.argv[1])
part, generator = open_part(folder, "train"), np.random.default_rng(0)
order, batch_order = generator.permutation(len(part)), generator.permutation(-(-len(part) // 2048))
part.read(0, 1)
before, peaks = status("VmRSS"), {}
for way, work in {
    "disk": read, "batches": lambda: read(None, batch_order), "rows": lambda: read(order), "map": keep_pages
}.items():
    work()
    peaks[way] = status("VmHWM") - before
print(json.dumps(peaks))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """A data set of zeros, which take no place on disk and a page of memory each once they are read."""
    folder = tmp_path_factory.mktemp("large")
    write_dataset(folder, train=0, test=0, cardinalities=(40_000,) * 26, num_numerical=40)
    spec = read_dataset(folder)
    train = spec.splits["train"].model_copy(update={"rows": ROWS})
    splits = {**spec.splits, "train": train}
    digest = DatasetSpec.digest_of(spec.categorical, spec.preparation, spec.vocabulary_digest, splits)
    (folder / "dataset.json").write_text(spec.model_copy(update={"splits": splits, "digest": digest}).to_json())
    for file, row_bytes in spec.row_bytes().items():
        os.truncate(folder / "train" / file, ROWS * row_bytes)
    assert sum(path.stat().st_size for path in (folder / "train").iterdir()) > DATASET_BYTES
    return folder


@pytest.fixture(scope="module")
def peak_bytes(large) -> dict[str, int]:
    """What READ says."""
    ran = subprocess.run([sys.executable, "-c", READ, str(large)], capture_output=True, text=True, check=True)
    peaks: dict[str, int] = json.loads(ran.stdout)
    return peaks


@pytest.mark.parametrize("way", ["disk", "batches", "rows"])
def test_peak_memory_is_far_below_the_size_of_the_data_set(peak_bytes, way):
    """In the order on disk, of batches and of rows, with batches waiting."""
    assert peak_bytes[way] < MOST_BYTES


def test_a_map_that_keeps_its_pages_would_be_refused(peak_bytes):
    assert peak_bytes["map"] > DATASET_BYTES > 3 * MOST_BYTES
