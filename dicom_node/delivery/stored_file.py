"""Part 10 files as they are sent: the head read once, the data set in parts from a buffer that is used again.

Nothing is mapped: a file that is cut short while it is mapped kills the process that looks at it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from dicom_node.domain.instances import InstanceKind
from dicom_node.errors import DeliveryError, UnparsableDataSetError
from dicom_node.ops.file_meta import LONGEST_HEAD, FileMeta

BUFFER_BYTES: Final = 640 << 10
"""A CT slice fits whole, so that it is read before the one before it is answered."""
_PART_BYTES: Final = 256 << 10
"""Of a file larger than the buffer; so much is still in the processor's cache when it is sent."""
_FIRST_LOOK: Final = 1 << 10


class ObjectChangedError(DeliveryError):
    """A file is no longer what it was when it was opened."""


class FileState(NamedTuple):
    """Which state of which file."""

    inode: int
    size_bytes: int
    changed_ns: int


class Head(NamedTuple):
    """What a file says that it holds, and which state of the file said so.

    Attributes:
        begins_at: Where the data set begins.
    """

    kind: InstanceKind
    begins_at: int
    state: FileState


class StoredFile:
    """One open file.

    Attributes:
        kind: What its head says it holds.
    """

    def __init__(self, path: Path, buffer: memoryview, known: Head | None = None) -> None:
        """Open it and read as much as the buffer holds.

        Args:
            path: A Part 10 file.
            buffer: The file's until `close`; at least two parts and a head long. See `data_set`.
            known: Its head as `head_of` read it; used if the file is as it was then.

        Raises:
            DeliveryError: it is missing or no Part 10 file.
        """
        self._name, self._buffer = path.name, buffer
        self._file = _opened(path)
        try:
            self._state = _state(self._file)
            self._filled = os.preadv(self._file, [buffer], 0)
            head = known if known is not None and known.state == self._state else _head(buffer[: self._filled], self._state)
        except (OSError, UnparsableDataSetError) as error:
            self.close()
            raise _unusable(path) from error
        self.kind, self._begins_at = head.kind, head.begins_at

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
            if position + available >= self._state.size_bytes:
                self._check_unchanged(available)
                yield self._buffer[start:filled], True
                return
            taken = available // unit * unit
            if not taken:
                raise ObjectChangedError(f"{self._name} became shorter while it was sent")
            yield self._buffer[start : start + taken], False
            position += taken
            start, filled = 0, os.preadv(self._file, [self._buffer[: max(_PART_BYTES, unit)]], position)

    def _check_unchanged(self, available: int) -> None:
        if _state(self._file) != self._state:
            raise ObjectChangedError(f"{self._name} was changed while it was sent")
        if not available:
            raise DeliveryError(f"{self._name} holds no data set")


def head_of(path: Path) -> Head:
    """Read what a file holds.

    Raises:
        DeliveryError: it is missing or no Part 10 file.
    """
    file = _opened(path)
    try:
        state = _state(file)
        start = os.pread(file, _FIRST_LOOK, 0)
        if len(start) == _FIRST_LOOK:
            with contextlib.suppress(_IncompleteError):
                return _head(start, state)
            start = os.pread(file, LONGEST_HEAD, 0)
        return _head(start, state)
    except (OSError, UnparsableDataSetError) as error:
        raise _unusable(path) from error
    finally:
        os.close(file)


class _IncompleteError(UnparsableDataSetError):
    """The head goes on behind what was read."""


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unusable(path) from error


def _state(file: int) -> FileState:
    found = os.fstat(file)
    return FileState(found.st_ino, found.st_size, found.st_mtime_ns)


def _head(start: bytes | memoryview, state: FileState) -> Head:
    meta = FileMeta()
    if meta.feed(start[:_FIRST_LOOK]) is None and meta.feed(start[_FIRST_LOOK:LONGEST_HEAD]) is None:
        raise _IncompleteError(f"file meta does not end within {len(start)} bytes")
    if meta.kind is None:
        raise UnparsableDataSetError("file without file meta")
    return Head(meta.kind, meta.size_bytes, state)


def _unusable(path: Path) -> DeliveryError:
    hint = "only files with preamble and file meta can be sent"
    return DeliveryError(f"{path.name} is missing or no DICOM Part 10 file", hint=hint)
