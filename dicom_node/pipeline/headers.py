"""Reading an acknowledged Part 10 file into the index's terms."""

from __future__ import annotations

import hashlib
import os
import unicodedata
import warnings
import zlib
from datetime import UTC, datetime
from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.valuerep import STR_VR

from dicom_node.domain.equipment import NODE_MODEL_NAME
from dicom_node.domain.instances import AssociationPeer, Attributes, ReceivedInstance
from dicom_node.domain.uids import is_safe_uid
from dicom_node.errors import StorageError, StudyError
from dicom_node.storage.files import InstanceName

_NOT_TEXT = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_DEFLATED_REFERENCES = (b"1.2.840.10008.1.2.4.95", b"1.2.840.10008.1.2.4.205\0")  # PS3.5 A.7, A.12: pydicom 3.0 does not inflate these
_MOST_META_BYTES = 1024
_LONGEST_VALUE = 256
_MOST_VALUES = 64


def received_instance(path: Path) -> ReceivedInstance:
    """Read the header of a file in `incoming/`.

    Raises:
        StudyError: the file is damaged, or no reader makes sense of what a peer sent.
        StorageError: the system does not let it be read now.
    """
    try:
        with path.open("rb") as stream:
            return _read(path, stream)
    except OSError as error:
        raise StorageError(
            f"{path.name} cannot be read now: {error.strerror}", hint="check the disk and permissions of data_dir"
        ) from error


def _read(path: Path, stream: BufferedReader) -> ReceivedInstance:
    name = InstanceName.parse(path.name)
    state = os.fstat(stream.fileno())
    if name is not None and name.size_bytes != state.st_size:
        raise StudyError(f"{path.name} holds {state.st_size} bytes of {name.size_bytes}; it was not on disk yet when the power failed")
    try:
        data_set = _parsed(stream)
        meta = data_set.file_meta
        stream.seek(_data_set_offset(meta))
        instance = ReceivedInstance(
            study_instance_uid=str(data_set.StudyInstanceUID),
            series_instance_uid=str(data_set.SeriesInstanceUID),
            sop_instance_uid=str(data_set.SOPInstanceUID),
            sop_class_uid=str(data_set.SOPClassUID),
            transfer_syntax_uid=str(meta.TransferSyntaxUID),
            path=path,
            size_bytes=state.st_size,
            sha256=hashlib.file_digest(stream, "sha256").hexdigest(),
            received_at=datetime.fromtimestamp((name.received_ns if name else state.st_mtime_ns) / 1e9, UTC),
            peer=_peer(meta),
            attributes=header_attributes(data_set),
            own_result=str(data_set.get("ManufacturerModelName", "")) == NODE_MODEL_NAME,
        )
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        # whatever a reader makes of a stranger's bytes must cost this file, not the pipeline; pydicom's own OSErrors have no number
        raise StudyError(f"{path.name} cannot be read: {type(error).__name__}") from error
    uids = (instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)
    if not all(map(is_safe_uid, uids)):
        raise StudyError(f"{path.name} names its UIDs more than once, and differently")
    return instance


def _parsed(stream: BufferedReader) -> pydicom.FileDataset:
    head = stream.read(_MOST_META_BYTES)
    stream.seek(0)
    if not any(uid in head for uid in _DEFLATED_REFERENCES):
        with warnings.catch_warnings(action="ignore"):  # about character sets that nobody knows
            return pydicom.dcmread(stream, stop_before_pixels=True)
    meta = pydicom.filereader.read_partial(stream, stop_when=lambda _tag, _vr, _length: True).file_meta
    stream.seek(_data_set_offset(meta))
    content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read())
    data_set = pydicom.dcmread(BytesIO(content), stop_before_pixels=True, force=True)
    data_set.file_meta = meta
    return data_set


def _peer(meta: pydicom.dataset.FileMetaDataset) -> AssociationPeer:
    return AssociationPeer(
        str(meta.get("SourceApplicationEntityTitle", "")),
        str(meta.get("ReceivingApplicationEntityTitle", "")),
        str(meta.get("SourcePresentationAddress", "")).removeprefix("dicom://"),
    )


def header_attributes(data_set: pydicom.Dataset) -> Attributes:
    """List the elements that rules and models may ask for, by keyword; sequences, binary and private ones left out.

    Texts are Unicode by the data set's Specific Character Set, letters composed (NFC); numbers of binary VRs are decimal, single
    precision with the fewest digits that name them. A value that its VR does not allow is kept as the text that it is.
    """
    with warnings.catch_warnings(action="ignore"):  # about values; they would quote them
        named = ((keyword_for_tag(tag), tag) for tag in data_set.keys() if not tag.is_private)  # noqa: SIM118 - elements unread
        found = ((keyword, _values(data_set, tag)) for keyword, tag in named if keyword)
        return {keyword: values for keyword, values in found if values is not None}


def _data_set_offset(meta: pydicom.dataset.FileMetaDataset) -> int:
    return 128 + 4 + 12 + int(meta.FileMetaInformationGroupLength)


def _values(data_set: pydicom.Dataset, tag: BaseTag) -> tuple[str, ...] | None:
    """Return an element's values as text, or None for what routing never reads."""
    raw = data_set.get_item(tag, keep_deferred=True)
    if raw is None or raw.VR in _NOT_TEXT or (isinstance(raw, RawDataElement) and raw.value is None and raw.length):
        return None  # the last ones are pixel data that are still in their file
    try:
        element = data_set[tag]
    except Exception:  # noqa: BLE001 - what pydicom cannot convert must not cost the instance, nor its other elements
        return _limited(_raw_texts(raw))
    value = element.value
    if element.VR in _NOT_TEXT or isinstance(value, bytes):
        return None
    if value is None or value == "":
        return ()
    items = value if isinstance(value, MultiValue | list | tuple) else [value]
    if element.VR == "FL":
        return _limited(tuple(str(np.float32(item)) for item in items))
    return _limited(tuple(str(item) for item in items))


def _raw_texts(raw: RawDataElement | DataElement) -> tuple[str, ...] | None:
    """Take the bytes of an element for text, if its VR is one of text."""
    vr = raw.VR or dictionary_VR(raw.tag)
    if not isinstance(raw.value, bytes) or vr not in STR_VR:
        return None
    return tuple(raw.value.decode("ascii", "replace").rstrip(" \0").split("\\"))


def _limited(texts: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if texts is None or len(texts) > _MOST_VALUES or any(len(t) > _LONGEST_VALUE for t in texts):
        return None
    return tuple(t if t.isascii() else unicodedata.normalize("NFC", t) for t in texts)
