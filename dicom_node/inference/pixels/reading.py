"""Files to data sets whose pixel data stay on disk until a frame is wanted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from struct import unpack
from typing import BinaryIO

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from dicom_node.errors import PixelError

PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
UNDEFINED_LENGTH = 0xFFFFFFFF
_PIXEL_VRS = {name.encode(): name for name in ("OB", "OW", "OF", "OD", "UN")}


def default_threads() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0))


def read_instances(paths: Sequence[Path], *, pixels: bool = True, threads: int = 0) -> list[pydicom.Dataset]:
    """Read instances, in the order given, with their pixel data or without.

    Pixel data stay in the file: the data set knows where they are, and whoever asks it for them gets them read then. Only deflated
    files are read whole. What stands behind the pixel data is left out.

    Args:
        paths: Part 10 files; must stay until the frames are decoded.
        pixels: False leaves the pixel data out.
        threads: That read; 0 for as many as there are cores.

    Raises:
        PixelError: a file cannot be read.
    """
    read = _read_with_pixels if pixels else _read_header
    try:
        with ThreadPoolExecutor(threads or default_threads()) as pool:
            return list(pool.map(read, paths))
    except (InvalidDicomError, OSError, ValueError, EOFError) as error:
        raise PixelError(f"an instance cannot be read: {type(error).__name__}") from error


def _read_header(path: Path) -> pydicom.Dataset:
    return pydicom.dcmread(path, stop_before_pixels=True)


def _read_with_pixels(path: Path) -> pydicom.Dataset:
    with path.open("rb") as stream:
        data_set = pydicom.dcmread(stream, stop_before_pixels=True)
        if data_set.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            stream.seek(0)
            return pydicom.dcmread(stream)
        element = _element_at(stream, data_set)
    data_set.filename, data_set.buffer = str(path), None
    if element is not None:
        data_set[element.tag] = element
    return data_set


def _element_at(stream: BinaryIO, data_set: pydicom.Dataset) -> RawDataElement | None:
    """Read the element header that the stream stands before; its value is left unread, as pydicom does with a deferred one."""
    little = bool(data_set.original_encoding[1])
    head = stream.read(8)
    if len(head) < 8:
        return None
    order = "<" if little else ">"
    group, number = unpack(f"{order}HH", head[:4])
    tag = Tag(group, number)
    if pydicom.datadict.keyword_for_tag(tag) not in PIXEL_KEYWORDS:
        return None
    vr = _PIXEL_VRS.get(head[4:6])  # implicit VR has the low bytes of an even length here, which no VR looks like
    length = unpack(f"{order}L", stream.read(4) if vr else head[4:])[0]
    known = "OB or OW" if vr is None and length == UNDEFINED_LENGTH else vr  # as pydicom finds it when it reads the value after all
    return RawDataElement(tag, known, length, None, stream.tell(), vr is None, little)


@dataclass(frozen=True, slots=True)
class PixelSource:
    """Where the pixel data of an instance are.

    Attributes:
        keyword: PixelData, FloatPixelData or DoubleFloatPixelData.
        vr: OB or OW; OW where the encoding does not say.
        size_bytes: Of the value; for encapsulated pixel data in a file, what follows until its end.
        transfer_syntax: As the file meta information says.
    """

    keyword: str
    vr: str
    size_bytes: int
    transfer_syntax: UID
    _value: bytes | None
    _path: str
    _offset: int

    def open(self) -> BinaryIO:
        """Open a stream of its own that stands at the first byte of the value; to be closed."""
        if self._value is not None:
            return BytesIO(self._value)
        stream = Path(self._path).open("rb")  # noqa: SIM115 - the caller closes it
        stream.seek(self._offset)
        return stream


def pixel_source(data_set: pydicom.Dataset) -> PixelSource:
    """Find the pixel data without reading them.

    Raises:
        PixelError: there are none, or more than one kind, or nothing says how they are encoded.
    """
    found = [keyword for keyword in PIXEL_KEYWORDS if keyword in data_set]
    if len(found) != 1:
        raise PixelError(f"{label(data_set)} has {'no pixel data' if not found else ' and '.join(found)}")
    syntax = getattr(data_set, "file_meta", pydicom.Dataset()).get("TransferSyntaxUID")
    if not syntax:
        raise PixelError(f"{label(data_set)} does not say its transfer syntax")
    element = data_set.get_item(found[0], keep_deferred=True)
    vr = element.VR if element.VR in {"OB", "OW"} else "OW"
    if isinstance(element, RawDataElement) and element.value is None and element.length:
        path = str(data_set.filename)
        try:
            rest = Path(path).stat().st_size - element.value_tell
        except OSError as error:
            raise PixelError(f"{label(data_set)}: its file cannot be read any more: {type(error).__name__}") from error
        size = rest if element.length == UNDEFINED_LENGTH else element.length
        if size > rest:
            raise PixelError(f"{label(data_set)} is cut: {rest} of {size} bytes of pixel data are in the file")
        return PixelSource(found[0], vr, size, syntax, None, path, element.value_tell)
    value = bytes(element.value or b"")
    return PixelSource(found[0], vr, len(value), syntax, value, "", 0)


def label(data_set: pydicom.Dataset) -> str:
    """Name an instance in a message, without anything about the patient."""
    number = data_set.get("InstanceNumber")
    return f"instance {'?' if number is None else number} ({data_set.get('SOPInstanceUID', 'no SOP Instance UID')})"
