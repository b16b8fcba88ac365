"""Commitment requests on record: their instances, states and events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlmodel import Session, col, func, select

from dicom_node.domain.commitments import (
    Commitment,
    CommitmentEvent,
    CommitmentRequest,
    CommitmentResult,
    CommitmentState,
    FailureReason,
    InstanceReference,
)
from dicom_node.domain.instances import AssociationPeer
from dicom_node.storage.commitment_tables import CommitmentEventRow, CommitmentInstanceRow, CommitmentRow
from dicom_node.storage.tables import InstanceRow


@dataclass(frozen=True, slots=True)
class IndexedCopy:
    """Where the index says that an instance lies, and the digest of its data set when it arrived."""

    sop_class_uid: str
    path: Path
    sha256: str


def record_request(session: Session, request: CommitmentRequest, now: datetime) -> bool:
    """Record a request; False if its transaction UID is on record, nothing changes then."""
    if _find(session, request.transaction_uid) is not None:
        return False
    row = CommitmentRow(
        transaction_uid=request.transaction_uid,
        calling_ae_title=request.peer.calling_ae_title,
        called_ae_title=request.peer.called_ae_title,
        address=request.peer.address,
        state=CommitmentState.REQUESTED,
        requested_at=request.requested_at,
        wanted=len(request.references),
        next_attempt_at=now,
    )
    session.add(row)
    session.flush()
    session.add_all(
        CommitmentInstanceRow(
            commitment_id=row.id or 0, position=position, sop_class_uid=r.sop_class_uid, sop_instance_uid=r.sop_instance_uid
        )
        for position, r in enumerate(request.references)
    )
    session.add(
        CommitmentEventRow(
            commitment_id=row.id or 0, at=request.requested_at, to_state=CommitmentState.REQUESTED, reason="requested by N-ACTION"
        )
    )
    return True


def in_state(session: Session, state: CommitmentState) -> list[Commitment]:
    """List the commitments of a state, oldest first."""
    return [
        _commitment(row) for row in session.exec(select(CommitmentRow).where(CommitmentRow.state == state).order_by(col(CommitmentRow.id)))
    ]


def references(session: Session, transaction_uid: str) -> list[InstanceReference]:
    """List what was asked for, in order."""
    return [InstanceReference(i.sop_class_uid, i.sop_instance_uid) for i in _instances(session, transaction_uid)]


def indexed_copies(session: Session, sop_instance_uids: Sequence[str]) -> dict[str, list[IndexedCopy]]:
    """Find instances in the index by SOP Instance UID; the ones in use, the node's own results included."""
    statement = select(InstanceRow).where(col(InstanceRow.sop_instance_uid).in_(sop_instance_uids), InstanceRow.variant == 0)
    found: dict[str, list[IndexedCopy]] = {}
    for row in session.exec(statement):
        found.setdefault(row.sop_instance_uid, []).append(IndexedCopy(row.sop_class_uid, Path(row.path), row.sha256))
    return found


def record_verification(session: Session, transaction_uid: str, failures: Mapping[int, FailureReason], now: datetime) -> CommitmentResult:
    """Write what the verification found.

    Args:
        session: Transaction.
        transaction_uid: Of a commitment that is REQUESTED.
        failures: Failure reasons by position; every other instance is committed.
        now: Moment of the event.
    """
    row = _get(session, transaction_uid)
    for instance in _instances(session, transaction_uid):
        if instance.position in failures:
            instance.failure = failures[instance.position]
    row.failed, row.verified_at, row.next_attempt_at = len(failures), now, now
    _change(session, row, CommitmentState.VERIFIED, now, f"{row.wanted - row.failed} of {row.wanted} instances committed")
    session.flush()
    return result(session, transaction_uid)


def result(session: Session, transaction_uid: str) -> CommitmentResult:
    """Read what a verification found."""
    committed: list[InstanceReference] = []
    failed: list[tuple[InstanceReference, FailureReason]] = []
    for row in _instances(session, transaction_uid):
        reference = InstanceReference(row.sop_class_uid, row.sop_instance_uid)
        if row.failure is None:
            committed.append(reference)
        else:
            failed.append((reference, FailureReason(row.failure)))
    return CommitmentResult(transaction_uid, tuple(committed), tuple(failed))


def due(session: Session, now: datetime) -> list[Commitment]:
    """List the results whose report is due, by peer and age."""
    statement = (
        select(CommitmentRow)
        .where(CommitmentRow.state == CommitmentState.VERIFIED, col(CommitmentRow.next_attempt_at) <= now)
        .order_by(col(CommitmentRow.calling_ae_title), col(CommitmentRow.id))
    )
    return [_commitment(row) for row in session.exec(statement)]


def next_due_after(session: Session, moment: datetime) -> datetime | None:
    """Say when the next report becomes due; None if nothing waits."""
    statement = select(func.min(CommitmentRow.next_attempt_at)).where(
        CommitmentRow.state == CommitmentState.VERIFIED, col(CommitmentRow.next_attempt_at) > moment
    )
    return session.exec(statement).one()


def record_reported(session: Session, transaction_uid: str, reported_by: str, at: datetime) -> bool:
    """Write that the peer answered the report with success; False if that is on record already."""
    row = _get(session, transaction_uid)
    if row.state == CommitmentState.REPORTED:
        return False
    row.reported_at, row.reported_by = at, reported_by
    _change(session, row, CommitmentState.REPORTED, at, f"answered with success on the {reported_by}")
    return True


def record_attempt(session: Session, transaction_uid: str, reason: str, next_attempt_at: datetime, now: datetime) -> None:
    """Write that a report failed, and when it is tried again."""
    row = _get(session, transaction_uid)
    if row.state == CommitmentState.VERIFIED:
        row.attempt, row.next_attempt_at = row.attempt + 1, next_attempt_at
        _change(session, row, CommitmentState.VERIFIED, now, reason)


def record_unreportable(session: Session, transaction_uid: str, reason: str, now: datetime) -> None:
    """Write that nobody can be told."""
    _change(session, _get(session, transaction_uid), CommitmentState.UNREPORTABLE, now, reason)


def reopen(session: Session, transaction_uid: str, now: datetime) -> bool:
    """Report a verified result at once, an unreportable one included; False if there is nothing to report."""
    row = _find(session, transaction_uid)
    if row is None or row.state not in (CommitmentState.VERIFIED, CommitmentState.UNREPORTABLE):
        return False
    row.next_attempt_at = now
    _change(session, row, CommitmentState.VERIFIED, now, "retried by an operator")
    return True


def recent(session: Session, limit: int) -> list[Commitment]:
    """List the newest commitments."""
    return [_commitment(row) for row in session.exec(select(CommitmentRow).order_by(col(CommitmentRow.id).desc()).limit(limit))]


def get(session: Session, transaction_uid: str) -> Commitment | None:
    """Read one commitment."""
    row = _find(session, transaction_uid)
    return None if row is None else _commitment(row)


def events(session: Session, transaction_uid: str) -> list[CommitmentEvent]:
    """List the history of a commitment."""
    statement = (
        select(CommitmentEventRow)
        .join(CommitmentRow, col(CommitmentRow.id) == col(CommitmentEventRow.commitment_id))
        .where(CommitmentRow.transaction_uid == transaction_uid)
        .order_by(col(CommitmentEventRow.id))
    )
    return [
        CommitmentEvent(e.at, CommitmentState(e.from_state) if e.from_state else None, CommitmentState(e.to_state), e.reason)
        for e in session.exec(statement)
    ]


def _find(session: Session, transaction_uid: str) -> CommitmentRow | None:
    return session.exec(select(CommitmentRow).where(CommitmentRow.transaction_uid == transaction_uid)).first()


def _get(session: Session, transaction_uid: str) -> CommitmentRow:
    return session.exec(select(CommitmentRow).where(CommitmentRow.transaction_uid == transaction_uid)).one()


def _instances(session: Session, transaction_uid: str) -> Sequence[CommitmentInstanceRow]:
    return session.exec(
        select(CommitmentInstanceRow)
        .join(CommitmentRow, col(CommitmentRow.id) == col(CommitmentInstanceRow.commitment_id))
        .where(CommitmentRow.transaction_uid == transaction_uid)
        .order_by(col(CommitmentInstanceRow.position))
    ).all()


def _change(session: Session, row: CommitmentRow, to: CommitmentState, at: datetime, reason: str) -> None:
    session.add(CommitmentEventRow(commitment_id=row.id or 0, at=at, from_state=row.state, to_state=to, reason=reason))
    row.state, row.reason = to, reason


def _commitment(row: CommitmentRow) -> Commitment:
    return Commitment(
        transaction_uid=row.transaction_uid,
        peer=AssociationPeer(row.calling_ae_title, row.called_ae_title, row.address),
        state=CommitmentState(row.state),
        requested_at=row.requested_at,
        wanted=row.wanted,
        failed=row.failed,
        attempt=row.attempt,
        next_attempt_at=row.next_attempt_at,
        verified_at=row.verified_at,
        reported_at=row.reported_at,
        reported_by=row.reported_by,
        reason=row.reason,
    )
