"""Command sets of DIMSE messages: read as values by element, written element by element.

Source: PS3.7 6.3.1, 9.3.
"""

from __future__ import annotations

import struct
from typing import Final

from dicom_node.ops.pdata import MalformedPduError

C_STORE_RQ: Final = 0x0001
C_STORE_RSP: Final = 0x8001
NO_DATA_SET: Final = 0x0101
SOP_CLASS: Final = 0x0002
COMMAND_FIELD: Final = 0x0100
MESSAGE_ID: Final = 0x0110
RESPONDED_TO: Final = 0x0120
DATA_SET_TYPE: Final = 0x0800
STATUS: Final = 0x0900
ERROR_COMMENT: Final = 0x0902
SOP_INSTANCE: Final = 0x1000
_LONGEST_UID = 64
_HEADER = struct.Struct("<HHI")
_read_header = _HEADER.unpack_from


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
        group, number, length = _read_header(encoded, position)
        position += 8
        if length > size - position:
            raise MalformedPduError(f"command element ({group:04X},{number:04X}) of {length} bytes, {size - position} are there")
        if group == 0:
            values[number] = bytes(encoded[position : position + length])
        position += length
    return values


def command_field(values: dict[int, bytes]) -> int:
    """Return Command Field (0000,0100).

    Raises:
        MalformedPduError: it is missing.
    """
    return unsigned_short(values, COMMAND_FIELD)


def has_data_set(values: dict[int, bytes]) -> bool:
    """Say whether a data set follows the command."""
    return unsigned_short(values, DATA_SET_TYPE) != NO_DATA_SET


def unsigned_short(values: dict[int, bytes], number: int) -> int:
    """Return a US element.

    Raises:
        MalformedPduError: it is missing or not two bytes long.
    """
    value = values.get(number, b"")
    if len(value) != 2:
        raise MalformedPduError(f"command element (0000,{number:04X}) is missing or not two bytes long")
    return int.from_bytes(value, "little")


def command_set(*elements: bytes) -> bytes:
    """Put a command set together; elements in ascending order, without Command Group Length."""
    body = b"".join(elements)
    return element(0, struct.pack("<I", len(body))) + body


def element(number: int, value: bytes) -> bytes:
    """Write an element of group 0000."""
    return _HEADER.pack(0, number, len(value)) + value


def us_element(number: int, value: int) -> bytes:
    """Write a US element."""
    return element(number, struct.pack("<H", value))


def uid_element(number: int, uid: str) -> bytes:
    """Write a UI element, cut to 64 characters."""
    return text_element(number, uid[:_LONGEST_UID], b"\0")


def text_element(number: int, text: str, pad: bytes = b" ") -> bytes:
    """Write an element of text, padded to an even length."""
    encoded = text.encode("latin-1", "replace")
    encoded += pad * (len(encoded) % 2)
    return element(number, encoded)
