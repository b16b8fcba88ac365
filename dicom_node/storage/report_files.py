"""Who may report a commitment's result, agreed between processes by locks that the kernel frees when one of them dies.

`locks/UID` is locked by whoever may send: the receiver as long as it holds the association that asked, else the sender for the
time of one attempt. `answers/UID` is a result that a receiver waits for; `outcomes/UID` is what came of a receiver's report and
is not in the database yet.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from dicom_node.errors import StorageError
from dicom_node.storage.files import write_durably


class ReportLock:
    """The right to report one commitment; lost with the process."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        """Take over a locked descriptor."""
        self._descriptor = descriptor

    def release(self) -> None:
        """Let others report; harmless when called again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class ReportFiles:
    """The folders of answers, outcomes and locks."""

    def __init__(self, folder: Path) -> None:
        """Name the folders; `prepare` creates them."""
        self._answers = folder / "answers"
        self._outcomes = folder / "outcomes"
        self._locks = folder / "locks"

    def prepare(self) -> None:
        """Create the folders, readable by the owner only.

        Raises:
            StorageError: data_dir is not writable.
        """
        try:
            for folder in (self._answers, self._outcomes, self._locks):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot create {error.filename}: {error.strerror}", hint="data_dir must be writable") from error

    def lock(self, transaction_uid: str) -> ReportLock | None:
        """Take the right to report; None if another process or association has it.

        Raises:
            StorageError: the lock file cannot be made.
        """
        path = self._locks / transaction_uid
        try:
            while True:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(descriptor)
                    return None
                if _names(path, descriptor):
                    return ReportLock(descriptor)
                os.close(descriptor)  # another process finished and removed the file between our open and our lock
        except OSError as error:
            raise StorageError(f"cannot lock {path}: {error.strerror}", hint="check data_dir") from error

    def held(self, transaction_uid: str) -> bool:
        """Say whether somebody has the right to report now."""
        if not (self._locks / transaction_uid).exists():
            return False
        lock = self.lock(transaction_uid)
        if lock is None:
            return True
        lock.release()
        return False

    def offer(self, transaction_uid: str, answer: str) -> None:
        """Give a result to the receiver that waits for it; may be repeated, so that it need not be durable."""
        partial = self._answers / f".{transaction_uid}"
        partial.write_text(answer, "utf-8")
        partial.rename(self._answers / transaction_uid)

    def answer(self, transaction_uid: str) -> str | None:
        """Read an offered result; None if there is none yet."""
        try:
            return (self._answers / transaction_uid).read_text("utf-8")
        except FileNotFoundError:
            return None

    def offered(self, transaction_uid: str) -> bool:
        """Say whether a result was offered and not answered yet."""
        return (self._answers / transaction_uid).exists()

    def conclude(self, transaction_uid: str, outcome: str) -> None:
        """Keep durably what came of a receiver's report, before the lock is released.

        Raises:
            StorageError: disk full or broken.
        """
        path = self._outcomes / transaction_uid
        write_durably(path, [outcome.encode()], partial=self._outcomes / f".{transaction_uid}")
        (self._answers / transaction_uid).unlink(missing_ok=True)

    def outcomes(self) -> list[Path]:
        """List the outcomes that the database does not have yet."""
        return sorted(path for path in self._outcomes.iterdir() if not path.name.startswith("."))

    def concluded(self, transaction_uid: str) -> bool:
        """Say whether a receiver's report has come to an outcome that the database does not have yet."""
        return (self._outcomes / transaction_uid).exists()

    def forget(self, transaction_uid: str) -> None:
        """Remove what is left of a commitment that is through; for whoever holds its lock, or when nobody can."""
        for folder in (self._answers, self._locks):
            (folder / transaction_uid).unlink(missing_ok=True)


def _names(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
