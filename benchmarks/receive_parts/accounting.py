"""CPU time and memory of process trees, from /proc; and the bare cost of a durable file."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_SAMPLE_S = 0.05
_RESET_PEAK = "5"
_FSYNC_SIZES = {"64 KB": 64 << 10, "512 KB": 512 << 10}
_FSYNC_TURNS = 40


@dataclass(frozen=True, slots=True)
class Cost:
    """What a receiver used during one measurement.

    Attributes:
        cpu_s: User and system time of the whole tree, seconds.
        peak_rss_bytes: Of its largest process.
    """

    cpu_s: float
    peak_rss_bytes: int


def spread_over_disk(folder: Path) -> None:
    """Have the folders below one placed far from each other, so that no receiver meets another's files; ext4 only, elsewhere no loss."""
    with contextlib.suppress(OSError):
        subprocess.run(["/usr/bin/chattr", "+T", str(folder)], capture_output=True, check=False)


class Meter:
    """Watches process trees between `start` and `stop`."""

    def __init__(self, roots: Sequence[int]) -> None:
        self._roots = roots
        self._stop = threading.Event()
        self._peak_bytes = 0
        self._before_s = 0.0
        self._thread = threading.Thread(target=self._watch, name="meter", daemon=True)

    def start(self) -> None:
        """Forget earlier peaks and begin."""
        for pid in _tree(self._roots):
            with contextlib.suppress(OSError):  # it ended just now
                Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK, "ascii")
        self._before_s = _cpu_s(self._roots)
        self._thread.start()

    def stop(self) -> Cost:
        """End, and say what was used."""
        used_s = _cpu_s(self._roots) - self._before_s
        self._stop.set()
        self._thread.join()
        self._sample()
        return Cost(used_s, self._peak_bytes)

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            self._sample()

    def _sample(self) -> None:
        self._peak_bytes = max(self._peak_bytes, *(_peak_rss_bytes(pid) for pid in _tree(self._roots)), 0)


def _tree(roots: Sequence[int]) -> list[int]:
    """List the roots and all that descend from them, ended but unclaimed children too."""
    found, waiting = [], list(roots)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        with contextlib.suppress(OSError):
            for listing in Path(f"/proc/{pid}/task").glob("*/children"):
                waiting += map(int, listing.read_text("ascii").split())
    return found


def _cpu_s(roots: Sequence[int]) -> float:
    """Add the exact process clocks of the tree and, in ticks, what its claimed children used.

    Source: the clock's number is that of clock_getcpuclockid(3).
    """
    total = 0.0
    for pid in _tree(roots):
        with contextlib.suppress(OSError):
            total += time.clock_gettime((~pid << 3) | 2)
            fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
            total += (int(fields[13]) + int(fields[14])) / _TICKS_PER_S
    return total


def _peak_rss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0


@dataclass(frozen=True, slots=True)
class BareDisk:
    """Median cost of one new file on the disk that the receivers write to, milliseconds.

    Attributes:
        written_ms: Written and closed only.
        synced_ms: Then also fsync of the file and of its folder.
    """

    size: str
    written_ms: float
    synced_ms: float


def bare_disk(folder: Path) -> list[BareDisk]:
    """Measure the disk below a folder with a bare loop."""
    folder.mkdir()
    rows = []
    for name, size in _FSYNC_SIZES.items():
        content = os.urandom(size)
        written, synced = [], []
        for turn in range(_FSYNC_TURNS):
            written.append(_write(folder / f"{size}-{turn}-w", content, durable=False))
            synced.append(_write(folder / f"{size}-{turn}-s", content, durable=True))
        rows.append(BareDisk(name, round(statistics.median(written), 3), round(statistics.median(synced), 3)))
    return rows


def _write(path: Path, content: bytes, *, durable: bool) -> float:
    began = time.perf_counter()
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(descriptor, content)
    if durable:
        os.fsync(descriptor)
    os.close(descriptor)
    if durable:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)
    return (time.perf_counter() - began) * 1000
