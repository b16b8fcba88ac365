"""In which transfer syntaxes a result object is proposed and sent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

_NATIVE = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
_COMPRESSED = (str(RLELossless), str(JPEGLSLossless))


def proposed_syntaxes(sop_class_uid: str, own: str, wanted: Sequence[str] = ()) -> list[str]:
    """List the transfer syntaxes to propose for an object, the best first.

    Args:
        sop_class_uid: Of the object; only Secondary Captures are compressed at send.
        own: The one it is written in.
        wanted: What the destination's profile names; empty: the own one, Explicit and Implicit VR Little Endian.
    """
    if not wanted:
        return list(dict.fromkeys([own, *_NATIVE]))
    fit = [s for s in wanted if s in _NATIVE or s == own or (s in _COMPRESSED and sop_class_uid == SecondaryCaptureImageStorage)]
    return fit or list(_NATIVE)


def to_send(path: Path, own: str, accepted: Collection[str], proposed: Sequence[str]) -> Path | pydicom.FileDataset:
    """Return the file itself if it can go as it is, else its data set in the best syntax that was accepted.

    Args:
        path: Part 10 file.
        own: Its transfer syntax.
        accepted: By the destination; at least one of `proposed`.
        proposed: The best first.

    Raises:
        Exception: whatever pydicom raises for a file that cannot be read or re-encoded.
    """
    chosen = next(syntax for syntax in proposed if syntax in accepted)
    return path if chosen == own else _encoded(path, chosen)


def _encoded(path: Path, syntax: str) -> pydicom.FileDataset:
    data_set = pydicom.dcmread(path)
    own = data_set.file_meta.TransferSyntaxUID
    if own.is_compressed and own != DeflatedExplicitVRLittleEndian:
        data_set.decompress(generate_instance_uid=False)
    if syntax in _COMPRESSED:
        data_set.compress(UID(syntax), generate_instance_uid=False)
        return data_set
    data_set.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = BytesIO()  # the network library takes a data set only in the encoding in which it was read
    data_set.save_as(buffer, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True, enforce_file_format=True)
    buffer.seek(0)
    return pydicom.dcmread(buffer)
