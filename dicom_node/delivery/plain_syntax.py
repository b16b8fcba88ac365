"""Objects that a destination does not take in their own transfer syntax, written anew in one that all take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_NOT_READABLE = (InvalidDicomError, OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, RuntimeError)


@contextmanager
def in_explicit_little_endian(path: Path) -> Iterator[Path | None]:
    """Write an object as Explicit VR Little Endian into a file that is gone afterwards; None if it is so already, or cannot be decoded.

    The object is in memory as a whole meanwhile.
    """
    with TemporaryDirectory(prefix="dicom-node-") as folder:
        yield _written(path, Path(folder) / path.name)


def _written(path: Path, target: Path) -> Path | None:
    try:
        data_set = pydicom.dcmread(path)
        own = data_set.file_meta.TransferSyntaxUID
        if own in _PLAIN or not own.is_little_endian:  # pixel data of big-endian objects is not reordered
            return None
        if own != DeflatedExplicitVRLittleEndian and own.is_compressed:
            data_set.decompress(generate_instance_uid=False)  # it is the same instance: what the answer and the index call it
        data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data_set.save_as(target, implicit_vr=False, little_endian=True, enforce_file_format=True)
    except _NOT_READABLE:
        return None
    return target
