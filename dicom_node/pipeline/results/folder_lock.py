"""One writer at a time in the folder of a job's results."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = ".lock"


@contextmanager
def held_alone(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Keep others from changing a job's results meanwhile.

    Args:
        folder: Of the results.
        wait: Until another one is through.

    Raises:
        FileNotFoundError: there is no such folder.
        BlockingIOError: another one is at it, and this one does not wait.
        OSError: the folder cannot be written to.
    """
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
