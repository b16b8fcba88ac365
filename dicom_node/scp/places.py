"""How many associations are open on the node, over all receiver processes, as locks that the kernel takes back when one dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Sequence
from pathlib import Path

_FLOCK = struct.Struct("hhqqi")


class Places:
    """Counters with a fixed number of places each; a place is one locked byte of the counter's file.

    Open file description locks belong to the descriptor: two associations of one process do not share them, and a killed process
    keeps none.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder of the counters' files; it exists."""
        self._folder = folder

    def take(self, counters: Sequence[tuple[str, int]]) -> Taken | None:
        """Take one place in each counter; None if one of them is full.

        Args:
            counters: Name, safe as part of a file name, and number of places.
        """
        descriptors: list[int] = []
        for name, number in counters:
            descriptor = os.open(self._folder / f"associations-{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            descriptors.append(descriptor)
            if not any(_lock(descriptor, place) for place in range(number)):
                Taken(descriptors).give_back()
                return None
        return Taken(descriptors)


class Taken:
    """Places held by one association."""

    def __init__(self, descriptors: list[int]) -> None:
        """Take over the locked descriptors."""
        self._descriptors = descriptors

    def give_back(self) -> None:
        """Free the places; harmless when done before."""
        descriptors, self._descriptors = self._descriptors, []
        for descriptor in descriptors:
            os.close(descriptor)


def _lock(descriptor: int, place: int) -> bool:
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0))
        return True
    return False
