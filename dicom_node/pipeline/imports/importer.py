"""From files on disk through the door, with a result for each."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipInfo

from dicom_node.config import Configuration
from dicom_node.domain.durability import Durability
from dicom_node.domain.instances import AssociationPeer
from dicom_node.errors import ArchiveError, DicomNodeError, UnparsableDataSetError
from dicom_node.ops.file_meta import PREFIX_ENDS_AT, FileMeta, is_part_10
from dicom_node.pipeline.imports.media import listed_files
from dicom_node.pipeline.imports.results import Outcome, Result, printable
from dicom_node.scp.door import Door, DoorSettings, InstanceKind
from dicom_node.scp.part_10_stream import MEDIA_DIRECTORY_CLASS, DataSetSink, Part10Stream
from dicom_node.scp.visits import VisitBook
from dicom_node.storage import InstanceFiles
from dicom_node.storage.archives import CHUNK_BYTES, Archive, ArchiveLimits, BombError

_ZIP = (b"PK\3\4", b"PK\5\6")
DIRECTORY_OF_MEDIUM = "directory of a medium"
_NOT_DICOM = "no DICOM file: preamble and DICM prefix are missing"


def origin_of_imports(configuration: Configuration) -> AssociationPeer:
    """Name who brings imported instances; rules see it as CallingAET."""
    return AssociationPeer("IMPORT", configuration.ae_title, "localhost")


def importing_door(configuration: Configuration, files: InstanceFiles, owner: str, stored: Callable[[], None] = lambda: None) -> Door:
    """Open the door for imports; it always syncs, since the source may be deleted afterwards.

    Args:
        configuration: Limits and durability.
        files: Instance store, prepared.
        owner: Unique name of this process on the node.
        stored: Called after each instance.
    """
    dicom = configuration.node.dicom
    durability = Durability.GROUP if dicom.durability is Durability.NONE else dicom.durability
    return Door(files, DoorSettings(owner, durability, dicom.min_free, dicom.max_instance), stored)


class VisitingDoor:
    """The door for imports, and what is noted of them: what comes until `leave` is one visit."""

    def __init__(self, door: Door, origin: AssociationPeer, book: VisitBook) -> None:
        """Begin the first visit."""
        self._door, self._origin, self._book = door, origin, book
        self._visit = book.open()

    def begin(self, kind: InstanceKind) -> DataSetSink:
        """See `Door.begin`."""
        return self._door.begin(self._origin, kind, visit=self._visit)

    def leave(self, *, released: bool) -> None:
        """End a visit and begin the next.

        Args:
            released: Everything came that was to come.
        """
        self._visit.end(released=released)
        self._visit = self._book.open()


@dataclass(frozen=True, slots=True)
class Found:
    """A file to be imported.

    Attributes:
        named: An operator or a DICOMDIR named it, so that it fails where a file met by chance is skipped.
        problem: Why it cannot be read at all; empty if it can.
    """

    path: Path
    size_bytes: int = 0
    named: bool = False
    problem: str = ""


class Importer:
    """Reads what it is given and yields a result for every file; one failure stops nothing else."""

    def __init__(
        self,
        begin: Callable[[InstanceKind], DataSetSink],
        *,
        progress: Callable[[int], None] = lambda _size_bytes: None,
        limits: ArchiveLimits | None = None,
    ) -> None:
        """Take where instances go.

        Args:
            begin: The door's `begin` with its origin, or a sink that only checks.
            progress: Called with the bytes of each source as they are read.
            limits: For archives.
        """
        self._begin = begin
        self._progress = progress
        self._limits = limits or ArchiveLimits()

    def files(self, found: Iterable[Found]) -> Iterator[Result]:
        """Import files one after another."""
        for item in found:
            if item.problem:
                yield Result(item.path, Outcome.FAILED if item.named else Outcome.SKIPPED, item.problem)
                continue
            try:
                yield from self._file(item)
            except OSError as error:
                yield Result(item.path, Outcome.FAILED, f"cannot be read: {error.strerror}")

    def _file(self, item: Found) -> Iterator[Result]:
        with item.path.open("rb") as stream:
            start = stream.read(CHUNK_BYTES)
            if not is_part_10(start[:PREFIX_ENDS_AT]):
                self._progress(item.size_bytes)
                if start.startswith(_ZIP):
                    yield from self._archive(item.path)
                else:
                    yield Result(item.path, Outcome.FAILED if item.named else Outcome.SKIPPED, _NOT_DICOM)
                return
            if _holds_directory(start):
                self._progress(item.size_bytes)
                yield from self._directory(item.path)
                return

            def pieces() -> Iterator[bytes]:
                piece = start
                while piece:
                    yield piece
                    self._progress(len(piece))
                    piece = stream.read(CHUNK_BYTES)

            yield self._instance(item.path, "", pieces())

    def _instance(self, source: Path, member: str, pieces: Iterable[bytes]) -> Result:
        instance = Part10Stream(self._begin)
        try:
            for piece in pieces:
                instance.write(piece)
            instance.finish()
        except BombError:
            raise
        except DicomNodeError as error:
            return Result(source, Outcome.FAILED, str(error), member, error.retryable)
        finally:
            instance.discard()
        return Result(source, Outcome.STORED, member=member)

    def _directory(self, path: Path) -> Iterator[Result]:
        """Name what a DICOMDIR lists and the folder lacks; the files themselves are met on their own."""
        try:
            listed = listed_files(path)
        except UnparsableDataSetError as error:
            yield Result(path, Outcome.FAILED, str(error))
            return
        yield Result(path, Outcome.SKIPPED, DIRECTORY_OF_MEDIUM)
        for item in listed:
            if item.path is None:
                yield Result(path, Outcome.FAILED, item.reason, item.file_id)

    def _archive(self, path: Path) -> Iterator[Result]:
        try:
            with closing(Archive(path, self._limits)) as archive:
                for info in archive.members():
                    yield self._member(path, archive, info)
        except ArchiveError as error:
            yield Result(path, Outcome.FAILED, str(error))

    def _member(self, path: Path, archive: Archive, info: ZipInfo) -> Result:
        member = printable(info.filename)
        try:
            with archive.chunks(info) as pieces:
                start = b""
                for piece in pieces:
                    start += piece
                    if len(start) >= PREFIX_ENDS_AT:
                        break
                if not is_part_10(start[:PREFIX_ENDS_AT]):
                    reason = "archive within an archive" if start.startswith(_ZIP) else _NOT_DICOM
                    return Result(path, Outcome.SKIPPED, reason, member)
                if _holds_directory(start):
                    return Result(path, Outcome.SKIPPED, DIRECTORY_OF_MEDIUM, member)
                return self._instance(path, member, _chained(start, pieces))
        except BombError:
            raise
        except ArchiveError as error:
            return Result(path, Outcome.FAILED, str(error), member)


def find(paths: Iterable[Path]) -> Iterator[Found]:
    """List the files that an operator's paths mean: a file, a folder with all below it, a DICOMDIR with the files it lists."""
    for path in paths:
        try:
            state = path.stat()
        except OSError as error:
            yield Found(path, named=True, problem=f"cannot be read: {error.strerror}")
            continue
        if stat.S_ISDIR(state.st_mode):
            yield from walk(path)
        elif not stat.S_ISREG(state.st_mode):
            yield Found(path, named=True, problem="no regular file")
        elif path.name.upper() == "DICOMDIR":
            yield Found(path, state.st_size, named=True)
            yield from _listed(path)
        else:
            yield Found(path, state.st_size, named=True)


def walk(folder: Path) -> Iterator[Found]:
    """List all files below a folder in order of their names; links are not followed."""

    def unreadable(error: OSError) -> None:
        problems.append(Found(Path(error.filename), named=True, problem=f"cannot be read: {error.strerror}"))

    problems: list[Found] = []
    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            try:
                state = path.lstat()
            except OSError as error:
                yield Found(path, named=True, problem=f"cannot be read: {error.strerror}")
                continue
            yield Found(path, state.st_size, problem="" if stat.S_ISREG(state.st_mode) else "no regular file")
    yield from problems


def _listed(dicomdir: Path) -> Iterator[Found]:
    try:
        listed = listed_files(dicomdir)
    except UnparsableDataSetError:
        return  # the importer meets the same fault when it comes to the DICOMDIR itself
    for item in listed:
        if item.path is not None:
            yield Found(item.path, item.path.stat().st_size, named=True)


def _holds_directory(start: bytes) -> bool:
    meta = FileMeta()
    try:
        meta.feed(start)
    except UnparsableDataSetError:
        return False
    return meta.kind is not None and meta.kind.sop_class_uid == MEDIA_DIRECTORY_CLASS


def _chained(start: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield start
    yield from pieces
