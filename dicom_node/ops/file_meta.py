"""The head of a Part 10 file, read while it arrives: preamble, prefix, file meta. No I/O, bounded memory.

Rules:
1. The head ends at the first element of another group: writers that leave File Meta Information Group Length (0002,0000) out or get
   it wrong are common.
2. A deflated data set begins with any bytes; before it the head ends where the group length says, if an element ends there.
3. A head longer than 64 KiB is none: real ones have a few hundred bytes.

Source: PS3.10 7.1.
"""

from __future__ import annotations

import struct
from typing import Final

from dicom_node.domain.instances import InstanceKind
from dicom_node.domain.uids import is_safe_uid
from dicom_node.errors import UnparsableDataSetError

DEFLATED: Final = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
LONGEST_HEAD: Final = 64 << 10
PREFIX_ENDS_AT: Final = 132
_PREFIX = b"DICM"
_GROUP_LENGTH, _SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX = 0x0000, 0x0002, 0x0003, 0x0010
_NEEDED = {
    _SOP_CLASS: "Media Storage SOP Class UID",
    _SOP_INSTANCE: "Media Storage SOP Instance UID",
    _TRANSFER_SYNTAX: "Transfer Syntax UID",
}
_LONG_VR = frozenset({b"OB", b"OW", b"OD", b"OF", b"OL", b"OV", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_header = struct.Struct("<HH2sH").unpack_from
_length = struct.Struct("<I").unpack_from


def is_part_10(start: bytes | bytearray) -> bool:
    """Say whether the first 132 bytes of a file are preamble and prefix."""
    return bytes(start[128:PREFIX_ENDS_AT]) == _PREFIX


class FileMeta:
    """Feed it a Part 10 file in pieces of any size until it gives the rest back.

    Attributes:
        kind: What the file says it holds; None until the head is complete.
    """

    __slots__ = ("_buffer", "_ends_at", "_found", "_position", "kind")

    def __init__(self) -> None:
        self.kind: InstanceKind | None = None
        self._buffer = bytearray()
        self._position = PREFIX_ENDS_AT
        self._ends_at = 0
        self._found: dict[int, str] = {}

    def feed(self, data: bytes | memoryview) -> bytes | None:
        """Take the next bytes.

        Returns:
            What follows the head, possibly nothing, once the head is complete; None before.

        Raises:
            UnparsableDataSetError: no Part 10 file, or its head lacks what must be there.
        """
        self._buffer += data
        if len(self._buffer) >= PREFIX_ENDS_AT and not is_part_10(self._buffer):
            raise UnparsableDataSetError("no DICOM file: preamble and DICM prefix are missing")
        while (step := self._element()) is not None:
            if step == 0:
                self.kind = self._read_kind()
                return bytes(self._buffer[self._position :])
            self._position += step
        if len(self._buffer) > LONGEST_HEAD:
            raise UnparsableDataSetError(f"file meta does not end within {LONGEST_HEAD} bytes")
        return None

    @property
    def size_bytes(self) -> int:
        """Where in the file the data set begins, once the head is complete."""
        return self._position

    def end(self) -> None:
        """Say that the file ends before its head did.

        Raises:
            UnparsableDataSetError: always.
        """
        raise UnparsableDataSetError(f"file ends after {len(self._buffer)} bytes, within its file meta")

    def _element(self) -> int | None:
        """Return the size of the next element, 0 at the end of the head, None if more bytes are needed."""
        if self._position == self._ends_at and self._found.get(_TRANSFER_SYNTAX) in DEFLATED:
            return 0
        if len(self._buffer) < self._position + 8:
            return None
        group, element, vr, short_length = _header(self._buffer, self._position)
        if group != 0x0002:
            return 0
        header, length = 8, int(short_length)
        if vr in _LONG_VR:
            if len(self._buffer) < self._position + 12:
                return None
            header, length = 12, int(_length(self._buffer, self._position + 8)[0])
        if len(self._buffer) < self._position + header + length:
            if header + length > LONGEST_HEAD:
                raise UnparsableDataSetError(f"element (0002,{element:04X}) of the file meta claims {length} bytes")
            return None
        value = bytes(self._buffer[self._position + header : self._position + header + length])
        if element == _GROUP_LENGTH and length == 4:
            self._ends_at = self._position + header + length + _length(value)[0]
        elif element in _NEEDED:
            self._found[element] = value.decode("latin-1").rstrip("\0 ")
        return header + length

    def _read_kind(self) -> InstanceKind:
        for element, name in _NEEDED.items():
            if not is_safe_uid(self._found.get(element, "")):
                raise UnparsableDataSetError(f"{name} (0002,{element:04X}) is missing or no UID")
        return InstanceKind(self._found[_SOP_CLASS], self._found[_SOP_INSTANCE], self._found[_TRANSFER_SYNTAX])
