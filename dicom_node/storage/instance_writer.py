"""One instance's file between its first byte and its name in `incoming/`."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dicom_node.errors import DiskFullError, StorageError

if TYPE_CHECKING:
    from dicom_node.storage.commit import Commit

_MOST_VIEWS = 512  # below IOV_MAX
_WRITE_OUT_BYTES = 1 << 20
_SYNC_FILE_RANGE_WRITE = 2
_libc = ctypes.CDLL(None, use_errno=True)
_sync_file_range = getattr(_libc, "sync_file_range", None)  # glibc on Linux; elsewhere the sync at the end does all of the work
if _sync_file_range is not None:
    _sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


class BegunFile(NamedTuple):
    """A partial file that somebody else began.

    Attributes:
        unique: As of `InstanceWriter`.
        descriptor: Open.
        size_bytes: Written so far.
        written_out: Of these, asked to go to the disk.
    """

    unique: str
    descriptor: int
    size_bytes: int
    written_out: int


class InstanceWriter:
    """A partial file that becomes an acknowledged instance by `commit`, or vanishes by `discard`.

    Attributes:
        unique: What makes both its names unique.
        name: Temporary name in the folder of `commit`.
        descriptor: Open until `commit` or `discard`.
        size_bytes: Written so far.
    """

    __slots__ = ("_commit", "_written_out", "descriptor", "name", "size_bytes", "unique")

    def __init__(self, unique: str, commit: Commit) -> None:
        """Create the file.

        Raises:
            StorageError: disk full or broken.
        """
        self.unique, self.name = unique, partial_name(unique)
        self.size_bytes = 0
        self._written_out = 0
        self._commit = commit
        try:
            self.descriptor = os.open(self.name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=commit.folder)
        except OSError as error:
            raise storage_error(error) from error

    @classmethod
    def resume(cls, begun: BegunFile, commit: Commit) -> InstanceWriter:
        """Take over a partial file that the accelerator began."""
        writer = cls.__new__(cls)
        writer.unique, writer.name = begun.unique, partial_name(begun.unique)
        writer.descriptor, writer.size_bytes, writer._written_out = begun.descriptor, begun.size_bytes, begun.written_out
        writer._commit = commit
        return writer

    def write(self, views: Sequence[bytes | memoryview]) -> None:
        """Append buffers in order; they may be reused when this returns.

        Raises:
            StorageError: disk full or broken.
        """
        try:
            for start in range(0, len(views), _MOST_VIEWS):
                self._write_some(views[start : start + _MOST_VIEWS])
        except OSError as error:
            raise storage_error(error) from error
        if self._commit.syncs and self.size_bytes - self._written_out >= _WRITE_OUT_BYTES:
            self._start_write_out()

    def commit(self) -> str:
        """Make the file as durable as configured and give it its name in `incoming/`, which is returned.

        Raises:
            StorageError: disk full or broken.
        """
        try:
            return self._commit(self)
        except OSError as error:
            self.discard()
            raise storage_error(error) from error
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove what was written; harmless after `commit`."""
        if self.descriptor >= 0:
            self.close()
            with contextlib.suppress(OSError):
                os.unlink(self.name, dir_fd=self._commit.folder)

    def close(self) -> None:
        """Close the descriptor; for `Commit`, which has renamed the file."""
        descriptor, self.descriptor = self.descriptor, -1
        os.close(descriptor)

    def _write_some(self, views: Sequence[bytes | memoryview]) -> None:
        wanted = sum(map(len, views))
        written = os.writev(self.descriptor, views)
        self.size_bytes += written
        while written < wanted:  # a signal or a nearly full disk
            rest = memoryview(b"".join(views))[written:]
            more = os.write(self.descriptor, rest)
            self.size_bytes += more
            written += more

    def _start_write_out(self) -> None:
        """Let the disk work while the next PDUs arrive, so that the sync at the end finds little left."""
        if _sync_file_range is not None:
            _sync_file_range(self.descriptor, self._written_out, self.size_bytes - self._written_out, _SYNC_FILE_RANGE_WRITE)
        self._written_out = self.size_bytes


def partial_name(unique: str) -> str:
    """Name an instance's file before its commit."""
    return f".{unique}.partial"


def storage_error(error: OSError) -> StorageError:
    """Say as ours why an instance could not be written."""
    kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
    return kind(f"cannot write an instance: {error.strerror}", hint="check free space and permissions of data_dir")
