"""The one way in: whatever brings an instance, C-STORE, C-GET, STOW-RS or a folder, it passes here into `incoming/`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from dicom_node import __version__
from dicom_node.domain.durability import Durability
from dicom_node.domain.instances import AssociationPeer
from dicom_node.domain.instances import InstanceKind as InstanceKind  # noqa: PLC0414 - of what the door takes
from dicom_node.domain.uids import is_safe_uid
from dicom_node.errors import DataSetMismatchError, InstanceTooLargeError, UnparsableDataSetError
from dicom_node.scp.header_scan import IDENTIFYING, SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, HeaderScan
from dicom_node.scp.metrics import of_peer
from dicom_node.scp.policy import Limits
from dicom_node.scp.space import SpaceWatch
from dicom_node.scp.visits import OpenVisit
from dicom_node.storage import InstanceFiles
from dicom_node.storage.commit import commit_for
from dicom_node.storage.instance_writer import BegunFile, InstanceWriter

_IMPLEMENTATION_CLASS_UID = "2.25.95683761233490493441215856519069836579"
_IMPLEMENTATION_VERSION = f"DICOM_NODE_{__version__.split('+')[0]}"[:16]
_LOOK_AT_SPACE_EVERY = 16 << 20
_NAMES = {0x00080016: "SOP Class UID", 0x00080018: "SOP Instance UID", 0x0020000D: "Study Instance UID", 0x0020000E: "Series Instance UID"}


class BegunInstance(NamedTuple):
    """An instance of which the accelerator wrote a part.

    Attributes:
        found: The identifying UIDs of the data set by tag, equal to what was announced.
        size_bytes: Of the data set, written so far.
    """

    file: BegunFile
    found: Mapping[int, str]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Client:
    """Whose instances arrive by an association, and what it may do."""

    origin: AssociationPeer
    limits: Limits
    visit: OpenVisit | None = None


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """How the door keeps and what it refuses.

    Attributes:
        owner: Unique name of this process on the node; names its partial files.
        min_free_bytes: Below this much free space instances are refused with A700.
        max_instance_bytes: Larger data sets are refused with A700; 0 is no limit.
    """

    owner: str
    durability: Durability
    min_free_bytes: int
    max_instance_bytes: int = 0


class Door:
    """Turns arriving data sets into durable Part 10 files. Safe to use from many threads."""

    def __init__(self, files: InstanceFiles, settings: DoorSettings, stored: Callable[[], None] = lambda: None) -> None:
        """Take what every instance needs.

        Args:
            files: Instance store; `prepare` was called.
            settings: See there.
            stored: Called after each acknowledged instance; must not block.
        """
        self.settings = settings
        self._files = files
        self._stored = stored
        self.space = SpaceWatch(files.free_bytes, settings.min_free_bytes)
        self.commit = commit_for(settings.durability, files.incoming)

    def begin(self, origin: AssociationPeer, kind: InstanceKind, max_instance_bytes: int = 0, visit: OpenVisit | None = None) -> Incoming:
        """Open the file of an instance that is about to arrive.

        Args:
            origin: Who brings it.
            kind: What it is announced as.
            max_instance_bytes: The sender's own limit; the narrower of this and the door's holds, 0 is none.
            visit: What it comes by; told which study it brings.

        Raises:
            OutOfResourcesError: free space is below the watermark.
            StorageError: the file cannot be created.
        """
        self.space.check()
        incoming = Incoming(self, origin, kind, self.narrower(max_instance_bytes), visit)
        with self.space:
            incoming.write_to(self._files.new_instance(self.commit, self.settings.owner))
        return incoming

    def resume(self, begun: BegunInstance, client: Client, kind: InstanceKind) -> Incoming:
        """Go on with an instance that the accelerator began."""
        incoming = Incoming(self, client.origin, kind, self.narrower(client.limits.max_instance_bytes), client.visit)
        incoming.write_to(self._files.resume_instance(begun.file, self.commit), begun)
        return incoming

    def narrower(self, max_instance_bytes: int) -> int:
        """Return the limit that holds for a sender with a limit of its own, bytes; 0 is none."""
        return min((limit for limit in (max_instance_bytes, self.settings.max_instance_bytes) if limit), default=0)

    def unique_name(self) -> str:
        """Return a beginning of file names that nobody else uses."""
        return self._files.unique_name(self.settings.owner)

    def kept(self) -> None:
        """Tell that an instance, or several, were kept."""
        self.space.kept()
        self._stored()

    def keep(self, origin: AssociationPeer, kind: InstanceKind, chunks: Iterable[bytes | memoryview]) -> Path:
        """Keep a whole data set; it is durable when this returns.

        Args:
            origin: Who brought it.
            kind: What it is announced as.
            chunks: The encoded data set, without preamble and file meta; kept bit for bit.

        Raises:
            DicomNodeError: with the status to answer.
        """
        incoming = self.begin(origin, kind)
        try:
            for chunk in chunks:
                incoming.write([chunk])
            return self._files.incoming / incoming.finish()
        finally:
            incoming.discard()


class Incoming:
    """One instance between its first fragment and its durable file."""

    __slots__ = ("_door", "_head", "_kind", "_max_bytes", "_metrics", "_scan", "_size_bytes", "_space_seen_at", "_visit", "_writer")

    def __init__(self, door: Door, origin: AssociationPeer, kind: InstanceKind, max_bytes: int, visit: OpenVisit | None) -> None:
        """Begin without a file; called by `Door.begin`."""
        self._visit = visit
        self._door = door
        self._kind = kind
        self._scan = HeaderScan(kind.transfer_syntax_uid)
        self._max_bytes = max_bytes
        self._metrics = of_peer(origin.calling_ae_title)
        self._size_bytes = self._space_seen_at = 0
        self._head = part_10_head(origin, kind)

    def write_to(self, writer: InstanceWriter, begun: BegunInstance | None = None) -> None:
        """Take the file: empty, or behind what the accelerator wrote."""
        self._writer = writer
        if begun is not None:
            self._scan.resume(begun.found)
            self._size_bytes = self._space_seen_at = begun.size_bytes
            if begun.file.size_bytes:
                self._head = b""

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID as far as it was seen; empty before."""
        return self._scan.found.get(STUDY_INSTANCE_UID, "")

    def write(self, views: Sequence[bytes | memoryview]) -> None:
        """Append fragments of the data set in order; they may be reused when this returns.

        Raises:
            InstanceTooLargeError: larger than allowed.
            OutOfResourcesError: the disk fills while it arrives.
            StorageError: disk full or broken.
        """
        for view in views:
            self._size_bytes += len(view)
            if not self._scan.done:
                self._scan.feed(view)
        if self._max_bytes and self._size_bytes > self._max_bytes:
            raise InstanceTooLargeError(f"instance larger than {self._max_bytes} bytes", hint="max_instance sets the limit")
        if self._size_bytes - self._space_seen_at > _LOOK_AT_SPACE_EVERY:
            self._space_seen_at = self._size_bytes
            self._door.space.check()
        if self._head:
            views = [self._head, *views]
            self._head = b""
        with self._door.space:
            self._writer.write(views)

    def finish(self) -> str:
        """Check the identifying UIDs, make the file durable, name it; returns the name.

        Raises:
            UnparsableDataSetError: no DICOM data set (C000).
            DataSetMismatchError: a UID is missing, malformed, or differs from what was announced (A900).
            StorageError: disk full or broken (A700).
        Source: PS3.4 B.2.3.
        """
        try:
            begin = perf_counter()
            check_identity(self._scan, self._kind)
            if self._visit is not None:
                self._visit.brings(self.study_instance_uid)
            with self._door.space:
                name = self._writer.commit()
        finally:
            self._writer.discard()
        self._metrics.stored(self._size_bytes, perf_counter() - begin)
        self._door.kept()
        return name

    def discard(self) -> None:
        """Drop what came so far; harmless after `finish`."""
        self._writer.discard()


def check_identity(scan: HeaderScan, kind: InstanceKind) -> None:
    """Compare what a data set says of itself with what was announced.

    Raises:
        UnparsableDataSetError: no DICOM data set.
        DataSetMismatchError: a UID is missing, malformed, or differs.
    """
    found = scan.found
    if not any(found.values()):
        raise UnparsableDataSetError("data set holds none of the identifying UIDs")
    for tag in IDENTIFYING:
        if not is_safe_uid(found.get(tag, "")):
            raise DataSetMismatchError(f"{_NAMES[tag]} is missing or no UID", offending_tag=tag)
    if found[SOP_CLASS_UID] != kind.sop_class_uid:
        raise DataSetMismatchError("SOP Class UID differs from what was announced", offending_tag=SOP_CLASS_UID)
    if found[SOP_INSTANCE_UID] != kind.sop_instance_uid:
        raise DataSetMismatchError("SOP Instance UID differs from what was announced", offending_tag=SOP_INSTANCE_UID)


def part_10_head(origin: AssociationPeer, kind: InstanceKind) -> bytes:
    """Write preamble, prefix and file meta.

    Sending and source AE title are the calling one, receiving AE title the called one; the address goes into Source
    Presentation Address.

    Source: PS3.10 7.1.
    """
    before, after = meta_around_instance(origin, kind.sop_class_uid, kind.transfer_syntax_uid)
    body = before + _element(0x03, b"UI", _uid(kind.sop_instance_uid)) + after
    return bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(body)) + body


@lru_cache(maxsize=1024)
def meta_around_instance(origin: AssociationPeer, sop_class_uid: str, transfer_syntax_uid: str) -> tuple[bytes, bytes]:
    """Write the file meta before and behind Media Storage SOP Instance UID, without its group length."""
    calling, called, address = map(_text, (origin.calling_ae_title, origin.called_ae_title, f"dicom://{origin.address}"))
    before = struct.pack("<HH2sHI", 2, 1, b"OB", 0, 2) + b"\0\1" + _element(0x02, b"UI", _uid(sop_class_uid))
    after = (
        _element(0x10, b"UI", _uid(transfer_syntax_uid))
        + _element(0x12, b"UI", _uid(_IMPLEMENTATION_CLASS_UID))
        + _element(0x13, b"SH", _text(_IMPLEMENTATION_VERSION))
        + _element(0x16, b"AE", calling)
        + _element(0x17, b"AE", calling)
        + _element(0x18, b"AE", called)
        + struct.pack("<HH2sHI", 2, 0x26, b"UR", 0, len(address))
        + address
    )
    return before, after


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def _uid(value: str) -> bytes:
    encoded = value.encode("ascii", "replace")
    return encoded + b"\0" if len(encoded) % 2 else encoded


def _text(value: str) -> bytes:
    encoded = value.encode("ascii", "replace")
    return encoded + b" " if len(encoded) % 2 else encoded
