"""Noting which visits bring part of which study, for rules that ask for `release`; no fault here refuses an instance."""

from __future__ import annotations

import fcntl
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from time import time_ns

from dicom_node.ops.logs import get_logger
from dicom_node.storage.visits import BROKEN_OFF, RELEASED, STUDY, WHOLE_FILE, visit_folder

_counter = itertools.count()


class VisitBook:
    """What a receiving process writes. Safe to use from many threads.

    Attributes:
        wanted: Whether a rule asks; may change while running.
    """

    def __init__(self, run: Path, owner: str, *, wanted: bool, ended: Callable[[], None] = lambda: None) -> None:
        """Take where to write.

        Args:
            run: The node's folder for run-time files.
            owner: Unique name of this process on the node.
            wanted: See the attribute.
            ended: Called after each end; must not block.
        """
        self.wanted = wanted
        self._folder = visit_folder(run)
        self._owner = owner
        self._ended = ended

    def open(self) -> OpenVisit:
        """Begin; costs nothing before the first instance."""
        return OpenVisit(self)

    def begin_file(self) -> int:
        """Create and lock the file of a visit; called by `OpenVisit`.

        Raises:
            OSError: it cannot be created.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{self._owner}.{os.getpid()}-{time_ns()}-{next(_counter)}"
        partial = self._folder / f".{name}"
        descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, WHOLE_FILE)
            partial.rename(self._folder / name)  # only now, so that it is never seen without its lock
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


class OpenVisit:
    """One visit while it lasts."""

    __slots__ = ("_book", "_descriptor", "_guard", "_has_ended", "_last", "_studies")

    def __init__(self, book: VisitBook) -> None:
        """See `VisitBook.open`."""
        self._book = book
        self._descriptor = -1
        self._studies: set[str] = set()
        self._last = ""
        self._has_ended = False
        self._guard = threading.Lock()

    def brings(self, study_instance_uid: str) -> None:
        """Tell that an instance of a study is about to be kept."""
        if study_instance_uid == self._last or not self._book.wanted:
            return
        self._last = study_instance_uid
        with self._guard:
            if study_instance_uid in self._studies or self._has_ended:
                return
            self._studies.add(study_instance_uid)
            self._write(f"{STUDY} {study_instance_uid}\n")

    def noted(self) -> bytes | None:
        """Return the study whose further instances need not be told; None if none need."""
        return self._last.encode("ascii", "replace") if self._book.wanted else None

    def end(self, *, released: bool) -> None:
        """Tell how it ended; the first word counts."""
        with self._guard:
            if self._has_ended:
                return
            self._has_ended = True
            if self._descriptor < 0:
                return
            self._write(f"{RELEASED if released else BROKEN_OFF} {time_ns()}\n")
            os.close(self._descriptor)
        self._book._ended()

    def _write(self, line: str) -> None:
        try:
            if self._descriptor < 0:
                self._descriptor = self._book.begin_file()
            os.write(self._descriptor, line.encode("ascii", "replace"))
        except OSError as error:
            get_logger().warning("visit_not_noted", reason=error.strerror, hint="its studies wait until they are quiet")
