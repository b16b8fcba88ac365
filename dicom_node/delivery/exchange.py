"""DIMSE messages of an accepted association, written to its connection and read from it without pynetdicom.

pynetdicom negotiates before, and releases or aborts afterwards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum, auto
from time import monotonic
from typing import cast

from pynetdicom.association import Association

from dicom_node.delivery.library_socket import LibrarySocket
from dicom_node.delivery.line import ClosedError, Line, SilenceError
from dicom_node.delivery.messages import Message, MessageReader
from dicom_node.delivery.p_data import Piece, fragment_bytes, p_data
from dicom_node.domain.destinations import StorageScp
from dicom_node.errors import DeliveryError
from dicom_node.ops.checkpoint import Checkpoint
from dicom_node.ops.pdata import MalformedPduError
from dicom_node.ops.tls import reason_of

_ABORT, _RELEASE_REQUEST = 0x07, 0x05
_PEER_ENDS = {_ABORT: "association aborted by the destination", _RELEASE_REQUEST: "association released by the destination"}
_LAST_MESSAGE_ID = 0xFFFF


class AssociationEndedError(DeliveryError):
    """Nothing more can be said on this association."""


class _End(Enum):
    """What is left to do with an association."""

    RELEASE = auto()
    LIBRARY_READS = auto()
    ABORT = auto()


class Exchange:
    """One association's messages.

    Attributes:
        fragment: Bytes of a message that go into one PDU.
        contexts: Presentation context ID by SOP class and transfer syntax, of what was accepted.
    """

    def __init__(self, association: Association, destination: StorageScp) -> None:
        """Borrow the connection.

        Raises:
            DeliveryError: the association has ended, or takes no PDU that holds anything.
        """
        self._name, self._timeout_s = destination.name, destination.timeout_s
        self.contexts: Mapping[tuple[str, str], int] = {
            (str(cx.abstract_syntax), str(cx.transfer_syntax[0])): int(cx.context_id or 0)
            for cx in association.accepted_contexts
            if cx.as_scu
        }
        self._end = _End.RELEASE
        self._reader = MessageReader()
        self._messages: deque[Message] = deque()
        self._message_id = 0
        self._open = False
        self._shared = cast(LibrarySocket, association.dul.socket)
        try:
            self.fragment = fragment_bytes(association.acceptor.maximum_length)
            self._line = Line(self._shared.lend(), destination.timeout_s, self._arrived)
        except DeliveryError as error:
            raise DeliveryError(f"{destination.name}: {error}", hint=error.hint) from error

    def next_message_id(self) -> int:
        """Return the next Message ID, 1 to 65,535."""
        self._message_id = self._message_id % _LAST_MESSAGE_ID + 1
        return self._message_id

    def cut(self, context_id: int, command: bytes, data_set: Piece, *, ends: bool) -> list[Piece]:
        """Make the first PDUs of a message.

        Args:
            context_id: Its presentation context.
            command: Command set.
            data_set: All of the data set, or a first part that is a multiple of `fragment` long.
            ends: Whether it is all.
        """
        data = p_data(context_id, data_set, self.fragment, is_command=False, ends=ends)
        return [*p_data(context_id, command, self.fragment, is_command=True, ends=True), *data]

    def send(self, context_id: int, first: list[Piece], further: Iterable[tuple[Piece, bool]] = ()) -> None:
        """Send a message.

        Args:
            context_id: Its presentation context.
            first: As `cut` made it, or a command set's PDUs alone.
            further: Parts of the data set, each a multiple of `fragment` long but the last one, and whether it is the last.

        Raises:
            AssociationEndedError: it cannot be sent.
        """
        self._open, is_large = True, further != ()
        if is_large:
            self._line.keep_queue_short(short=True)
        self._send(first)
        for part, ends in further:
            self._send(p_data(context_id, part, self.fragment, is_command=False, ends=ends))
        if is_large:
            self._line.keep_queue_short(short=False)
        self._open = False

    def send_command(self, context_id: int, command: bytes) -> None:
        """Send a message without a data set.

        Raises:
            AssociationEndedError: it cannot be sent.
        """
        self.send(context_id, p_data(context_id, command, self.fragment, is_command=True, ends=True))

    def receive(self, wait_s: float | None = None) -> Message | None:
        """Wait for a message.

        Args:
            wait_s: None waits for the destination's time-out, and its passing ends the association.

        Returns:
            The next one, or None if `wait_s` passed.

        Raises:
            AssociationEndedError: none can come any more.
        """
        deadline = monotonic() + (self._timeout_s if wait_s is None else wait_s)
        while not self._messages:
            try:
                self._line.receive(deadline, patient=wait_s is None)
            except SilenceError as error:
                if wait_s is not None:
                    return None
                raise self.ended(f"no response within {self._timeout_s:g} s") from error
            except ClosedError as error:
                raise self._closed(error) from error
        return self._messages.popleft()

    def arrived_early(self) -> Message | None:
        """Return what came before it was waited for."""
        return self._messages.popleft() if self._messages else None

    def ended(self, reason: str) -> AssociationEndedError:
        """Have the association aborted, and make the error that says why."""
        self._end = _End.ABORT
        return AssociationEndedError(f"{self._name}: {reason}")

    def settle(self, association: Association) -> None:
        """Give the connection back, and have the library end the association unless it can go on."""
        if self._end is _End.RELEASE and (self._open or self._reader.within_message):
            self._end = _End.ABORT
        broken = self._line.within or (self._open and self._end is _End.LIBRARY_READS and not self._is_abort)
        if broken:
            self._shared.break_off()
        self._shared.give_back(b"" if self._end is _End.ABORT else self._reader.rest)
        if self._end is _End.RELEASE:
            return
        if broken or self._end is _End.LIBRARY_READS:
            cast(Checkpoint, association._reactor_checkpoint).unpark()
            association.join(self._timeout_s)
        if association.is_established:
            association.abort()

    @property
    def _is_abort(self) -> bool:
        return self._reader.foreign[:1] == bytes([_ABORT])

    def _send(self, pieces: list[Piece]) -> None:
        try:
            self._line.send(pieces)
        except SilenceError as error:
            raise self.ended(f"takes no more data for {self._timeout_s:g} s") from error
        except ClosedError as error:
            raise self._closed(error) from error

    def _closed(self, error: ClosedError) -> AssociationEndedError:
        self._end = _End.LIBRARY_READS
        cause = error.args[0]
        words = reason_of(cause) if isinstance(cause, OSError) else "the other side closed the connection"
        return AssociationEndedError(f"{self._name}: association ended: {words}")

    def _arrived(self, received: memoryview) -> None:
        try:
            self._messages += self._reader.feed(received)
        except MalformedPduError as error:
            raise self.ended(f"sends what cannot be understood: {error}") from error
        if self._reader.foreign:
            if self._reader.foreign[0] not in _PEER_ENDS:
                raise self.ended("sends what is no PDU of an association")
            self._end = _End.LIBRARY_READS
            raise AssociationEndedError(f"{self._name}: {_PEER_ENDS[self._reader.foreign[0]]}")


@contextmanager
def exchanging(association: Association, destination: StorageScp) -> Iterator[Exchange]:
    """Speak DIMSE on an accepted association; the library has it again afterwards, to release it if it can.

    Raises:
        DeliveryError: it has ended.
    """
    exchange = Exchange(association, destination)
    try:
        yield exchange
    finally:
        exchange.settle(association)
