"""Attending an association that we requested: data sets go to the door as they arrive, silence and cancelling are noticed.

pynetdicom collects a whole C-STORE in memory and counts its time limit per message; an instance of gigabytes would need as much
memory and, over a slow line, fail by a limit that is meant for silence.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from time import monotonic
from typing import Any, Protocol, cast

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA

from dicom_node.errors import DataSetMismatchError, DicomNodeError, OutOfResourcesError, SourceSilentError, UnparsableDataSetError, place_of
from dicom_node.scp.door import InstanceKind

_TICK_S = 0.1
_MOST_OPEN = 4
_LARGEST_IDENTIFIER = 16 << 20


class Arriving(Protocol):
    """One instance on its way through the door."""

    def write(self, views: Sequence[bytes | memoryview], /) -> None:
        """Append fragments."""

    def finish(self) -> object:
        """Make it durable."""

    def discard(self) -> None:
        """Drop it."""


@dataclass(frozen=True, slots=True)
class Attention:
    """What happens beside the requests.

    Attributes:
        begin: Opens an instance that arrives on this association; None where none may.
        tick: Called about ten times a second while an answer is awaited.
    """

    begin: Callable[[InstanceKind], Arriving] | None = None
    tick: Callable[[], None] = lambda: None


class ArrivingDataSet(BytesIO):
    """The data set of one message. That of a C-STORE passes on as it comes, anything else stays here to be decoded."""

    def __init__(self, message: DIMSEMessage, begin: Callable[[DIMSEMessage], Arriving]) -> None:
        """Take the message, whose kind is known only when its command is complete."""
        super().__init__()
        self._message = message
        self._begin = begin
        self._arriving: Arriving | None = None
        self._error: DicomNodeError | None = None
        self._lock = threading.Lock()  # fragments come on the reading thread, the end of the association on the caller's

    def write(self, fragment: Any, /) -> int:
        """Take one fragment of the data set."""
        if not isinstance(self._message, C_STORE_RQ):
            if self.tell() + len(fragment) > _LARGEST_IDENTIFIER:
                raise ValueError("identifier too long")
            return super().write(fragment)
        with self._lock:
            if self._error is None:
                self._pass_on(fragment)
        return len(fragment)

    @property
    def is_open(self) -> bool:
        """Whether an instance has begun that is neither finished nor discarded."""
        return self._arriving is not None

    def finish(self) -> None:
        """Make the instance durable.

        Raises:
            DicomNodeError: with the status to answer.
        """
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._arriving is None:
                raise UnparsableDataSetError("C-STORE without a data set")
            try:
                self._arriving.finish()
            finally:
                self._drop()

    def discard(self) -> None:
        """Drop what came so far, and what may still come."""
        with self._lock:
            self._error = self._error or SourceSilentError("association ended")
            self._drop()

    def _pass_on(self, fragment: Any) -> None:
        try:
            if self._arriving is None:
                self._arriving = self._begin(self._message)
            self._arriving.write([fragment])
        except DicomNodeError as error:
            self._error = error
            self._drop()

    def _drop(self) -> None:
        arriving, self._arriving = self._arriving, None
        if arriving is not None:
            arriving.discard()


class AttentiveProvider(DIMSEServiceProvider):
    """pynetdicom's message layer with `Attention`; put in place when the connection opens, before any message.

    Attributes:
        timed_out: The last wait ended without a sign of the peer.
        fault: What kept a message from being read, after which the association is aborted; or empty.
    """

    def __init__(self, association: Association, attention: Attention) -> None:
        """Attend an association."""
        super().__init__(association)
        self.timed_out = False
        self.fault = ""
        self._attention = attention
        self._heard_at = monotonic()
        self._data_sets: list[ArrivingDataSet] = []

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take a P-DATA indication; called by the thread that reads the socket, which thereby waits for the disk."""
        self._heard_at = monotonic()
        if self.message is None:
            self.message = DIMSEMessage()
            self._data_sets = [d for d in self._data_sets if d.is_open]
            self._data_sets.append(ArrivingDataSet(self.message, self._open))
            self.message.data_set = self._data_sets[-1]
        try:
            super().receive_primitive(primitive)
        except Exception as error:  # noqa: BLE001 - whatever a malformed message raises would end the reading thread and leave us waiting
            self.fault = f"{type(error).__name__} at {place_of(error)}"
            self.dul.event_queue.put("Evt19")

    def get_msg(self, block: bool = False) -> Any:  # noqa: FBT001, FBT002 - pynetdicom's signature
        """Return the next message; (None, None) if there is none, or after `dimse_timeout` without a sign of the peer."""
        if not block:
            return super().get_msg(block=False)
        self._heard_at = monotonic()
        while True:
            try:
                return self.msg_queue.get(timeout=_TICK_S)
            except queue.Empty:
                self._attention.tick()
            self.timed_out = self.dimse_timeout is not None and monotonic() - self._heard_at > self.dimse_timeout
            if self.timed_out or not self.dul.is_alive():
                return None, None

    def close(self) -> None:
        """Drop instances that did not come to their end."""
        for data_set in self._data_sets:
            data_set.discard()

    def _open(self, message: DIMSEMessage) -> Arriving:
        if self._attention.begin is None:
            raise DataSetMismatchError("no C-STORE was asked for on this association", offending_tag=0)
        if sum(d.is_open for d in self._data_sets) >= _MOST_OPEN:
            raise OutOfResourcesError("more instances at once than the asynchronous operations window allows")
        context = self.assoc._accepted_cx.get(cast(int, message.context_id))
        command = message.command_set
        if context is None:
            raise DataSetMismatchError("presentation context was not accepted", offending_tag=0)
        kind = InstanceKind(str(command.AffectedSOPClassUID), str(command.AffectedSOPInstanceUID), str(context.transfer_syntax[0]))
        return self._attention.begin(kind)


def provider_of(association: Association) -> AttentiveProvider:
    """Return the message layer that `AttentiveProvider` replaced."""
    return cast(AttentiveProvider, association.dimse)
