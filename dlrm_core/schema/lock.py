"""One process at a time in an output folder; the lock of a dead process is gone with it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dlrm_core.schema.errors import KitError


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Hold `folder`/lock (made if need be) for the block; the kernel frees it when the process ends, however it ends.

    Raises
    ------
    KitError
        If another living process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise KitError(
                f"{folder.parent}: process {handle.read().strip() or 'unknown'} is writing there; wait for it, or use another "
                "folder"
            ) from None
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        yield
