"""DICOMDIR: which files a medium lists, and where they lie.

Source: PS3.10 8 and PS3.3 F.3.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue

from dicom_node.errors import UnparsableDataSetError
from dicom_node.pipeline.imports.results import printable

_LARGEST_DIRECTORY_BYTES = 256 << 20
_DAMAGE = (InvalidDicomError, OSError, ValueError, TypeError, AttributeError, NotImplementedError, EOFError, LookupError, struct.error)


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One file that a DICOMDIR lists.

    Attributes:
        file_id: As listed, components joined by `/`.
        path: Where it lies; None if it is missing.
        reason: Why it cannot be used; empty if it can.
    """

    file_id: str
    path: Path | None
    reason: str = ""


def listed_files(dicomdir: Path) -> list[ListedFile]:
    """Read which files a DICOMDIR lists, each once.

    File IDs are upper case by the standard; what mounts the medium may show them in lower case or with `;1`.

    Raises:
        UnparsableDataSetError: the DICOMDIR cannot be read.
    """
    try:
        if dicomdir.stat().st_size > _LARGEST_DIRECTORY_BYTES:
            raise UnparsableDataSetError(f"DICOMDIR is larger than {_LARGEST_DIRECTORY_BYTES >> 20} MiB")
        records = pydicom.dcmread(dicomdir, specific_tags=["DirectoryRecordSequence"]).get("DirectoryRecordSequence") or []
        file_ids = [_components(r.ReferencedFileID) for r in records if r.get("ReferencedFileID")]
    except _DAMAGE as error:
        raise UnparsableDataSetError(f"DICOMDIR cannot be read: {type(error).__name__}") from error
    names = _FolderNames()
    return [_locate(dicomdir.parent, file_id, names) for file_id in dict.fromkeys(file_ids)]


def _components(file_id: object) -> tuple[str, ...]:
    return tuple(str(part) for part in file_id) if isinstance(file_id, MultiValue | list | tuple) else (str(file_id),)


def _locate(folder: Path, components: tuple[str, ...], names: _FolderNames) -> ListedFile:
    shown = printable("/".join(components))
    if any(part in ("", ".", "..") or "/" in part or "\0" in part for part in components):
        return ListedFile(shown, None, "listed in DICOMDIR under a name that is none")
    path: Path | None = folder
    for part in components:
        path = names.find(path, part) if path is not None else None
    if path is None or not path.is_file():
        return ListedFile(shown, None, "listed in DICOMDIR, but missing")
    if not path.resolve().is_relative_to(folder.resolve()):
        return ListedFile(shown, None, "listed in DICOMDIR, but leads out of its folder")
    return ListedFile(shown, path)


class _FolderNames:
    """Finds names whatever their case, reading each folder once."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, Path]] = {}

    def find(self, folder: Path, name: str) -> Path | None:
        if folder not in self._folders:
            try:
                self._folders[folder] = {_plain(p.name): p for p in folder.iterdir()}
            except OSError:
                self._folders[folder] = {}
        return self._folders[folder].get(_plain(name))


def _plain(name: str) -> str:
    return name.strip().partition(";")[0].rstrip(".").upper()
