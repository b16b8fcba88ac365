"""What each way of making instances durable costs, beside a loop that makes nothing durable and a bare fsync.

Every way writes the same instances with the receiver's own writer, from 1, 4 and 16 threads, in interleaved rounds. `python
benchmarks/durability.py --folder DATA_DIR` measures the disk that matters; another one tells little about it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

from dicom_node.domain.durability import Durability
from dicom_node.storage.commit import Commit, commit_for
from dicom_node.storage.instance_writer import InstanceWriter

KIB: Final = 1024
SIZES: Final = {"64 KB": 64 * KIB, "512 KB": 512 * KIB, "10 MB": 10 * KIB * KIB}
INSTANCES: Final = {"64 KB": 192, "512 KB": 96, "10 MB": 16}
THREADS: Final = (1, 4, 16)
PIECE: Final = 256 * KIB  # as much as the receiver's buffer holds
_libc = ctypes.CDLL(None, use_errno=True)


class FileOnly(Commit):
    """The data are safe, the name is not: a power cut may leave an acknowledged instance without a name."""

    def __call__(self, writer: InstanceWriter) -> str:
        os.fdatasync(writer.descriptor)
        name = self.rename(writer)
        writer.close()
        return name


class LeaderSync(Commit):
    """The first to come does everything for all that came meanwhile: subclasses say how a group's data and names become durable."""

    def __init__(self, incoming: Path) -> None:
        super().__init__(incoming)
        self._joining, self._running = threading.Lock(), threading.Lock()
        self._next: tuple[list[InstanceWriter], threading.Event] = ([], threading.Event())

    def __call__(self, writer: InstanceWriter) -> str:
        with self._joining:
            writers, done = self._next
            writers.append(writer)
            leads = len(writers) == 1
        if not leads:
            done.wait()
            return writer.name
        with self._running:
            with self._joining:
                self._next = ([], threading.Event())
            self.sync_files(writers)
            for one in writers:
                self.rename(one)
                one.close()
            self.sync_names()
        done.set()
        return writer.name

    def sync_files(self, writers: Sequence[InstanceWriter]) -> None:
        for writer in writers:
            os.fdatasync(writer.descriptor)

    def sync_names(self) -> None:
        os.fsync(self.folder)


class SyncFs(LeaderSync):
    """One syncfs for a whole group; it also waits for whatever else was written to that file system."""

    def sync_files(self, writers: Sequence[InstanceWriter]) -> None:
        """The file system's sync does it all."""

    def sync_names(self) -> None:
        if _libc.syncfs(self.folder):
            raise OSError(ctypes.get_errno(), "syncfs")


@dataclass(frozen=True, slots=True)
class Figure:
    """Milliseconds per instance, median over the rounds; `ratio` to the bare loop of the same size and threads."""

    way: str
    size: str
    threads: int
    ms: float
    bare_ms: float

    @property
    def ratio(self) -> float:
        return self.ms / self.bare_ms


Store = Callable[[int, memoryview], None]
"""Keep one instance: number of the thread, content."""


@contextmanager
def committing(make: Callable[[Path], Commit], folder: Path, _room: int) -> Iterator[Store]:
    """One file an instance."""
    commit, numbers = make(folder), iter(range(1 << 30))
    guard = threading.Lock()

    def store(_thread: int, content: memoryview) -> None:
        with guard:
            number = next(numbers)
        writer = InstanceWriter(f"bench-{number}", commit)
        for at in range(0, len(content), PIECE):
            writer.write([content[at : at + PIECE]])
        writer.commit()

    yield store
    os.close(commit.folder)


@contextmanager
def one_segment(folder: Path, room: int) -> Iterator[Store]:
    """One preallocated file a thread, data synced behind each instance."""
    segments: dict[int, int] = {}

    def store(thread: int, content: memoryview) -> None:
        descriptor = segments[thread]
        for at in range(0, len(content), PIECE):
            os.write(descriptor, content[at : at + PIECE])
        os.fdatasync(descriptor)

    for thread in range(max(THREADS)):
        segments[thread] = os.open(folder / f"segment-{thread}", os.O_CREAT | os.O_WRONLY, 0o600)
        os.posix_fallocate(segments[thread], 0, room)
        os.fsync(segments[thread])
    yield store
    for descriptor in segments.values():
        os.close(descriptor)


def _ways() -> dict[str, Callable[[Path, int], object]]:
    makers: dict[str, Callable[[Path], Commit]] = {
        "nothing": lambda folder: commit_for(Durability.NONE, folder),
        "file": FileOnly,
        "file + folder (strict)": lambda folder: commit_for(Durability.STRICT, folder),
        "own file, shared folder (group)": lambda folder: commit_for(Durability.GROUP, folder),
        "leader, each file in turn": LeaderSync,
        "leader, syncfs": SyncFs,
    }
    ways: dict[str, Callable[[Path, int], object]] = {
        name: lambda folder, room, make=make: committing(make, folder, room)  # type: ignore[misc]
        for name, make in makers.items()
    }
    return {**ways, "segment, preallocated": one_segment}


def measure(way: Callable[[Path, int], object], size: str, threads: int, below: Path) -> float:
    """Milliseconds per instance of one run; the folder is removed again."""
    content, share = memoryview(os.urandom(SIZES[size])), max(1, INSTANCES[size] // threads)
    folder = Path(tempfile.mkdtemp(dir=below))
    try:
        with way(folder, share * len(content)) as store:  # type: ignore[attr-defined]
            workers = [threading.Thread(target=lambda n=n: [store(n, content) for _ in range(share)]) for n in range(threads)]
            begin = perf_counter()
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            return (perf_counter() - begin) * 1000 / (share * threads)
    finally:
        shutil.rmtree(folder)


def bare_fsync_ms(below: Path) -> float:
    """Median of 100 times one block written over and synced: what the disk itself takes."""
    with tempfile.NamedTemporaryFile(dir=below, buffering=0) as stream:
        stream.write(bytes(4096))
        os.fsync(stream.fileno())
        times = []
        for _ in range(100):
            begin = perf_counter()
            os.pwrite(stream.fileno(), bytes(4096), 0)
            os.fdatasync(stream.fileno())
            times.append((perf_counter() - begin) * 1000)
    return median(times)


def figures(below: Path, rounds: int, sizes: list[str], threads: list[int]) -> list[Figure]:
    found = []
    for size in sizes:
        for number in threads:
            times: dict[str, list[float]] = {name: [] for name in _ways()}
            for _ in range(rounds):
                for name, way in _ways().items():
                    times[name].append(measure(way, size, number, below))
            bare = median(times["nothing"])
            found += [Figure(name, size, number, median(t), bare) for name, t in times.items()]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="on the disk to measure; default: here")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", choices=list(SIZES), nargs="*", default=list(SIZES))
    parser.add_argument("--threads", type=int, nargs="*", default=list(THREADS))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        fsync_ms = bare_fsync_ms(Path(folder))
        found = figures(Path(folder), asked.rounds, asked.size, asked.threads)
        fsync_after_ms = bare_fsync_ms(Path(folder))
    if asked.json:
        cells = [{**asdict(f), "ratio": f.ratio} for f in found]
        print(json.dumps({"kernel": platform.release(), "bare_fsync_ms": [fsync_ms, fsync_after_ms], "figures": cells}, indent=1))
        return
    print(f"bare fdatasync of one block: {fsync_ms:.2f} ms before, {fsync_after_ms:.2f} ms after\n")
    print("| size | way | " + " | ".join(f"{n} thread{'s' * (n > 1)}" for n in asked.threads) + " |")
    print("|---|---|" + "---|" * len(asked.threads))
    for size in asked.size:
        for way in _ways():
            cells_of = [f for n in asked.threads for f in found if (f.way, f.size, f.threads) == (way, size, n)]
            print(f"| {size} | {way} | " + " | ".join(f"{f.ms:.2f} ({f.ratio:.1f} x)" for f in cells_of) + " |")


if __name__ == "__main__":
    main()
