"""Part 10 files as they are sent: the head read once, the data set in parts from a buffer that is used again.

Nothing is mapped: a file that is cut short while it is mapped kills the process that looks at it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dicom_node.domain.instances import InstanceKind
from dicom_node.errors import DeliveryError, UnparsableDataSetError
from dicom_node.ops.file_meta import LONGEST_HEAD, FileMeta

BUFFER_BYTES: Final = 1 << 20
_FIRST_LOOK: Final = 1 << 10


class ObjectChangedError(DeliveryError):
    """A file is no longer what it was when it was opened."""


class StoredFile:
    """One open file.

    Attributes:
        kind: What its head says it holds.
    """

    def __init__(self, path: Path, buffer: memoryview) -> None:
        """Open it and read as much as the buffer holds.

        Args:
            path: A Part 10 file.
            buffer: The file's until `close`; at least two parts and a head long. See `data_set`.

        Raises:
            DeliveryError: it is missing or no Part 10 file.
        """
        self._name, self._buffer = path.name, buffer
        self._file = _opened(path)
        try:
            self._before = os.fstat(self._file)
            self._filled = os.preadv(self._file, [buffer], 0)
            self.kind, self._begins_at = _head(buffer[: self._filled])
        except (OSError, UnparsableDataSetError) as error:
            self.close()
            raise _unusable(path) from error

    def close(self) -> None:
        """Close it."""
        os.close(self._file)

    def data_set(self, unit: int) -> Iterator[tuple[memoryview, bool]]:
        """Read the data set byte for byte; whatever stood in the buffer is gone with each part.

        Args:
            unit: Each part but the last is a multiple of so many bytes.

        Yields:
            A view of the buffer, and whether it is the last part.

        Raises:
            ObjectChangedError: the file was changed since it was opened; its last part is not given then.
            DeliveryError: it ends behind its head.
            OSError: it cannot be read.
        """
        position, start, filled = 0, self._begins_at, self._filled
        while True:
            available = filled - start
            position += start
            if position + available >= self._before.st_size:
                self._check_unchanged(available)
                yield self._buffer[start:filled], True
                return
            taken = available // unit * unit
            if not taken:
                raise ObjectChangedError(f"{self._name} became shorter while it was sent")
            yield self._buffer[start : start + taken], False
            position += taken
            start, filled = 0, os.preadv(self._file, [self._buffer], position)

    def _check_unchanged(self, available: int) -> None:
        now = os.fstat(self._file)
        if (now.st_size, now.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns):
            raise ObjectChangedError(f"{self._name} was changed while it was sent")
        if not available:
            raise DeliveryError(f"{self._name} holds no data set")


def kind_of(path: Path) -> InstanceKind:
    """Read what a file holds.

    Raises:
        DeliveryError: it is missing or no Part 10 file.
    """
    file = _opened(path)
    try:
        head = os.pread(file, _FIRST_LOOK, 0)
        try:
            return _head(head)[0]
        except UnparsableDataSetError:
            if len(head) < _FIRST_LOOK:
                raise
            return _head(os.pread(file, LONGEST_HEAD, 0))[0]
    except (OSError, UnparsableDataSetError) as error:
        raise _unusable(path) from error
    finally:
        os.close(file)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unusable(path) from error


def _head(start: bytes | memoryview) -> tuple[InstanceKind, int]:
    meta = FileMeta()
    for size in (_FIRST_LOOK, LONGEST_HEAD):
        part = start[0 if size == _FIRST_LOOK else _FIRST_LOOK : size]
        if meta.feed(part) is not None and meta.kind is not None:
            return meta.kind, meta.size_bytes
    meta.end()
    raise UnparsableDataSetError("file ends within its head")


def _unusable(path: Path) -> DeliveryError:
    hint = "only files with preamble and file meta can be sent"
    return DeliveryError(f"{path.name} is missing or no DICOM Part 10 file", hint=hint)
