"""Objects that a destination does not take in their own transfer syntax, written anew in one that all take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom.filereader import read_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.delivery.reencoding import NOT_READABLE, read_uncompressed

_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


@contextmanager
def in_explicit_little_endian(path: Path) -> Iterator[Path | None]:
    """Write an object as Explicit VR Little Endian into a file that is gone afterwards; None if it is so already, or cannot be decoded.

    The object is in memory as a whole meanwhile.
    """
    with TemporaryDirectory(prefix="dicom-node-") as folder:
        yield _written(path, Path(folder) / path.name)


def _written(path: Path, target: Path) -> Path | None:
    try:
        if read_file_meta_info(path).TransferSyntaxUID in _PLAIN:
            return None
        data_set = read_uncompressed(path)
        data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data_set.save_as(target, implicit_vr=False, little_endian=True, enforce_file_format=True)
    except NOT_READABLE:
        return None
    return target
