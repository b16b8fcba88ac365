"""From a written partial file to an acknowledged one: what is synced, and who shares the syncs."""

from __future__ import annotations

import errno
import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from dicom_node.domain.durability import Durability
from dicom_node.storage.instance_writer import InstanceWriter

PARTIAL_SUFFIX: Final = ".partial"
"""Partial files lie beside the acknowledged ones: a rename across folders takes a lock of the whole file system."""


class Commit(ABC):
    """Gives a partial file its final name.

    Attributes:
        syncs: Whether it makes files durable; writers then start write-out early.
        folder: Descriptor of `incoming/`.
    """

    syncs: bool = True

    def __init__(self, incoming: Path) -> None:
        """Open the folder."""
        self.folder = os.open(incoming, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.folder)

    @abstractmethod
    def __call__(self, writer: InstanceWriter) -> str:
        """Rename, sync as promised, close the descriptor, return the final name.

        Raises:
            OSError: as the system said; the file was not acknowledged, whichever of its names is left.
        """

    def rename(self, writer: InstanceWriter) -> str:
        """Give a partial file its final name: time of receipt, so that names order files, what made it unique, and its size.

        The size tells a whole file from one that a power cut left torn.
        """
        name = f"{time.time_ns():020d}-{writer.unique}-{writer.size_bytes}.dcm"
        os.rename(writer.name, name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        return name


class NoSync(Commit):
    """Written and renamed; the kernel decides when it reaches the disk."""

    syncs = False

    def __call__(self, writer: InstanceWriter) -> str:
        """See `Commit`."""
        name = self.rename(writer)
        writer.close()
        return name


class StrictSync(Commit):
    """File synced, renamed, folder synced: each instance by itself."""

    def __call__(self, writer: InstanceWriter) -> str:
        """See `Commit`."""
        os.fdatasync(writer.descriptor)
        name = self.rename(writer)
        writer.close()
        os.fsync(self.folder)
        return name


class _Round:
    """One sync of the folder, and those who wait for it."""

    __slots__ = ("done", "error", "led")

    def __init__(self) -> None:
        self.led = False
        self.error: tuple[int, str] | None = (errno.EIO, "folder was not synced")
        self.done = threading.Event()

    def run(self, folder: int) -> None:
        try:
            os.fsync(folder)
            self.error = None
        except OSError as error:
            self.error = (error.errno or errno.EIO, error.strerror or "")
        finally:
            self.done.set()


class GroupSync(Commit):
    """Each syncs and renames its own file, at once with the others; the folder is synced once for all that came meanwhile.

    The first to come syncs it; nobody waits for a group to fill. Whoever comes while one sync runs, with its name given perhaps
    too late for it, waits for the next. An error of a file is that instance's, an error of the folder is everyone's.
    """

    def __init__(self, incoming: Path) -> None:
        """Open the folder."""
        super().__init__(incoming)
        self._joining = threading.Lock()
        self._running = threading.Lock()
        self._next = _Round()

    def __call__(self, writer: InstanceWriter) -> str:
        """See `Commit`."""
        os.fdatasync(writer.descriptor)
        name = self.rename(writer)
        writer.close()
        self.sync_folder_with_others()
        return name

    def sync_folder_with_others(self) -> None:
        """Return once a sync of the folder is over that began after this call.

        Raises:
            OSError: as the system said, to everyone who shared it.
        """
        with self._joining:
            shared = self._next
            leads, shared.led = not shared.led, True
        if leads:
            with self._running:
                with self._joining:
                    self._next = _Round()
                shared.run(self.folder)
        else:
            shared.done.wait()
        if shared.error is not None:
            raise OSError(*shared.error)


_KINDS: Final[Mapping[Durability, Callable[[Path], Commit]]] = {
    Durability.STRICT: StrictSync,
    Durability.GROUP: GroupSync,
    Durability.NONE: NoSync,
}


def commit_for(durability: Durability, incoming: Path) -> Commit:
    """Choose the way of committing."""
    return _KINDS[durability](incoming)
