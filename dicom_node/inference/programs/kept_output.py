"""What a program writes to its standard output and error, kept in a file that does not grow without end. Nobody reads it but an operator.

It may name patients: nothing of it is ever logged, and the file is this user's only.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LARGEST_BYTES = 1 << 20
_BLOCK_BYTES = 64 << 10
_LAST_WORDS_S = 5.0


@contextmanager
def kept_output(path: Path, largest_bytes: int = LARGEST_BYTES) -> Iterator[int]:
    """Give the write end of a pipe; at the end the file holds the last of what was written there, 1 MiB at most.

    Meanwhile there may be twice as much, in two files, so that what was written is there too if this process is killed.

    Args:
        path: File to write; replaced if it is there.
        largest_bytes: Most that is kept.

    Raises:
        OSError: the file cannot be written.
    """
    earlier = path.with_name(f"{path.name}.earlier")
    earlier.unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    first = os.open(path, _NEW, 0o600)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    thread = threading.Thread(target=_keep, args=(reader, first, path, earlier, largest_bytes), name="program-output", daemon=True)
    thread.start()
    try:
        yield writer
    finally:
        os.close(writer)
        thread.join(_LAST_WORDS_S)
        _join(path, earlier, largest_bytes)


def _keep(reader: int, first: int, path: Path, earlier: Path, largest_bytes: int) -> None:
    with os.fdopen(reader, "rb", buffering=0) as stream:
        kept, size = first, 0
        while block := stream.read(_BLOCK_BYTES):
            if size >= largest_bytes:
                os.close(kept)
                path.rename(earlier)
                kept, size = os.open(path, _NEW, 0o600), 0
            try:
                size += os.write(kept, block)
            except OSError:  # the disk is full: the program goes on, and what it says is lost
                continue
        os.close(kept)


def _join(path: Path, earlier: Path, largest_bytes: int) -> None:
    if not earlier.exists():
        return
    tail = (earlier.read_bytes() + path.read_bytes())[-largest_bytes:]
    descriptor = os.open(earlier, os.O_WRONLY | os.O_TRUNC)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(tail)
    earlier.rename(path)


_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
