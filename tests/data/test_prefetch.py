"""Batches read ahead: the same ones, no more than asked, faults in their place, no thread left."""

import threading
import time
from contextlib import closing

import numpy as np
import pytest
import torch

from dlrm_core.data import ahead, open_part
from dlrm_core.data.prefetch import THREAD
from dlrm_core.schema.errors import KitError


@pytest.mark.parametrize("depth", [0, 1, 2, 50])
def test_ahead_gives_the_same_batches(folder, depth):
    part = open_part(folder, "train")
    order = np.random.default_rng(0).permutation(len(part))
    for arguments in ((13,), (13, order), (13, None, np.arange(-(-len(part) // 13))[::-1])):
        plain, read = list(part.batches(*arguments)), list(ahead(part.batches(*arguments), depth))
        assert len(plain) == len(read)
        for a, b in zip(plain, read, strict=True):
            assert torch.equal(a.numerical_BN, b.numerical_BN)
            assert torch.equal(a.ids_BT, b.ids_BT)
            assert torch.equal(a.label_B, b.label_B)


def threads_ahead() -> int:
    return sum(thread.name == THREAD for thread in threading.enumerate())


@pytest.mark.parametrize("depth", [1, 3])
def test_ahead_reads_no_further_than_asked_and_stops(folder, depth):
    made = []

    def batches():
        for number, batch in enumerate(open_part(folder, "train").batches(5)):
            made.append(number)
            yield batch

    with closing(ahead(batches(), depth)) as read:
        next(read)
        deadline = time.monotonic() + 5
        while len(made) < depth + 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(made) == depth + 1  # those that wait, and the one in use
        assert threads_ahead() == 1
    assert threads_ahead() == 0


def test_ahead_raises_what_reading_raises_in_its_place(folder):
    def batches():
        yield from list(open_part(folder, "train").batches(50))[:2]
        raise KitError("row 17 is damaged")

    read = ahead(batches(), 4)
    assert len([next(read), next(read)]) == 2
    with pytest.raises(KitError, match="row 17"):
        next(read)
    assert threads_ahead() == 0


def test_a_batch_is_read_while_another_is_in_use(folder):
    """Depth 1 is one batch ahead of the one in use, not that one itself."""
    second = threading.Event()

    def batches():
        for number, batch in enumerate(open_part(folder, "train").batches(50)):
            if number == 1:
                second.set()
            yield batch

    with closing(ahead(batches(), 1)) as read:
        next(read)
        assert second.wait(5)


def test_a_reader_in_trouble_does_not_hang_who_leaves(folder):
    def batches():
        yield from list(open_part(folder, "train").batches(50))[:1]
        raise KitError("nobody asks for it")

    with closing(ahead(batches(), 4)) as read:
        next(read)
    assert threads_ahead() == 0


def test_two_readers_of_one_part_do_not_meet(folder):
    part = open_part(folder, "train")
    plain = list(part.batches(11))
    with closing(ahead(part.batches(11), 3)) as one, closing(ahead(part.batches(11), 2)) as two:
        for a, b, wanted in zip(one, two, plain, strict=True):
            assert torch.equal(a.ids_BT, wanted.ids_BT)
            assert torch.equal(b.numerical_BN, wanted.numerical_BN)
