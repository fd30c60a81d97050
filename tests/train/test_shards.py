"""Shards: fixed borders, fixed order, threads put back."""

import pytest
import torch

from dlrm_core.train.shards import DETERMINISTIC_SHARDS, Shards
from tests.train.builders import torch_threads


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 17, 64])
def test_pieces_cover_the_rows_in_order_whatever_the_threads(rows):
    seen = []
    for threads in (1, 2, 4):
        with Shards(deterministic=True, threads=threads) as shards:
            seen.append(shards.map(lambda a, b: (a, b), rows))
    assert seen[0] == seen[1] == seen[2]
    pieces = seen[0]
    assert len(pieces) == min(rows, DETERMINISTIC_SHARDS)
    assert [row for a, b in pieces for row in range(a, b)] == list(range(rows))
    assert max(b - a for a, b in pieces) - min(b - a for a, b in pieces) <= 1


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_every_shard_is_computed_by_one_thread(threads):
    with torch_threads(threads), Shards(deterministic=True) as shards:
        assert shards.map(lambda _a, _b: torch.get_num_threads(), 100) == [1] * DETERMINISTIC_SHARDS


def test_sums_keep_their_bits_whatever_the_threads():
    """A long sum is what torch splits among its threads: alone it would change with their number."""
    x = torch.rand(4_000_003, generator=torch.Generator().manual_seed(0))
    sharded, alone = set(), set()
    for threads in (1, 2, 4):
        with torch_threads(threads):
            alone.add(float(x.sum()))
            with Shards(deterministic=True) as shards:
                sharded.add(tuple(float(part) for part in shards.map(lambda a, b: x[a:b].sum(), len(x))))
    assert len(alone) > 1  # the check would notice
    assert len(sharded) == 1


def test_fast_mode_is_one_shard_with_all_threads():
    with torch_threads(2), Shards(deterministic=False) as shards:
        assert shards.map(lambda a, b: (a, b, torch.get_num_threads()), 100) == [(0, 100, 2)]


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_are_put_back(deterministic, threads):
    with torch_threads(3):
        with (
            Shards(deterministic=deterministic, threads=threads) as shards,
            pytest.raises(RuntimeError, match="inside"),
        ):
            shards.map(_fail, 10)
        assert torch.get_num_threads() == 3


def test_an_error_in_a_shard_comes_out():
    with Shards(deterministic=True, threads=2) as shards, pytest.raises(RuntimeError, match="inside 0"):
        shards.map(_fail, 10)


def _fail(start: int, _stop: int) -> int:
    raise RuntimeError(f"inside {start}")
