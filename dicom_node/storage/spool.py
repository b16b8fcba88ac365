"""Small requests between the receiver that acknowledged them and the database: durable, each UID once."""

from __future__ import annotations

import itertools
import os
from datetime import datetime
from pathlib import Path

from dicom_node.domain.uids import is_safe_uid
from dicom_node.errors import StorageError
from dicom_node.storage.files import sync_folder

_counter = itertools.count()


class Spool:
    """A folder of JSON files, each named by the request's own UID.

    A UID is accepted once: an empty file of its name stays in `taken/` after the request went into the database.
    """

    def __init__(self, folder: Path) -> None:
        """Name the folders; `prepare` creates them."""
        self._pending = folder / "pending"
        self._taken = folder / "taken"
        self._partial = folder / ".partial"

    def prepare(self) -> None:
        """Create the folders, readable by the owner only.

        Raises:
            StorageError: data_dir is not writable.
        """
        try:
            for folder in (self._pending, self._taken, self._partial):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _storage_error(error) from error

    def knows(self, uid: str) -> bool:
        """Say whether this UID was accepted before."""
        return (self._pending / uid).exists() or (self._taken / uid).exists()

    def put(self, uid: str, content: str, owner: str) -> bool:
        """Keep a request; it is durable when this returns.

        Args:
            uid: Its own UID.
            content: JSON.
            owner: Name of this process; names its partial files.

        Returns:
            False if this UID was accepted before; nothing changes then.

        Raises:
            StorageError: disk full or broken.
        """
        if not is_safe_uid(uid):
            raise StorageError("a request's UID holds characters that no UID may have")
        partial = self._partial / f"{owner}.{os.getpid()}-{next(_counter)}"
        try:
            with partial.open("w", encoding="utf-8") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            accepted = self._publish(partial, uid)
        except OSError as error:
            raise _storage_error(error) from error
        finally:
            partial.unlink(missing_ok=True)
        return accepted

    def pending(self) -> list[Path]:
        """List what the database has not taken yet, oldest first."""
        return [path for _, path in sorted((path.stat().st_mtime_ns, path) for path in self._pending.iterdir())]

    def is_empty(self) -> bool:
        """Say whether the database has everything."""
        return next(self._pending.iterdir(), None) is None

    def take(self, path: Path) -> None:
        """Note that the database has a request; only its mark stays."""
        mark = self._taken / path.name
        path.rename(mark)
        os.truncate(mark, 0)

    def forget_before(self, moment: datetime) -> int:
        """Remove the marks of requests that were taken earlier; returns how many."""
        old = [mark for mark in self._taken.iterdir() if mark.stat().st_mtime < moment.timestamp()]
        for mark in old:
            mark.unlink(missing_ok=True)
        return len(old)

    def discard_partials(self, owner: str) -> None:
        """Remove what a killed process of this name left unfinished (never acknowledged)."""
        for path in self._partial.glob(f"{owner}.*"):
            path.unlink(missing_ok=True)

    def _publish(self, partial: Path, uid: str) -> bool:
        """Give the file its name, unless the name is or was in use: a link never replaces a file."""
        try:
            os.link(partial, self._pending / uid)
        except FileExistsError:
            return False
        if (self._taken / uid).exists():
            (self._pending / uid).unlink(missing_ok=True)
            return False
        sync_folder(self._pending)
        return True


def _storage_error(error: OSError) -> StorageError:
    return StorageError(f"cannot keep a request: {error.strerror}", hint="check free space and permissions of data_dir")
