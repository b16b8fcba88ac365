"""Command sets of C-STORE: the request read, the response written.

Source: PS3.7 6.3.1, 9.3.1.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from dicom_node.scp.pdata import MalformedPduError

C_STORE_RQ: Final = 0x0001
_NO_DATA_SET = 0x0101
_LONGEST_UID = 64
_LONGEST_COMMENT = 64
_HEADER = struct.Struct("<HHI")
_read_header = _HEADER.unpack_from
_FIELD, _MESSAGE_ID, _DATA_SET_TYPE = 0x0100, 0x0110, 0x0800
_SOP_CLASS, _SOP_INSTANCE = 0x0002, 0x1000


class StoreRequest(NamedTuple):
    """A C-STORE-RQ; a tuple, as one is made for every instance.

    Attributes:
        sop_class_uid: Affected SOP Class UID, padding removed.
        sop_instance_uid: Affected SOP Instance UID, padding removed.
        has_data_set: Whether a data set follows.
    """

    context_id: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_data_set: bool


def read_command_set(encoded: bytes | bytearray | memoryview) -> dict[int, bytes]:
    """Read group 0000 as values by element; other groups are stepped over.

    Raises:
        MalformedPduError: an element does not fit.
    """
    values: dict[int, bytes] = {}
    position, size = 0, len(encoded)
    while position < size:
        if size - position < 8:
            raise MalformedPduError(f"command set ends within an element, {size - position} bytes left over")
        group, element, length = _read_header(encoded, position)
        position += 8
        if length > size - position:
            raise MalformedPduError(f"command element ({group:04X},{element:04X}) of {length} bytes, {size - position} are there")
        if group == 0:
            values[element] = bytes(encoded[position : position + length])
        position += length
    return values


def command_field(values: dict[int, bytes]) -> int:
    """Return Command Field (0000,0100).

    Raises:
        MalformedPduError: it is missing.
    """
    return _unsigned_short(values, _FIELD)


def has_data_set(values: dict[int, bytes]) -> bool:
    """Say whether a data set follows the command."""
    return _unsigned_short(values, _DATA_SET_TYPE) != _NO_DATA_SET


def store_request(values: dict[int, bytes], context_id: int) -> StoreRequest:
    """Read a C-STORE-RQ.

    Raises:
        MalformedPduError: a mandatory element is missing.
    """
    sop_class_uid, sop_instance_uid = values.get(_SOP_CLASS), values.get(_SOP_INSTANCE)
    if sop_class_uid is None or sop_instance_uid is None:
        missing = _SOP_CLASS if sop_class_uid is None else _SOP_INSTANCE
        raise MalformedPduError(f"C-STORE-RQ without (0000,{missing:04X})")
    uids = sop_class_uid.decode("latin-1").rstrip("\0 "), sop_instance_uid.decode("latin-1").rstrip("\0 ")
    return StoreRequest(context_id, _unsigned_short(values, _MESSAGE_ID), *uids, has_data_set(values))


def store_response(request: StoreRequest, status: int, *, comment: str = "", offending_tag: int | None = None) -> bytes:
    """Write a C-STORE-RSP as one P-DATA-TF PDU.

    Args:
        request: What is answered.
        status: Status (0000,0900).
        comment: Error Comment (0000,0902), cut to 64 characters; no patient data.
        offending_tag: Offending Element (0000,0901).
    """
    body = b"".join(
        (
            _element(_SOP_CLASS, _padded(request.sop_class_uid[:_LONGEST_UID], b"\0")),
            _element(_FIELD, struct.pack("<H", 0x8001)),
            _element(0x0120, struct.pack("<H", request.message_id)),
            _element(_DATA_SET_TYPE, struct.pack("<H", _NO_DATA_SET)),
            _element(0x0900, struct.pack("<H", status)),
            b"" if offending_tag is None else _element(0x0901, struct.pack("<HH", offending_tag >> 16, offending_tag & 0xFFFF)),
            _element(0x0902, _padded(comment[:_LONGEST_COMMENT], b" ")) if comment else b"",
            _element(_SOP_INSTANCE, _padded(request.sop_instance_uid[:_LONGEST_UID], b"\0")),
        )
    )
    command = _element(0x0000, struct.pack("<I", len(body))) + body
    return struct.pack(">BBIIBB", 4, 0, len(command) + 6, len(command) + 2, request.context_id, 3) + command


def _unsigned_short(values: dict[int, bytes], element: int) -> int:
    value = values.get(element, b"")
    if len(value) != 2:
        raise MalformedPduError(f"command element (0000,{element:04X}) is missing or not two bytes long")
    return int.from_bytes(value, "little")


def _element(element: int, value: bytes) -> bytes:
    return _HEADER.pack(0, element, len(value)) + value


def _padded(text: str, pad: bytes) -> bytes:
    encoded = text.encode("latin-1", "replace")
    return encoded + pad if len(encoded) % 2 else encoded
