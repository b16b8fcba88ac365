"""The identifying UIDs of a data set, read while it arrives: no I/O, no pixels, bounded memory.

Rules:
1. Elements are walked in order; only the four UIDs are kept, everything else is stepped over by its length.
2. The walk ends behind Series Instance UID (0020,000E) or at the first later tag: data sets are in ascending order (PS3.5 7.1).
3. A VR that is none in an explicit data set is read as implicit, as old scanners mix them.
4. What cannot be walked ends the scan with what was found: the rest of the data set still has to be read from the network.

Source: PS3.5 7.1, 7.5, A.1 to A.5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Final

from dicom_node.ops.file_meta import DEFLATED

SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
STUDY_INSTANCE_UID: Final = 0x0020000D
SERIES_INSTANCE_UID: Final = 0x0020000E
IDENTIFYING: Final = (SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID)

_WANTED = frozenset(IDENTIFYING)
_WANTED_OF_GROUP_8 = frozenset({0x0016, 0x0018})
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_LONG_VR = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT_VR = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI"}
    | {b"UL", b"US"}
)
_READERS = {order: (struct.Struct(order + "HH2sH").unpack_from, struct.Struct(order + "I").unpack_from) for order in "<>"}
_LONGEST_UID = 64
_DEEPEST = 32
_INFLATE_BYTES = 1 << 16
_MOST_INFLATED_BYTES = 1 << 26
"""A deflated data set of a few megabytes can inflate to gigabytes; none has its identifying UIDs behind 64 MiB."""
IMPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"


class HeaderScan:
    """Feed it the data set in pieces of any size; it says when it has seen enough.

    Attributes:
        found: The identifying UIDs by tag, as they came, one trailing NUL removed; a UID longer than 64 bytes is cut.
        done: Nothing more is wanted.
    """

    __slots__ = ("_explicit", "_header", "_inflate", "_inflated_bytes", "_long", "_nesting", "_pending", "_skip", "done", "found")

    def __init__(self, transfer_syntax_uid: str) -> None:
        """Begin before the first element.

        Args:
            transfer_syntax_uid: A private one is read as Explicit VR Little Endian.
        """
        self.found: dict[int, str] = {}
        self.done = False
        self._explicit = transfer_syntax_uid != IMPLICIT_LITTLE_ENDIAN
        order = ">" if transfer_syntax_uid == EXPLICIT_BIG_ENDIAN else "<"
        self._header, self._long = _READERS[order]
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if transfer_syntax_uid in DEFLATED else None
        self._inflated_bytes = 0
        self._pending = b""
        self._skip = 0
        self._nesting: list[bool] = []  # one entry per open sequence or item; True: its content is implicit VR

    def resume(self, found: Mapping[int, str]) -> None:
        """Take over what another scan found of all that is wanted."""
        self.found, self.done = dict(found), True

    def feed(self, data: bytes | memoryview) -> bool:
        """Take the next bytes; they are not kept. Returns `done`."""
        if self.done:
            return True
        if self._inflate is None:
            self._walk(data)
            return self.done
        try:
            piece = self._inflate.decompress(data, _INFLATE_BYTES)
            while piece and not self.done:
                self._inflated_bytes += len(piece)
                if self._inflated_bytes > _MOST_INFLATED_BYTES:
                    self.done = True
                self._walk(piece)
                piece = self._inflate.decompress(self._inflate.unconsumed_tail, _INFLATE_BYTES)
        except zlib.error:
            self.done = True
        return self.done

    def _walk(self, data: bytes | memoryview) -> None:
        if self._skip >= len(data):
            self._skip -= len(data)
            return
        if self._skip:
            data = data[self._skip :]
            self._skip = 0
        if self._pending:
            data = self._pending + bytes(data)
        position = self._elements(data)
        self._pending = b"" if self.done or self._skip else bytes(data[position:])

    def _elements(self, data: bytes | memoryview) -> int:
        """Walk whole elements; return where the first incomplete one begins."""
        position, size = self._plain(data, 0), len(data)
        while (read := self._element(data, position)) is not None:
            tag, header, length, content_is_implicit = read
            if not self._nesting and (tag > SERIES_INSTANCE_UID or tag in _WANTED):
                if tag > SERIES_INSTANCE_UID or length == _UNDEFINED:
                    self.done = True
                    break
                start, kept = position + header, min(length, _LONGEST_UID + 1)
                if size - start < kept:
                    break
                self.found[tag] = bytes(data[start : start + kept]).decode("latin-1").removesuffix("\0")
                if tag == SERIES_INSTANCE_UID:
                    self.done = True
                    break
            if not self._nest(tag, length, content_is_implicit):
                self.done = True
                break
            position += header + (0 if length == _UNDEFINED else length)
            if position > size:
                self._skip = position - size
                break
            position = self._plain(data, position)
        return position

    def _plain(self, data: bytes | memoryview, position: int) -> int:
        """Step over explicit elements of a short VR that are whole and not wanted: most of a header, and fast."""
        if self._nesting or not self._explicit:
            return position
        size, header = len(data), self._header
        while size - position >= 8:
            group, element, vr, length = header(data, position)
            behind = position + 8 + length
            if vr not in _SHORT_VR or group >= 0x0020 or (group == 0x0008 and element in _WANTED_OF_GROUP_8) or behind > size:
                break
            position = behind
        return position

    def _element(self, data: bytes | memoryview, position: int) -> tuple[int, int, int, bool] | None:
        """Read tag, size of the header, length, and whether a content of undefined length is implicit; None: not all of it is here."""
        left = len(data) - position
        if left < 8:
            return None
        group, element, vr, length = self._header(data, position)
        tag = group << 16 | element
        inherited = bool(self._nesting) and self._nesting[-1]
        if vr in _SHORT_VR and self._explicit and not inherited and group != 0xFFFE:
            return tag, 8, length, False
        if vr in _LONG_VR and self._explicit and not inherited and group != 0xFFFE:
            return None if left < 12 else (tag, 12, self._long(data, position + 8)[0], vr == b"UN")
        return tag, 8, self._long(data, position + 4)[0], inherited

    def _nest(self, tag: int, length: int, content_is_implicit: bool) -> bool:  # noqa: FBT001 - the element's own fields
        """Follow sequences and items of undefined length; False if they cannot be nested so."""
        if tag in (_ITEM_END, _SEQUENCE_END):
            if not self._nesting or length:
                return False
            self._nesting.pop()
        elif length == _UNDEFINED:
            if len(self._nesting) >= _DEEPEST or (tag == _ITEM and not self._nesting):
                return False
            self._nesting.append(content_is_implicit)
        return True
