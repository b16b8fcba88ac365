"""A Part 10 file on its way through the door, in pieces: its head is read, its data set is kept bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from dicom_node.errors import SopClassError, StudyUrlError
from dicom_node.ops.file_meta import FileMeta
from dicom_node.scp.door import InstanceKind, check_identity
from dicom_node.scp.header_scan import STUDY_INSTANCE_UID, HeaderScan

MEDIA_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"


class DataSetSink(Protocol):
    """Where a data set goes; `Incoming` of the door is one."""

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID as far as it was seen."""

    def write(self, views: Sequence[bytes | memoryview]) -> None:
        """Append fragments; they may be reused when this returns."""

    def finish(self) -> object:
        """Check and keep; durable when this returns."""

    def discard(self) -> None:
        """Drop what came; harmless after `finish`."""


class CheckingSink:
    """Applies the door's checks and keeps nothing."""

    def __init__(self, kind: InstanceKind) -> None:
        """Begin before the data set's first byte."""
        self._kind = kind
        self._scan = HeaderScan(kind.transfer_syntax_uid)

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID as far as it was seen."""
        return self._scan.found.get(STUDY_INSTANCE_UID, "")

    def write(self, views: Sequence[bytes | memoryview]) -> None:
        """Read fragments."""
        for view in views:
            self._scan.feed(view)

    def finish(self) -> None:
        """Check the identifying UIDs.

        Raises:
            PeerError: as the door would.
        """
        check_identity(self._scan, self._kind)

    def discard(self) -> None:
        """Nothing was kept."""


class Part10Stream:
    """One file between its first byte and its durable copy."""

    def __init__(self, begin: Callable[[InstanceKind], DataSetSink], study_instance_uid: str = "") -> None:
        """Wait for the first byte.

        Args:
            begin: Opens the way for a data set, for example the door's `begin` with its origin.
            study_instance_uid: The study it must belong to; empty takes any.
        """
        self._begin = begin
        self._study_instance_uid = study_instance_uid
        self._meta = FileMeta()
        self._sink: DataSetSink | None = None

    @property
    def kind(self) -> InstanceKind | None:
        """What the file says it holds, once its head was read."""
        return self._meta.kind

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the file; they may be reused when this returns.

        Raises:
            DicomNodeError: no DICOM file, or the door refuses it.
        """
        if self._sink is not None:
            self._sink.write([data])
            return
        rest = self._meta.feed(data)
        if rest is None or self._meta.kind is None:
            return
        if self._meta.kind.sop_class_uid == MEDIA_DIRECTORY_CLASS:
            raise SopClassError("a DICOMDIR is no instance", hint="send or import the files that it lists")
        self._sink = self._begin(self._meta.kind)
        if rest:
            self._sink.write([rest])

    def finish(self) -> None:
        """Keep the file; durable when this returns.

        Raises:
            DicomNodeError: no complete DICOM file, or the door refuses it.
        """
        if self._sink is None:
            self._meta.end()
            return
        try:
            found = self._sink.study_instance_uid
            if self._study_instance_uid and found and found != self._study_instance_uid:
                raise StudyUrlError("instance belongs to another study than the request names")
            self._sink.finish()
        finally:
            self.discard()

    def discard(self) -> None:
        """Drop what came; harmless after `finish`."""
        if self._sink is not None:
            self._sink.discard()
