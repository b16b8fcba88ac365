"""Storage Commitment Push Model SCU: asks a destination to confirm that it keeps what it accepted.

Source: PS3.4 Annex J, PS3.3 C.14.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import cast

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.events import EventHandlerType

from dicom_node.delivery.scu import associated
from dicom_node.domain.commitments import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, InstanceReference
from dicom_node.domain.destinations import StorageScp
from dicom_node.domain.reports import CommitmentReport, MalformedReportError, report_from
from dicom_node.errors import DeliveryError
from dicom_node.ops.checkpoint import Checkpoint

_ACTION_TYPE = 1
_SUCCESS, _PROCESSING_FAILURE = 0x0000, 0x0110


def ask(
    calling_ae_title: str, destination: StorageScp, transaction_uid: str, references: Sequence[InstanceReference], hold_s: float
) -> CommitmentReport | None:
    """Request commitment, and wait a moment for a report on the same association.

    Args:
        calling_ae_title: Our AE title.
        destination: Whom to ask.
        transaction_uid: New for each request.
        references: What it accepted.
        hold_s: How long the association is held open for the report, seconds; it ends sooner when the report came.

    Returns:
        The report, or None if it will have to come on another association.

    Raises:
        DeliveryError: no association, no answer, or a status that is no success.
    """
    listening = _Listening(transaction_uid)
    contexts = [(STORAGE_COMMITMENT, ExplicitVRLittleEndian), (STORAGE_COMMITMENT, ImplicitVRLittleEndian)]
    handlers: list[EventHandlerType] = [
        (evt.EVT_N_EVENT_REPORT, listening.reported),
        (evt.EVT_PDU_SENT, listening.answered),
        (evt.EVT_CONN_CLOSE, listening.ended),
    ]
    with associated(calling_ae_title, destination, contexts, handlers=handlers) as association:
        status, _ = association.send_n_action(
            _request(transaction_uid, references), _ACTION_TYPE, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
        )
        if "Status" not in status:
            raise DeliveryError(f"{destination.name}: no answer to the commitment request within {destination.timeout_s:g} s, or aborted")
        if status.Status != _SUCCESS:
            raise DeliveryError(f"{destination.name}: commitment request answered {status.Status:04X}")
        cast(Checkpoint, association._reactor_checkpoint).unpark()  # its thread takes the report
        listening.through.wait(hold_s)
        return listening.report


class _Listening:
    """Takes the report of one transaction."""

    def __init__(self, transaction_uid: str) -> None:
        self._transaction_uid = transaction_uid
        self.report: CommitmentReport | None = None
        self.through = threading.Event()

    def reported(self, event: evt.Event) -> tuple[int, None]:
        try:
            report = report_from(event.event_information)
        except MalformedReportError:
            return _PROCESSING_FAILURE, None
        if report.transaction_uid != self._transaction_uid:
            return _PROCESSING_FAILURE, None
        self.report = report
        return _SUCCESS, None

    def answered(self, event: evt.Event) -> None:  # noqa: ARG002 - the library's signature
        """Let go only now: a release before the answer is out would take it back."""
        if self.report is not None:
            self.through.set()

    def ended(self, event: evt.Event) -> None:  # noqa: ARG002 - the library's signature
        self.through.set()


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
