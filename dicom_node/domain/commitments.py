"""Storage commitment as every part sees it: what a peer wants confirmed, what came of it, and where its report stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

from pydicom.dataset import Dataset

from dicom_node.domain.instances import AssociationPeer

STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
ALL_COMMITTED = 1
SOME_FAILED = 2


class CommitmentState(StrEnum):
    """Where a commitment request stands."""

    REQUESTED = "REQUESTED"
    VERIFIED = "VERIFIED"
    REPORTED = "REPORTED"
    UNREPORTABLE = "UNREPORTABLE"


class FailureReason(IntEnum):
    """Why an instance is not committed. Source: PS3.3 C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119


@dataclass(frozen=True, slots=True)
class InstanceReference:
    """One item of a Referenced SOP Sequence."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """What a peer asked for by N-ACTION.

    Attributes:
        references: In the order they were asked for; at least one.
    """

    transaction_uid: str
    peer: AssociationPeer
    requested_at: datetime
    references: tuple[InstanceReference, ...]


@dataclass(frozen=True, slots=True)
class CommitmentResult:
    """What the node says of a request.

    Attributes:
        committed: Found on disk, unaltered.
        failed: The others, each with its reason.
    """

    transaction_uid: str
    committed: tuple[InstanceReference, ...]
    failed: tuple[tuple[InstanceReference, FailureReason], ...]

    @property
    def event_type(self) -> int:
        """Event Type ID of its N-EVENT-REPORT. Source: PS3.4 table J.3.3-1."""
        return SOME_FAILED if self.failed else ALL_COMMITTED

    def event_information(self) -> Dataset:
        """Build the data set of its N-EVENT-REPORT. Source: PS3.4 table J.3-2."""
        data_set = Dataset()
        data_set.TransactionUID = self.transaction_uid
        if self.committed:
            data_set.ReferencedSOPSequence = [_item(reference) for reference in self.committed]
        if self.failed:
            data_set.FailedSOPSequence = [_item(reference, reason) for reference, reason in self.failed]
        return data_set


@dataclass(frozen=True, slots=True)
class Commitment:
    """A request on record.

    Attributes:
        wanted: How many instances were asked for.
        failed: How many of them are not committed; 0 before the verification.
        attempt: How many reports failed so far.
        reported_by: `same association` or `new association`, or None before the report was answered.
        reason: Last outcome in words; no patient data.
    """

    transaction_uid: str
    peer: AssociationPeer
    state: CommitmentState
    requested_at: datetime
    wanted: int
    failed: int
    attempt: int
    next_attempt_at: datetime
    verified_at: datetime | None
    reported_at: datetime | None
    reported_by: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class CommitmentEvent:
    """A change of a commitment, or an attempt to report it."""

    at: datetime
    from_state: CommitmentState | None
    to_state: CommitmentState
    reason: str


def _item(reference: InstanceReference, reason: FailureReason | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference.sop_class_uid, reference.sop_instance_uid
    if reason is not None:
        item.FailureReason = int(reason)
    return item
