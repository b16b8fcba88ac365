"""Storage Commitment Push Model SCU: asks a destination to confirm that it keeps what it accepted.

Source: PS3.4 Annex J, PS3.3 C.14.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from time import monotonic

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import decode, encode

from dicom_node.delivery.exchange import AssociationEndedError, Exchange, exchanging
from dicom_node.delivery.messages import N_ACTION_RSP, N_EVENT_REPORT_RQ, Message, action_request, event_report_response
from dicom_node.delivery.scu import associated
from dicom_node.domain.commitments import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, InstanceReference
from dicom_node.domain.destinations import StorageScp
from dicom_node.domain.reports import UNDECODABLE, CommitmentReport, MalformedReportError, report_from
from dicom_node.errors import DeliveryError
from dicom_node.ops.pdata import MalformedPduError

_ACTION_TYPE = 1
_SUCCESS, _PROCESSING_FAILURE = 0x0000, 0x0110
_MOST_REPORTS = 100
_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)

TakeReport = Callable[[CommitmentReport], bool]
"""Keeps a report before it is answered; False if it is of no transaction of this node."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        transaction_uid: New for each request.
        references: What the destination accepted.
        hold_s: How long the association is held open for the report, seconds; it ends sooner when the report came.
    """

    transaction_uid: str
    references: Sequence[InstanceReference]
    hold_s: float


def ask(calling_ae_title: str, destination: StorageScp, question: Question, take: TakeReport) -> bool:
    """Request commitment, and wait a moment for the report on the same association; it may come before the request is answered.

    Args:
        calling_ae_title: Our AE title.
        destination: Whom to ask.
        question: About what.
        take: Called with every report that comes, of this transaction or another one.

    Returns:
        Whether the report of this transaction came; if not, it will have to come on another association.

    Raises:
        DeliveryError: no association, no answer, or a status that is no success; not if the report came before.
    """
    contexts = [(STORAGE_COMMITMENT, syntax) for syntax in _SYNTAXES]
    with associated(calling_ae_title, destination, contexts) as association, exchanging(association, destination) as exchange:
        asking = _Asking(exchange, destination, question.transaction_uid, take)
        try:
            asking.request(question.references)
            asking.listen(question.hold_s)
        except AssociationEndedError:
            if not asking.is_reported and not asking.is_asked:
                raise
        return asking.is_reported


class _Asking:
    """One request, and the reports that come meanwhile."""

    def __init__(self, exchange: Exchange, destination: StorageScp, transaction_uid: str, take: TakeReport) -> None:
        self._exchange, self._destination, self._transaction_uid, self._take = exchange, destination, transaction_uid, take
        accepted = {exchange.contexts[STORAGE_COMMITMENT, s]: s for s in _SYNTAXES if (STORAGE_COMMITMENT, s) in exchange.contexts}
        if not accepted:
            raise DeliveryError(f"{destination.name}: accepts Storage Commitment only in a role that this node does not play")
        self._syntaxes, self._context_id = accepted, next(iter(accepted))
        self._reports = 0
        self.is_asked = self.is_reported = False

    def request(self, references: Sequence[InstanceReference]) -> None:
        """Send the N-ACTION and wait for its response."""
        message_id = self._exchange.next_message_id()
        command = action_request(STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, _ACTION_TYPE, message_id)
        encoded = encode(_request(self._transaction_uid, references), self._is_implicit(self._context_id), is_little_endian=True) or b""
        self._exchange.send(self._context_id, self._exchange.cut(self._context_id, command, encoded, ends=True))
        while (response := self._next(None)) is None:
            pass
        try:
            if not response.answers(N_ACTION_RSP, self._context_id, message_id):
                raise MalformedPduError("another message than the response to the N-ACTION")
            status = response.status
        except MalformedPduError as error:
            raise self._exchange.ended(f"sends what cannot be understood: {error}") from error
        if status != _SUCCESS and not self.is_reported:
            raise DeliveryError(f"{self._destination.name}: commitment request answered {status:04X}")
        self.is_asked = True

    def listen(self, hold_s: float) -> None:
        """Wait for the report."""
        deadline = monotonic() + hold_s
        while not self.is_reported:
            left_s = max(deadline - monotonic(), 0.0)
            if self._next(left_s) is not None:
                raise self._exchange.ended("sends a message that nobody asked for")
            if not left_s:
                return

    def _next(self, wait_s: float | None) -> Message | None:
        """Wait for a message; a report is taken and answered, and None returned."""
        message = self._exchange.receive(wait_s)
        if message is None:
            return None
        try:
            if message.field != N_EVENT_REPORT_RQ:
                return message
            self._reports += 1
            if self._reports > _MOST_REPORTS:
                raise MalformedPduError("reports without end")
            status = _SUCCESS if self._is_taken(message) else _PROCESSING_FAILURE
            self._exchange.send_command(message.context_id, event_report_response(message, status))
        except MalformedPduError as error:
            raise self._exchange.ended(f"sends what cannot be understood: {error}") from error
        return None

    def _is_implicit(self, context_id: int) -> bool:
        return self._syntaxes.get(context_id) == ImplicitVRLittleEndian

    def _is_taken(self, message: Message) -> bool:
        try:
            report = report_from(decode(BytesIO(message.data_set), self._is_implicit(message.context_id), is_little_endian=True))
        except (MalformedReportError, *UNDECODABLE):
            return False
        taken = self._take(report)
        self.is_reported = self.is_reported or (taken and report.transaction_uid == self._transaction_uid)
        return taken


def _request(transaction_uid: str, references: Sequence[InstanceReference]) -> Dataset:
    """Build the data set of an N-ACTION. Source: PS3.4 table J.3-1."""
    data_set = Dataset()
    data_set.TransactionUID = transaction_uid
    data_set.ReferencedSOPSequence = []
    for reference in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference.sop_class_uid, reference.sop_instance_uid
        data_set.ReferencedSOPSequence.append(item)
    return data_set
