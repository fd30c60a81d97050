"""How fast memory is copied: a gauge of the machine, and the bandwidth that a roofline needs."""

import time

import numpy as np

COPY_BYTES = 2**28  # read, and as many written


def copy_s() -> float:
    """Seconds of one copy of 256 MiB within memory, into pages that are there already."""
    source = np.ones(COPY_BYTES // 8)
    target = np.empty_like(source)
    np.copyto(target, source)
    start = time.perf_counter()
    np.copyto(target, source)
    return time.perf_counter() - start
