"""The loader's benchmark on a small data set."""

from dlrm_core.bench.loader import bench_loader
from dlrm_core.schema.record import read_record
from tests.train.builders import write_dataset


def test_every_size_and_depth_has_its_figure(tmp_path):
    write_dataset(tmp_path / "DATA")
    record = bench_loader(data=tmp_path / "DATA", out=tmp_path / "B", batch_sizes=[7, 64], depths=[0, 3], rounds=2)
    assert record == read_record(tmp_path / "B")
    names = [metric.name for metric in record.metrics]
    assert sorted(names) == sorted(
        ["gauge", "peak memory", *(f"batch {size}, depth {depth}" for size in (7, 64) for depth in (0, 3))]
    )
    assert all(metric.value > 0 for metric in record.metrics)
    assert "median of 2 rounds" in record.metric("batch 7, depth 3", "train").selection
