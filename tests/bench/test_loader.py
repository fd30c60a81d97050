"""The loader's benchmark on a small data set, and what its measurements would notice."""

import os

import pytest

from dlrm_core.bench import copy_gauge, loader
from dlrm_core.bench.loader import Case, bench_loader
from dlrm_core.data import open_part
from dlrm_core.schema.progress import silent
from dlrm_core.schema.record import read_record
from tests.train.builders import write_dataset

ROW_BYTES = 1 + 2 * 4 + 1 + 2 + 1  # label, numericals, the three columns of ids


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loader")
    write_dataset(folder / "DATA")
    with pytest.MonkeyPatch.context() as patch:  # a process that imports torch takes its time, and has its own test
        patch.setattr(copy_gauge, "COPY_BYTES", 1 << 20)
        patch.setattr(loader, "_in_own_process", lambda function, *arguments: function(*arguments))
        made = bench_loader(data=folder / "DATA", out=folder / "B", batch_sizes=[7, 64], depths=[0, 3], rounds=2)
    assert made == read_record(folder / "B")
    return made


def test_every_size_and_depth_has_its_figures(record):
    figures = ["", ", of its files", ", of the plain read", ", peak memory"]
    cases = [f"batch {size}, depth {depth}{figure}" for size in (7, 64) for depth in (0, 3) for figure in figures]
    assert [metric.name for metric in record.metrics] == ["gauge", "plain read", *cases]
    assert all(metric.value >= 0 for metric in record.metrics)
    assert "median of 2 rounds" in record.metric("batch 64, depth 3", "train").selection


def test_bytes_are_those_of_the_files(record):
    rows = record.metric("batch 64, depth 3", "train").value
    assert record.metric("batch 64, depth 3, of its files", "train").value == pytest.approx(rows * ROW_BYTES)


def test_the_part_of_the_plain_read_is_that_of_the_same_rounds(record):
    """With two rounds the median of the ratios is their mean, so that it lies between those of best and worst round."""
    plain, case = (record.metric(name, "train").selection for name in ("plain read", "batch 64, depth 0, of its files"))
    (slow, fast), (low, high) = (
        [float(word) for word in words.split("rounds, ")[1].split(" to ")] for words in (plain, case)
    )
    assert low / fast <= record.metric("batch 64, depth 0, of the plain read", "train").value * 1.001
    assert record.metric("batch 64, depth 0, of the plain read", "train").value <= high / slow * 1.001


def test_the_first_round_is_not_counted_and_directions_alternate(tmp_path, monkeypatch):
    write_dataset(tmp_path)
    told, sides = [], ["gauge", "plain read", Case(1, 0), Case(2, 0)]
    monkeypatch.setattr(loader, "copy_s", lambda: told.append(sides[0]) or float(len(told)))
    monkeypatch.setattr(loader, "_plain_s", lambda *_: told.append(sides[1]) or float(len(told)))
    monkeypatch.setattr(loader, "_read_s", lambda _, case: told.append(case) or float(len(told)))
    seconds = loader._measure(sides, tmp_path, open_part(tmp_path, "train"), 2, silent)
    assert told == [*sides[::-1], *sides, *sides[::-1]]
    assert list(seconds.values()) == [[[5.0], [12.0]], [[6.0], [11.0]], [[7.0], [10.0]], [[8.0], [9.0]]]


@pytest.mark.parametrize("rows", [230, 57])
def test_the_plain_read_reads_every_byte_of_the_rows_and_no_more(tmp_path, monkeypatch, rows):
    write_dataset(tmp_path)
    read, preadv = [], os.preadv
    monkeypatch.setattr(loader, "PLAIN_BYTES", 100)
    monkeypatch.setattr(os, "preadv", lambda *arguments: read.append(preadv(*arguments)) or read[-1])
    assert loader._plain_s(tmp_path, loader._part(tmp_path, rows)) > 0
    assert sum(read) == rows * ROW_BYTES
    assert max(read) <= 100


def test_peak_memory_is_that_of_the_batches_that_are_held(tmp_path):
    """One batch of all rows: its tensors at least, a few times as much with what it is made from."""
    rows = 400_000
    write_dataset(tmp_path, train=rows, holdback=0)
    before, peak = loader._in_own_process(loader._resident_bytes, Case(rows, 0), tmp_path, rows)
    batch_bytes = rows * (4 * 4 + 3 * 8 + 4)
    assert batch_bytes < peak - before < 4 * batch_bytes


def test_memory_is_that_of_another_process():
    assert loader._in_own_process(os.getpid) != os.getpid()
