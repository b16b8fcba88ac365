"""DIMSE messages of a requestor: requests written, whole messages put together from the PDUs that come. No I/O.

Source: PS3.7 9.3.1, 10.3.1, 10.3.5, PS3.8 9.3.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dicom_node.domain.instances import InstanceKind
from dicom_node.ops.command_set import (
    C_STORE_RQ,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    ERROR_COMMENT,
    MESSAGE_ID,
    NO_DATA_SET,
    RESPONDED_TO,
    SOP_CLASS,
    SOP_INSTANCE,
    STATUS,
    command_field,
    command_set,
    has_data_set,
    read_command_set,
    uid_element,
    unsigned_short,
    us_element,
)
from dicom_node.ops.pdata import P_DATA_TF, Fragment, MalformedPduError, PDataReader

N_EVENT_REPORT_RQ: Final = 0x0100
N_EVENT_REPORT_RSP: Final = 0x8100
N_ACTION_RQ: Final = 0x0130
N_ACTION_RSP: Final = 0x8130
_PRIORITY, _LOW = 0x0700, 0x0002
_REQUESTED_SOP_CLASS, _REQUESTED_SOP_INSTANCE = 0x0003, 0x1001
_EVENT_TYPE, _ACTION_TYPE = 0x1002, 0x1008
_A_DATA_SET = 0x0001
_LONGEST_COMMAND, _LONGEST_DATA_SET = 1 << 14, 1 << 24


class Message(NamedTuple):
    """A message that came whole.

    Attributes:
        context_id: Of its presentation context.
        values: Command elements by number.
        data_set: As encoded; empty without one.
    """

    context_id: int
    values: dict[int, bytes]
    data_set: bytes

    @property
    def field(self) -> int:
        """Command Field."""
        return command_field(self.values)

    @property
    def status(self) -> int:
        """Status.

        Raises:
            MalformedPduError: it has none.
        """
        return unsigned_short(self.values, STATUS)

    @property
    def error_comment(self) -> str:
        """Error Comment, which may be about the patient."""
        return self.values.get(ERROR_COMMENT, b"").decode("utf-8", "replace").strip(" \0")

    def answers(self, field: int, context_id: int, message_id: int) -> bool:
        """Say whether it is the response to a request.

        Raises:
            MalformedPduError: what must be there is missing.
        """
        return (self.field, self.context_id, unsigned_short(self.values, RESPONDED_TO)) == (field, context_id, message_id)


class MessageReader:
    """Feed it what arrives, in pieces of any size.

    Attributes:
        foreign: From where on something else than P-DATA-TF came; empty while nothing did.
    """

    def __init__(self) -> None:
        """Begin at a PDU's first byte."""
        self.foreign = b""
        self._buffer = bytearray()
        self._reader = PDataReader()
        self._context_id = 0
        self._command, self._data_set = bytearray(), bytearray()
        self._values: dict[int, bytes] | None = None

    @property
    def within_message(self) -> bool:
        """Whether a part of a message came."""
        return self._reader.within_pdu or bool(self._command) or self._values is not None

    @property
    def rest(self) -> bytes:
        """What came and was no message yet, if a PDU can be read from it: nothing within one."""
        return self.foreign or (b"" if self._reader.within_pdu else bytes(self._buffer))

    def feed(self, arrived: bytes | memoryview) -> list[Message]:
        """Take the next bytes; returns the messages that they complete.

        Raises:
            MalformedPduError: what came contradicts itself, or is longer than any message that a requestor gets.
        """
        self._buffer += arrived
        fragments: list[Fragment] = []
        with memoryview(self._buffer) as view:
            taken = self._reader.read(view, fragments)
            found = [message for fragment in fragments if (message := self._take(fragment)) is not None]
            for fragment in fragments:
                fragment.data.release()
        del self._buffer[:taken]
        if self._buffer and not self._reader.within_pdu and self._buffer[0] != P_DATA_TF:
            self.foreign = bytes(self._buffer)
        return found

    def _take(self, fragment: Fragment) -> Message | None:
        begun = self._command or self._values is not None
        if begun and fragment.context_id != self._context_id:
            raise MalformedPduError(f"message of context {self._context_id} goes on in context {fragment.context_id}")
        if fragment.is_command != (self._values is None):
            raise MalformedPduError("data set without a command set" if self._values is None else "command set within a data set")
        self._context_id = fragment.context_id
        content, longest = (self._command, _LONGEST_COMMAND) if fragment.is_command else (self._data_set, _LONGEST_DATA_SET)
        content += fragment.data
        if len(content) > longest:
            raise MalformedPduError(f"message of more than {longest} bytes")
        if not fragment.ends:
            return None
        if self._values is None:
            self._values = read_command_set(self._command)
            if has_data_set(self._values):
                return None
        message = Message(self._context_id, self._values, bytes(self._data_set))
        self._command, self._data_set, self._values = bytearray(), bytearray(), None
        return message


def store_request(kind: InstanceKind, message_id: int) -> bytes:
    """Write a C-STORE-RQ. Source: PS3.7 table 9.3-1."""
    return command_set(
        uid_element(SOP_CLASS, kind.sop_class_uid),
        us_element(COMMAND_FIELD, C_STORE_RQ),
        us_element(MESSAGE_ID, message_id),
        us_element(_PRIORITY, _LOW),
        us_element(DATA_SET_TYPE, _A_DATA_SET),
        uid_element(SOP_INSTANCE, kind.sop_instance_uid),
    )


def action_request(sop_class_uid: str, sop_instance_uid: str, action_type: int, message_id: int) -> bytes:
    """Write an N-ACTION-RQ with a data set. Source: PS3.7 table 10.3-7."""
    return command_set(
        uid_element(_REQUESTED_SOP_CLASS, sop_class_uid),
        us_element(COMMAND_FIELD, N_ACTION_RQ),
        us_element(MESSAGE_ID, message_id),
        us_element(DATA_SET_TYPE, _A_DATA_SET),
        uid_element(_REQUESTED_SOP_INSTANCE, sop_instance_uid),
        us_element(_ACTION_TYPE, action_type),
    )


def event_report_response(request: Message, status: int) -> bytes:
    """Write the N-EVENT-REPORT-RSP to a request. Source: PS3.7 table 10.3-2.

    Raises:
        MalformedPduError: the request lacks what must be there.
    """
    values = request.values
    return command_set(
        uid_element(SOP_CLASS, _uid(values, SOP_CLASS)),
        us_element(COMMAND_FIELD, N_EVENT_REPORT_RSP),
        us_element(RESPONDED_TO, unsigned_short(values, MESSAGE_ID)),
        us_element(DATA_SET_TYPE, NO_DATA_SET),
        us_element(STATUS, status),
        uid_element(SOP_INSTANCE, _uid(values, SOP_INSTANCE)),
        us_element(_EVENT_TYPE, unsigned_short(values, _EVENT_TYPE)),
    )


def _uid(values: dict[int, bytes], number: int) -> str:
    return values.get(number, b"").decode("latin-1").rstrip("\0 ")
