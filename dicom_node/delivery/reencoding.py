"""Objects whose transfer syntax a destination does not take, encoded in one that it takes."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian
from pynetdicom.dsutils import encode

NOT_READABLE = (InvalidDicomError, OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, RuntimeError, NotImplementedError)
"""What decoding a file raises that is no sound object."""


def encoded_as(path: Path, transfer_syntax_uid: str) -> bytes:
    """Decompress, inflate, compress or change the VR encoding of a file's data set.

    Args:
        path: A Part 10 file.
        transfer_syntax_uid: Explicit or Implicit VR Little Endian, RLE Lossless or JPEG-LS Lossless.

    Raises:
        NOT_READABLE: it cannot be decoded, or not be encoded so.
    """
    data_set = read_uncompressed(path)
    if UID(transfer_syntax_uid).is_compressed:
        data_set.compress(UID(transfer_syntax_uid), generate_instance_uid=False)
    encoded = encode(data_set, UID(transfer_syntax_uid).is_implicit_VR, is_little_endian=True)
    if encoded is None:
        raise ValueError("the data set cannot be encoded")
    return encoded


def read_uncompressed(path: Path) -> pydicom.FileDataset:
    """Read a Part 10 file as a data set that can be written in Explicit or Implicit VR Little Endian.

    Raises:
        NOT_READABLE: it cannot be decoded.
    """
    data_set = pydicom.dcmread(path)
    own = data_set.file_meta.TransferSyntaxUID
    if own != DeflatedExplicitVRLittleEndian and own.is_compressed:
        data_set.decompress(generate_instance_uid=False)  # it stays the same object, and is committed under its UID
    elif not own.is_little_endian:
        raise ValueError("pixel data of big-endian objects is not reordered")
    return data_set
