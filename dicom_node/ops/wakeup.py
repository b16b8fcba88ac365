"""Wake-ups between the node's processes: a datagram to a Unix socket, so that nobody polls fast and nobody waits long."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

_LONGEST_PATH = 100


class Wakeup:
    """The bell of one process. A lost ring costs at most the timeout of `wait`, never work.

    The socket's path may be longer than Unix sockets allow; it is then reached through its folder's descriptor.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Bind the socket `NAME.sock` in a folder, taking over from a dead process of the same name."""
        self._path = folder / f"{name}.sock"
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        with _short_path(self._path) as path:
            self._socket.bind(path)
        self._own_reader, self._own_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def wait(self, timeout_s: float) -> bool:
        """Wait for a ring; True if there was one. Rings that came meanwhile count once."""
        watched: list[socket.socket | int] = [self._socket, self._own_reader]
        ready, _, _ = select.select(watched, [], [], max(0.0, timeout_s))
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(16):
                pass
        with contextlib.suppress(BlockingIOError):
            os.read(self._own_reader, 4096)
        return bool(ready)

    def ring_self(self) -> None:
        """Wake this process's own `wait`; safe in a signal handler and from any thread."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._own_writer, b"!")

    def close(self) -> None:
        """Remove the socket."""
        self._socket.close()
        os.close(self._own_reader)
        os.close(self._own_writer)
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def ring(folder: Path, prefix: str) -> None:
    """Ring every process whose name begins with a prefix; nobody there is no error, since each looks for work by itself too."""
    for path in folder.glob(f"{prefix}*.sock"):
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as bell,
            contextlib.suppress(OSError),
            _short_path(path) as short,
        ):
            bell.sendto(b"!", short)


@contextlib.contextmanager
def _short_path(path: Path) -> Iterator[str]:
    if len(os.fsencode(path)) < _LONGEST_PATH:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
