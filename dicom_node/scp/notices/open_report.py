"""Commitment results over the association that asked for them, as long as it is open.

Rules:
1. The right to report is taken before the request is answered and given up when the connection closes.
2. Results are sent by the association's own thread, between two messages: pynetdicom asks its DIMSE provider for the next message
   all the time, and is asked to wait for nothing. The peer may send other requests meanwhile, and is answered.
3. One report at a time, as no asynchronous operations are negotiated (PS3.7 D.3.3.3).
4. Nothing is sent within the first quarter of a second: most requestors release at once, and a report would cross their release.
5. A report that is refused, or not answered in time, is recorded; the association goes on.

Source: PS3.4 J.3.3.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from time import monotonic
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContextTuple

from dicom_node.domain.commitments import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from dicom_node.errors import DicomNodeError, place_of
from dicom_node.ops.logs import get_logger
from dicom_node.scp.fast_socket import FastSocket
from dicom_node.scp.notices.requests import RequestDesk
from dicom_node.storage.report_files import ReportLock
from dicom_node.storage.request_files import ReportOutcome, dump_outcome, load_result

_LOOK_EVERY_S = 0.02
_NOT_BEFORE_S = 0.25
_ANSWER_WITHIN_S = 30.0
_LAST_MESSAGE_ID = 0xFFFF
_ATTRIBUTE = "_dicom_node_open_reports"


@dataclass(slots=True)
class _Held:
    lock: ReportLock
    context: PresentationContextTuple
    not_before: float


@dataclass(frozen=True, slots=True)
class _Sent:
    transaction_uid: str
    message_id: int
    deadline: float


class OpenReports:
    """The commitments whose result one association waits for."""

    def __init__(self, association: Association, desk: RequestDesk) -> None:
        """Begin to look for results between messages; use `of`."""
        self._association = association
        self._desk = desk
        self._held: dict[str, _Held] = {}
        self._sent: _Sent | None = None
        self._message_id = 0
        self._next_look = 0.0
        self._closed = False
        self._guard = threading.Lock()
        self._stock_get_msg = association.dimse.get_msg
        setattr(association.dimse, "get_msg", self._get_msg)  # noqa: B010 - a method of this one object only
        for ending in (evt.EVT_CONN_CLOSE, evt.EVT_RELEASED, evt.EVT_ABORTED):  # the connection may be closed before this is bound
            association.bind(ending, self._on_close)

    @classmethod
    def of(cls, association: Association, desk: RequestDesk) -> OpenReports:
        """Return an association's reports; created at its first request."""
        found = getattr(association, _ATTRIBUTE, None)
        if not isinstance(found, cls):
            found = cls(association, desk)
            setattr(association, _ATTRIBUTE, found)
        return found

    def hold(self, transaction_uid: str, lock: ReportLock, context: PresentationContextTuple) -> None:
        """Report a result here once it is known; the lock is this object's from now on."""
        with self._guard:
            if self._closed:
                lock.release()
            else:
                self._held[transaction_uid] = _Held(lock, context, monotonic() + _NOT_BEFORE_S)
                self._keep_awake()

    def _get_msg(self, block: bool = False) -> tuple[Any, Any]:  # noqa: FBT001, FBT002 - pynetdicom's signature
        """Stand in for `DIMSEServiceProvider.get_msg`: answers to our reports are taken out, everything else passes.

        Nothing may be raised here: the association's thread would end and leave its connection open.
        """
        try:
            self._look()
            context_id, message = self._stock_get_msg(block)
            if isinstance(message, N_EVENT_REPORT) and message.is_valid_response:
                self._take_answer(message)
                return None, None
        except (DicomNodeError, OSError) as error:
            get_logger().error("commitment_report_failed", error=type(error).__name__, place=place_of(error))
            self._give_up_all()
            return None, None
        return context_id, message

    def _look(self) -> None:
        now = monotonic()
        if now < self._next_look or not self._held:
            return
        self._next_look = now + _LOOK_EVERY_S
        if self._sent is not None:
            if now > self._sent.deadline:
                self._conclude(self._sent, reported=False, reason=f"no answer within {_ANSWER_WITHIN_S:g} s on the same association")
            return
        if self._association.dul.peek_next_pdu() is not None:  # a release or an abort is waiting
            return
        for uid, held in list(self._held.items()):
            if now >= held.not_before and (answer := self._desk.folders.reports.answer(uid)) is not None:
                self._send(uid, held, answer)
                return

    def _send(self, transaction_uid: str, held: _Held, answer: str) -> None:
        result, syntax = load_result(answer), held.context.transfer_syntax
        content = encode(result.event_information(), syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
        self._message_id = self._message_id % _LAST_MESSAGE_ID + 1
        request = N_EVENT_REPORT()
        request.MessageID = self._message_id
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
        request.EventTypeID = result.event_type
        request.EventInformation = BytesIO(content or b"")
        self._sent = _Sent(transaction_uid, self._message_id, monotonic() + _ANSWER_WITHIN_S)
        self._association.dimse.send_msg(request, held.context.context_id)

    def _take_answer(self, message: N_EVENT_REPORT) -> None:
        sent = self._sent
        if sent is None or message.MessageIDBeingRespondedTo != sent.message_id:
            return
        status = message.Status or 0
        words = "" if status == 0 else f"report answered {status:04X} on the same association"
        self._conclude(sent, reported=status == 0, reason=words)

    def _conclude(self, sent: _Sent, *, reported: bool, reason: str) -> None:
        self._sent = None
        outcome = ReportOutcome(reported, datetime.now(UTC), reason)
        try:
            self._desk.folders.reports.conclude(sent.transaction_uid, dump_outcome(outcome))
        finally:
            self._give_up([sent.transaction_uid])
        self._desk.settings.wake("pipeline")

    def _keep_awake(self) -> None:
        connection = self._association.dul.socket
        if isinstance(connection, FastSocket):
            connection.stay_awake(awake=bool(self._held))

    def _on_close(self, _event: evt.Event) -> None:
        self._closed = True
        self._give_up_all()

    def _give_up_all(self) -> None:
        if self._give_up(list(self._held)):
            self._desk.settings.wake("sender")

    def _give_up(self, transaction_uids: list[str]) -> bool:
        with self._guard:
            taken: Mapping[str, _Held] = {uid: self._held.pop(uid) for uid in transaction_uids if uid in self._held}
            self._keep_awake()
        for held in taken.values():
            held.lock.release()
        return bool(taken)
