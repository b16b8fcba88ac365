"""The DICOM files that come inside installed packages; nothing is downloaded."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pydicom
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import UID

_FOLDERS = {"pydicom": "data/test_files", "pynetdicom": "tests/dicom_files", "data_store": "data"}
_NO_DICOM = {".dump", ".txt", ".json", ".gz", ".icc", ".py", ".pyc"}


@dataclass(frozen=True, slots=True)
class SentFile:
    """One file as a sender would announce it; empty UIDs where it says nothing of itself."""

    name: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes

    @property
    def names(self) -> tuple[str, str]:
        return UID(self.sop_class_uid).name, UID(self.transfer_syntax_uid).name


def corpora() -> Iterator[SentFile]:
    for package, below in _FOLDERS.items():
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None, f"{package} is not installed"
        root = Path(spec.origin).parent / below
        paths = sorted(p for p in root.rglob("*") if p.is_file() and p.suffix not in _NO_DICOM)
        assert paths, root
        for path in paths:
            yield _read(path, f"{package}/{path.relative_to(root)}")


def _read(path: Path, name: str) -> SentFile:
    with warnings.catch_warnings(), path.open("rb") as stream:
        warnings.simplefilter("ignore")
        read_preamble(stream, force=True)
        meta = _read_file_meta_info(stream)
        start = stream.tell()
        try:
            own = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        except Exception:  # noqa: BLE001 - some of these files exist to break readers
            own = pydicom.Dataset()
    syntax = str(meta.get("TransferSyntaxUID", "") or "")
    sop_class = str(own.get("SOPClassUID", "") or meta.get("MediaStorageSOPClassUID", "") or "")
    sop_instance = str(own.get("SOPInstanceUID", "") or meta.get("MediaStorageSOPInstanceUID", "") or "")
    return SentFile(name, sop_class, sop_instance, syntax, path.read_bytes()[start:])
