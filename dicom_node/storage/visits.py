"""Who brings part of which study now, and how it ended: one small file for an association, STOW-RS request or import.

Rules:
1. A file is begun when a visit brings its first instance; it names each study once, and says at the end how it ended.
2. Whoever receives holds a lock on it, which the kernel takes back when the process dies: an open file without a lock broke off.
3. Nothing here is synced: a lost file costs waiting until quiet.
"""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dicom_node.domain.visits import Visit

_FLOCK = struct.Struct("hhqqi")
WHOLE_FILE: Final = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
"""The lock that a receiving process holds on the file of an open visit."""
STUDY, RELEASED, BROKEN_OFF = "study", "released", "broken-off"
"""What a line begins with; a UID, or the time in nanoseconds since 1970, follows."""


def visit_folder(run: Path) -> Path:
    """Name the folder, below `run/`."""
    return run / "visits"


@dataclass(frozen=True, slots=True)
class _Read:
    size_bytes: int
    visit: Visit


class VisitFiles:
    """What the pipeline reads."""

    def __init__(self, run: Path) -> None:
        """Name the folder."""
        self._folder = visit_folder(run)
        self._read: dict[str, _Read] = {}

    def look(self) -> list[Visit]:
        """List all visits whose file is there; one whose process died is over since its last word, by no release."""
        try:
            names = [path.name for path in self._folder.iterdir() if not path.name.startswith(".")]
        except OSError:
            return []
        self._read = {name: read for name in names if (read := self._seen(name)) is not None}
        return [read.visit for read in self._read.values()]

    def remove(self, visit: Visit) -> None:
        """Forget a visit that has ended."""
        (self._folder / visit.name).unlink(missing_ok=True)
        self._read.pop(visit.name, None)

    def _seen(self, name: str) -> _Read | None:
        known = self._read.get(name)
        if known is not None and known.visit.ended_at is not None:
            return known
        try:
            with (self._folder / name).open("r+b") as stream:
                locked = _is_locked(stream.fileno())  # before reading: whoever lets go has written its last word
                content = stream.read()
                changed_ns = os.fstat(stream.fileno()).st_mtime_ns
        except OSError:
            return None
        if known is not None and locked and known.size_bytes == len(content):
            return known
        return _Read(len(content), _visit(name, content.decode("ascii", "replace"), None if locked else changed_ns))


def _visit(name: str, content: str, died_ns: int | None) -> Visit:
    lines = [line.split(" ", 1) for line in content.split("\n")[:-1]]  # what has no end of line is not written whole
    studies = frozenset(words[1] for words in lines if words[0] == STUDY and len(words) == 2)
    for words in lines:
        if words[0] in (RELEASED, BROKEN_OFF) and len(words) == 2 and words[1].isdecimal():
            return Visit(name, studies, _moment(int(words[1])), words[0] == RELEASED)
    return Visit(name, studies, None if died_ns is None else _moment(died_ns))


def _moment(time_of_day_ns: int) -> datetime:
    return datetime.fromtimestamp(time_of_day_ns / 1e9, UTC)


def _is_locked(descriptor: int) -> bool:
    """Ask without taking: another reader must not see ours."""
    answer: bytes = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, WHOLE_FILE)
    return int(_FLOCK.unpack(answer)[0]) != fcntl.F_UNLCK
