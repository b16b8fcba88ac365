"""Zip archives, read member by member; nothing is ever written under a name that an archive gives.

What a hostile archive could do, and what holds it:
1. A name that leads out of a folder: names are shown and never used; such a member is refused all the same, nobody means well by it.
2. A bomb: only stored and deflated members are read, since the others unpack in one piece; all members together may unpack to a limit.
3. A directory of millions of members: its size is read before Python's own reader builds an object for each.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from dicom_node.errors import ArchiveError

CHUNK_BYTES = 1 << 20
_READABLE = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED = 0x1
_END, _END_64, _LOCATOR_64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_LONGEST_TAIL = 22 + 0xFFFF
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError, struct.error)


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Beyond these an archive is taken for hostile.

    Attributes:
        members: Most members.
        ratio: Most bytes that all members together unpack to, per byte of the archive.
        always_bytes: Allowed to unpack to whatever the ratio; blank images shrink a thousandfold.
        directory_bytes: Largest directory.
    """

    members: int = 200_000
    ratio: int = 100
    always_bytes: int = 1 << 30
    directory_bytes: int = 64 << 20


class Archive:
    """An open zip."""

    def __init__(self, path: Path, limits: ArchiveLimits) -> None:
        """Read the directory.

        Raises:
            ArchiveError: no zip, or too large a directory.
        """
        self._limits = limits
        try:
            with path.open("rb") as stream:
                size = directory_bytes(stream)
            if size > limits.directory_bytes:
                raise ArchiveError(f"archive's directory has {size} bytes, {limits.directory_bytes} are allowed")
            self._zip = zipfile.ZipFile(path)
            self._left_bytes = max(limits.always_bytes, limits.ratio * path.stat().st_size)
        except _DAMAGE as error:
            raise ArchiveError(f"archive cannot be read: {type(error).__name__}") from error
        if len(self._zip.infolist()) > limits.members:
            self._zip.close()
            raise ArchiveError(f"archive has {len(self._zip.infolist())} members, {limits.members} are allowed", hint="import it in parts")

    def members(self) -> list[zipfile.ZipInfo]:
        """List the members that are files."""
        return [info for info in self._zip.infolist() if not info.is_dir()]

    @contextmanager
    def chunks(self, info: zipfile.ZipInfo) -> Iterator[Iterator[bytes]]:
        """Unpack one member piece by piece; a checksum that does not fit raises before the last piece is out.

        Raises:
            ArchiveError: the member is refused or damaged, or the archive unpacks to too much.
        """
        if problem := member_problem(info):
            raise ArchiveError(problem)
        with _damage_named():
            stream = self._zip.open(info)
        with stream:
            yield self._pieces(stream)

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def _pieces(self, stream: IO[bytes]) -> Iterator[bytes]:
        while True:
            with _damage_named():
                piece = stream.read(CHUNK_BYTES)
            if not piece:
                return
            self._left_bytes -= len(piece)
            if self._left_bytes < 0:
                raise BombError(
                    f"archive unpacks to more than {self._limits.ratio} times its size and {self._limits.always_bytes >> 20} MiB",
                    hint="unpack it by hand and import the folder, if it is meant well",
                )
            yield piece


class BombError(ArchiveError):
    """The archive as a whole is refused; no further member is read."""

    code = "archive-bomb"


def member_problem(info: zipfile.ZipInfo) -> str:
    """Say why a member is refused before it is read; empty if it is not."""
    path = PurePosixPath(info.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
        return "name leads out of the archive"
    if info.flag_bits & _ENCRYPTED:
        return "encrypted"
    kind = info.external_attr >> 16
    if kind and stat.S_IFMT(kind) not in (0, stat.S_IFREG):
        return "no regular file"
    if info.compress_type not in _READABLE:
        return f"compression method {info.compress_type} is not read, only stored and deflated"
    return ""


def directory_bytes(stream: BinaryIO) -> int:
    """Read how large an archive's directory is, from its end records.

    Raises:
        ArchiveError: there is no end record.
    Source: PKWARE APPNOTE 4.3.14 to 4.3.16.
    """
    stream.seek(0, 2)
    size = stream.tell()
    stream.seek(max(0, size - _LONGEST_TAIL - 20))
    tail = stream.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < 22:
        raise ArchiveError("archive has no directory; it may be cut off")
    found = int(struct.unpack_from("<I", tail, at + 12)[0])
    if at >= 20 and tail[at - 20 : at - 16] == _LOCATOR_64:
        stream.seek(struct.unpack_from("<Q", tail, at - 12)[0])
        record = stream.read(56)
        if len(record) == 56 and record[:4] == _END_64:
            found = int(struct.unpack_from("<Q", record, 40)[0])
    return found


@contextmanager
def _damage_named() -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise ArchiveError(f"damaged: {type(error).__name__}") from error
