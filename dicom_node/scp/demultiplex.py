"""One association's byte stream split in two: C-STORE requests, and everything else for pynetdicom.

Rules:
1. A message is a command set and, if that says so, a data set on the same presentation context. Messages do not interleave.
2. C-STORE requests become events as their fragments arrive. Everything else becomes whole PDUs, re-framed one PDV a PDU.
3. Nothing here grows with an object's size: command sets, foreign messages and control PDUs have limits.
4. No I/O. Views in events are valid until the next call.

Source: PS3.8 annex E, PS3.7 6.3.
"""

from __future__ import annotations

import struct
from collections.abc import Container
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from dicom_node.ops.command_set import C_STORE_RQ, command_field, has_data_set, read_command_set
from dicom_node.ops.pdata import P_DATA_TF, PDU_HEADER_BYTES, Fragment, MalformedPduError, PDataReader
from dicom_node.scp.command_set import StoreRequest, store_request

LONGEST_CONTROL_PDU: Final = 1 << 16
LONGEST_COMMAND: Final = 1 << 16
LONGEST_FOREIGN_MESSAGE: Final = 16 << 20
_SERVICES: Final = frozenset({0x0001, 0x0010, 0x0020, 0x0021, 0x0030, 0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150, 0x0FFF})
"""Requests by Command Field; a response has 8000H added. Source: PS3.7 E.1."""


class StoreBegins(NamedTuple):
    """A C-STORE request arrived; its data set follows if it says so."""

    request: StoreRequest


class StoreData(NamedTuple):
    """Pieces of the data set, in order; `ends` with the last."""

    views: list[memoryview]
    ends: bool


@dataclass(frozen=True, slots=True)
class Foreign:
    """One whole PDU that is not ours to serve."""

    pdu: bytes


Event: TypeAlias = StoreBegins | StoreData | Foreign


class Demultiplexer:
    """State of one association's stream after the association was accepted."""

    def __init__(self, context_ids: Container[int]) -> None:
        """Take the IDs of the accepted presentation contexts."""
        self._context_ids = context_ids
        self._pdata = PDataReader()
        self._command = bytearray()
        self._context_id = 0  # of the message under way; 0 between messages
        self._storing = False
        self._foreign_bytes = 0

    @property
    def between_messages(self) -> bool:
        """Whether the stream stands between two messages."""
        return self._context_id == 0 and not self._pdata.within_pdu

    def resume(self, fragment: Fragment, pdu_left: int, pdv_left: int, *, storing: bool) -> None:
        """Go on where another reader stopped, within the data set of a C-STORE or between two messages.

        Args:
            fragment: As for `PDataReader.resume`, as the two that follow.
            pdu_left: Bytes of the PDU still to come.
            pdv_left: Of its PDV, -1 between two PDVs.
            storing: Whether a data set is under way.
        """
        self._context_id, self._storing = fragment.context_id if storing else 0, storing
        self._pdata.resume(fragment, pdu_left, pdv_left)

    def feed(self, buffer: memoryview) -> tuple[list[Event], int]:
        """Take what has arrived.

        Args:
            buffer: Bytes from where the last call ended; large enough for the longest control PDU to become whole in it.

        Returns:
            Events in order, and how many bytes were taken; the rest must be fed again with more behind it.

        Raises:
            MalformedPduError: the peer contradicts itself or breaks a limit; abort.
        """
        fragments: list[Fragment] = []
        taken = self._pdata.read(buffer, fragments)
        events: list[Event] = []
        for fragment in fragments:
            self._take(fragment, events)
        if not self._pdata.within_pdu:
            taken += self._control_pdu(buffer[taken:], events)
        return events, taken

    def _control_pdu(self, buffer: memoryview, events: list[Event]) -> int:
        if len(buffer) < PDU_HEADER_BYTES or buffer[0] == P_DATA_TF:
            return 0
        kind, length = buffer[0], int.from_bytes(buffer[2:6], "big")
        if not 1 <= kind <= 7 or length > LONGEST_CONTROL_PDU:
            raise MalformedPduError(f"PDU of type {kind:02X} and {length} bytes")
        size = PDU_HEADER_BYTES + length
        if len(buffer) < size:
            return 0
        events.append(Foreign(bytes(buffer[:size])))
        return size

    def _take(self, fragment: Fragment, events: list[Event]) -> None:
        if fragment.context_id not in self._context_ids:
            raise MalformedPduError(f"presentation context {fragment.context_id} was not accepted")
        if self._context_id and fragment.context_id != self._context_id:
            raise MalformedPduError(f"presentation context {fragment.context_id} within a message on {self._context_id}")
        if fragment.is_command:
            self._take_command(fragment, events)
        else:
            self._take_data(fragment, events)

    def _take_command(self, fragment: Fragment, events: list[Event]) -> None:
        if self._context_id and not self._command and (self._storing or self._foreign_bytes):
            raise MalformedPduError("command set within a data set")
        self._context_id = fragment.context_id
        self._command += fragment.data
        if len(self._command) > LONGEST_COMMAND:
            raise MalformedPduError(f"command set of more than {LONGEST_COMMAND} bytes")
        if not fragment.ends:
            return
        command = bytes(self._command)
        self._command.clear()
        values = read_command_set(command)
        follows = has_data_set(values)
        field = command_field(values)
        if field & 0x7FFF not in _SERVICES:
            raise MalformedPduError(f"Command Field {field:04X} is no service's")
        if field == C_STORE_RQ:
            events.append(StoreBegins(store_request(values, fragment.context_id)))
            self._storing = follows
        else:
            events.append(_reframed(fragment.context_id, control=3, data=command))
            self._foreign_bytes = len(command)
        if not follows:
            self._end_message()

    def _take_data(self, fragment: Fragment, events: list[Event]) -> None:
        if not self._context_id or self._command:
            raise MalformedPduError("data set without a command set")
        if self._storing:
            last = events[-1] if events else None
            if isinstance(last, StoreData) and not last.ends:
                last.views.append(fragment.data)
                if fragment.ends:
                    events[-1] = StoreData(last.views, ends=True)
            else:
                events.append(StoreData([fragment.data], fragment.ends))
        else:
            self._foreign_bytes += len(fragment.data)
            if self._foreign_bytes > LONGEST_FOREIGN_MESSAGE:
                raise MalformedPduError(f"message of more than {LONGEST_FOREIGN_MESSAGE} bytes that is no C-STORE")
            events.append(_reframed(fragment.context_id, control=2 if fragment.ends else 0, data=fragment.data))
        if fragment.ends:
            self._end_message()

    def _end_message(self) -> None:
        self._context_id = self._foreign_bytes = 0
        self._storing = False


def _reframed(context_id: int, *, control: int, data: bytes | memoryview) -> Foreign:
    return Foreign(struct.pack(">BBIIBB", P_DATA_TF, 0, len(data) + 6, len(data) + 2, context_id, control) + data)
