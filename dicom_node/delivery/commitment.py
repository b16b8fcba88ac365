"""Reports a commitment's result over a new association: the node requests it, and proposes to be the SCP there."""

from __future__ import annotations

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_role

from dicom_node.delivery.scu import associated
from dicom_node.domain.commitments import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, CommitmentResult
from dicom_node.domain.destinations import StorageScp
from dicom_node.errors import DeliveryError


def report(calling_ae_title: str, peer: StorageScp, result: CommitmentResult) -> int:
    """Send one N-EVENT-REPORT, and return the status that the peer answers.

    Args:
        calling_ae_title: The title that the peer called when it asked.
        peer: Where the peer listens.
        result: What to report.

    Raises:
        DeliveryError: no association, or no answer.
    Source: PS3.4 J.3.3.
    """
    contexts = [(STORAGE_COMMITMENT, ExplicitVRLittleEndian), (STORAGE_COMMITMENT, ImplicitVRLittleEndian)]
    role = build_role(STORAGE_COMMITMENT, scu_role=False, scp_role=True)
    with associated(calling_ae_title, peer, contexts, roles=[role]) as association:
        status, _ = association.send_n_event_report(
            result.event_information(), result.event_type, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
        )
        if "Status" not in status:
            raise DeliveryError(f"{peer.name}: no answer to the report within {peer.timeout_s:g} s, or association aborted")
        return int(status.Status)
