"""What a power cut may leave of the recorded calls: names and data live on only when they were synced.

Rules, those of POSIX and no file system's kinder ones:
1. Data are certain when a sync of the file that began after they were written has ended.
2. A name is certain when a sync of its folder that began after the name was given has ended; a rename happens whole or not at all.
3. Anything else may be there or not, each for itself: a name may come back before its data, and the file is then torn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

File = tuple[int, int]
"""Which file, and how many of its bytes."""


@dataclass(frozen=True, slots=True)
class Remains:
    """One state that the disk may be found in, and what had been acknowledged by then."""

    folders: frozenset[str]
    names: frozenset[tuple[str, File]]
    acknowledged: frozenset[str]


@dataclass(slots=True)
class Disk:
    """The disk while the calls are made."""

    root: str
    names: dict[str, int] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    certain_names: dict[str, int] = field(default_factory=dict)
    certain_folders: set[str] = field(default_factory=set)
    written: dict[int, int] = field(default_factory=dict)
    certain_bytes: dict[int, int] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    _begun: dict[tuple[str, str], object] = field(default_factory=dict)

    def take(self, line: str) -> None:
        """Follow one line of the record. What may have happened counts from its begin, what is certain from its end."""
        phase, *rest = line.split("\t")
        if phase == "ack":
            self.acknowledged.add(rest[0])
            return
        thread, kind, path, other, amount = rest
        if phase == "end" and int(amount) < 0:
            raise AssertionError(f"a call failed: {line}")
        if kind == "sync":
            self._sync(phase, thread, path)
        elif phase == "begin" and kind == "mkdir":
            self.folders.add(path)
        elif phase == "begin" and kind == "create":
            self.names[path] = number = len(self.written)
            self.written[number] = self.certain_bytes[number] = 0
        elif phase == "end" and kind == "write":
            self.written[self.names[path]] += int(amount)
        elif phase == "begin" and kind == "rename":
            self.names[other] = self.names.pop(path)

    def _sync(self, phase: str, thread: str, path: str) -> None:
        if path in self.names:
            number = self.names[path]
            if phase == "begin":
                self._begun[thread, path] = self.written[number]
            else:
                self.certain_bytes[number] = max(self.certain_bytes[number], int(str(self._begun.pop((thread, path)))))
            return
        if phase == "begin":
            names = {n: i for n, i in self.names.items() if str(Path(n).parent) == path}
            self._begun[thread, path] = (names, {f for f in self.folders if str(Path(f).parent) == path})
            return
        names, folders = self._begun.pop((thread, path))  # type: ignore[misc]
        self.certain_names = {n: i for n, i in self.certain_names.items() if str(Path(n).parent) != path} | names
        self.certain_folders |= folders

    def may_remain(self) -> Iterator[Remains]:
        """The two ends: nothing but what is certain; every name, but of its data what is certain."""
        acknowledged = frozenset(self.acknowledged)
        for names, folders in ((self.certain_names, self.certain_folders), (self.names, self.folders)):
            reachable = {n: i for n, i in names.items() if str(Path(n).parent) in folders}
            left = frozenset((n.removeprefix(self.root + "/"), (i, self.certain_bytes[i])) for n, i in reachable.items())
            yield Remains(frozenset(f.removeprefix(self.root).lstrip("/") for f in folders), left, acknowledged)


def every_power_cut(record: Path, root: Path) -> tuple[set[Remains], dict[int, str]]:
    """Cut behind every line; returns what may remain and the last name of each file."""
    disk, found = Disk(str(root)), set()
    for line in record.read_text().splitlines():
        disk.take(line)
        found.update(disk.may_remain())
    return found, {number: name for name, number in disk.names.items()}


def leave(remains: Remains, folder: Path, contents: dict[int, bytes]) -> None:
    """Make a folder look as the disk was found."""
    folder.mkdir()
    for name in sorted(remains.folders):
        (folder / name).mkdir(exist_ok=True)
    for name, (number, size) in remains.names:
        (folder / name).write_bytes(contents[number][:size])
