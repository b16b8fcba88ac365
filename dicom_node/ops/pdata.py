"""P-DATA-TF PDUs taken apart: bytes in, fragments out, no I/O.

Rules:
1. Fed any pieces of a byte stream, it gives the same fragments, only cut differently; a fragment carries the end of its PDV once.
2. It stops before a PDU of another type, which the caller takes.
3. A PDU holds one or more whole PDVs; a PDV has at least its context ID and its control header.
4. A length that contradicts another one ends the association; nothing is guessed.

Source: PS3.8 9.3.5, E.2.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from dicom_node.errors import PeerError

P_DATA_TF: Final = 0x04
PDU_HEADER_BYTES: Final = 6
_PDV_HEADER_BYTES = 6
_COMMAND, _LAST = 0x01, 0x02
_length = struct.Struct(">I").unpack_from


class MalformedPduError(PeerError):
    """A peer's PDUs contradict themselves; the association is aborted."""

    code = "pdu-malformed"


class Fragment(NamedTuple):
    """A piece of one PDV.

    Attributes:
        context_id: Presentation context ID, 1 to 255.
        is_command: Command set, otherwise data set.
        ends: The command set or data set ends with this piece.
        data: View into the caller's buffer.
    """

    context_id: int
    is_command: bool
    ends: bool
    data: memoryview


class PDataReader:
    """Keeps where in a PDU and a PDV the stream stands."""

    __slots__ = ("_context_id", "_control", "_pdu_left", "_pdv_left")

    def __init__(self) -> None:
        """Begin at a PDU's first byte."""
        self._pdu_left = 0
        self._pdv_left = -1  # -1: between PDVs
        self._context_id = self._control = 0

    def resume(self, fragment: Fragment, pdu_left: int, pdv_left: int) -> None:
        """Go on where another reader stopped.

        Args:
            fragment: The last one; its data is not looked at.
            pdu_left: Bytes of the PDU still to come.
            pdv_left: Of its PDV, -1 between two PDVs.
        """
        self._context_id, self._pdu_left, self._pdv_left = fragment.context_id, pdu_left, pdv_left
        self._control = fragment.is_command * _COMMAND | fragment.ends * _LAST

    @property
    def within_pdu(self) -> bool:
        """Whether the next byte belongs to a P-DATA-TF PDU that has begun."""
        return self._pdu_left > 0 or self._pdv_left >= 0

    def read(self, buffer: memoryview, fragments: list[Fragment]) -> int:
        """Take apart what is there.

        Args:
            buffer: Bytes from where the last call ended.
            fragments: Receives the pieces, in order; views into `buffer`.

        Returns:
            How many bytes were taken: all but an incomplete header, or up to a PDU of another type.

        Raises:
            MalformedPduError: naming the lengths that contradict each other.
        """
        position, size = 0, len(buffer)
        while True:
            if self._pdv_left >= 0:
                taken = min(self._pdv_left, size - position)
                self._pdv_left -= taken
                self._pdu_left -= taken
                complete = self._pdv_left == 0
                if taken or complete:
                    ends = complete and bool(self._control & _LAST)
                    command = bool(self._control & _COMMAND)
                    fragments.append(Fragment(self._context_id, command, ends, buffer[position : position + taken]))
                position += taken
                if not complete:
                    return position
                self._pdv_left = -1
            elif self._pdu_left:
                if size - position < _PDV_HEADER_BYTES:
                    return position
                self._begin_pdv(buffer, position)
                position += _PDV_HEADER_BYTES
            else:
                if size - position < PDU_HEADER_BYTES or buffer[position] != P_DATA_TF:
                    return position
                self._pdu_left = _length(buffer, position + 2)[0]
                if self._pdu_left < _PDV_HEADER_BYTES:
                    raise MalformedPduError(f"P-DATA-TF PDU of {self._pdu_left} bytes holds no PDV")
                position += PDU_HEADER_BYTES

    def _begin_pdv(self, buffer: memoryview, position: int) -> None:
        length = _length(buffer, position)[0]
        if length < 2 or length + 4 > self._pdu_left:
            raise MalformedPduError(f"PDV of {length} bytes in {self._pdu_left} bytes of a PDU")
        if 0 < self._pdu_left - length - 4 < _PDV_HEADER_BYTES:
            raise MalformedPduError(f"{self._pdu_left - length - 4} bytes left in a PDU, too few for a PDV")
        self._context_id, self._control = buffer[position + 4], buffer[position + 5]
        self._pdu_left -= _PDV_HEADER_BYTES
        self._pdv_left = length - 2
