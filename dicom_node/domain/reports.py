"""What a destination reports about a commitment that this node asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException

from dicom_node.domain.uids import is_safe_uid

UNDECODABLE = (ValueError, TypeError, AttributeError, LookupError, EOFError, NotImplementedError, OSError, BytesLengthException)
"""What reading an element of a data set that a peer sent may raise."""
_REASONS = {
    0x0110: "processing failure",
    0x0112: "no such instance",
    0x0119: "class and instance conflict",
    0x0122: "SOP class not supported",
    0x0131: "duplicate transaction",
    0x0213: "resource limitation",
}


class MalformedReportError(ValueError):
    """A report without a transaction, or with sequences that cannot be read."""


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """An N-EVENT-REPORT of Storage Commitment.

    Attributes:
        committed: SOP Instance UIDs.
        failed: Failure reasons by SOP Instance UID. What is in neither was not reported.
    """

    transaction_uid: str
    committed: frozenset[str]
    failed: Mapping[str, int]


def report_from(data_set: Dataset) -> CommitmentReport:
    """Read the data set of a report.

    Raises:
        MalformedReportError: what is wrong with it.
    Source: PS3.4 table J.3-2.
    """
    try:
        uid = str(data_set.get("TransactionUID") or "")
        committed = frozenset(str(item.ReferencedSOPInstanceUID) for item in data_set.get("ReferencedSOPSequence") or ())
        failed = {
            str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason") or 0x0110) for item in data_set.get("FailedSOPSequence") or ()
        }
    except UNDECODABLE as error:
        raise MalformedReportError("the report cannot be decoded") from error
    if not is_safe_uid(uid):
        raise MalformedReportError("the report has no Transaction UID")
    return CommitmentReport(uid, committed - failed.keys(), failed)


def failure_words(reason: int) -> str:
    """Name a failure reason by its code and its meaning. Source: PS3.3 C.14.1.1."""
    return f"{reason:04X}" + (f" {_REASONS[reason]}" if reason in _REASONS else "")
