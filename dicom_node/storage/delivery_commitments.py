"""Commitments that the node asks destinations for: what is to be asked, and what their reports change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, func, select

from dicom_node.domain.jobs import CommitPolicy, Delivery, DeliveryState
from dicom_node.domain.reports import CommitmentReport, failure_words
from dicom_node.storage.deliveries import change, some
from dicom_node.storage.tables import DeliveryEventRow, DeliveryRow

_SENT_AGAIN = 1


@dataclass(frozen=True, slots=True)
class Applied:
    """What a report changed.

    Attributes:
        jobs: Whose deliveries it was about.
        destinations: Whose report it was.
        committed: How many are kept.
        again: How many are sent once more.
        refused: How many the destination did not keep the second time either.
    """

    jobs: frozenset[int]
    destinations: frozenset[str]
    committed: int
    again: int
    refused: int


def unasked(session: Session, now: datetime) -> list[Delivery]:
    """List what was accepted and is to be committed, by destination and study, when its time has come."""
    return some(session, *_UNASKED, col(DeliveryRow.next_attempt_at) <= now)


def next_unasked_at(session: Session) -> dict[str, datetime]:
    """Say when the next request to each destination is due."""
    statement = select(DeliveryRow.destination, func.min(DeliveryRow.next_attempt_at)).where(*_UNASKED).group_by(DeliveryRow.destination)
    return dict(session.exec(statement).all())


def unreported(session: Session) -> list[Delivery]:
    """List what was asked for and is not reported."""
    return some(session, DeliveryRow.state == DeliveryState.SENT, col(DeliveryRow.transaction_uid).is_not(None))


def given_up(session: Session, since: datetime) -> list[Delivery]:
    """List what was refused or given up since a moment."""
    states = (DeliveryState.REFUSED, DeliveryState.DEAD)
    return some(session, col(DeliveryRow.state).in_(states), DeliveryRow.state_at >= since)


def record_asked(session: Session, delivery_ids: Sequence[int], transaction_uid: str, now: datetime) -> None:
    """Write that a commitment is being asked for, before it is: the report may come before the answer."""
    for row in _rows(session, delivery_ids):
        row.transaction_uid, row.commit_asked_at = transaction_uid, now
        change(session, row, DeliveryState.SENT, "commitment asked for", now)


def record_not_asked(session: Session, delivery_ids: Sequence[int], reason: str, next_attempt_at: datetime, now: datetime) -> None:
    """Write that the request failed, and when it is repeated."""
    for row in _rows(session, delivery_ids):
        if row.state == DeliveryState.SENT:
            row.transaction_uid = row.commit_asked_at = None
            row.reason, row.next_attempt_at = f"commitment: {reason}", next_attempt_at
            row.attempt += 1
            change(session, row, DeliveryState.SENT, row.reason, now)


def record_interrupted(session: Session, transaction_uid: str, now: datetime) -> int:
    """Have asked again what the sender was asking for when it ended, as nobody knows whether it did; returns how many deliveries."""
    statement = select(DeliveryRow).where(DeliveryRow.transaction_uid == transaction_uid, DeliveryRow.state == DeliveryState.SENT)
    rows = session.exec(statement).all()
    for row in rows:
        row.transaction_uid = row.commit_asked_at = None
        row.next_attempt_at = now
        change(session, row, DeliveryState.SENT, "the sender ended while it asked for commitment: asked again", now)
    return len(rows)


def apply(session: Session, report: CommitmentReport, by: str, now: datetime) -> Applied:
    """Write what a destination reported.

    What it does not keep is sent once more and committed once more; the second time it is refused. What it did not name stays SENT.

    Args:
        session: Transaction.
        report: Of a transaction of this node; one that is not known changes nothing.
        by: `same association` or `new association`.
        now: Moment of the events.
    """
    rows = session.exec(
        select(DeliveryRow).where(DeliveryRow.transaction_uid == report.transaction_uid, DeliveryRow.state == DeliveryState.SENT)
    ).all()
    uids = {d.id: d.result.sop_instance_uid for d in some(session, col(DeliveryRow.id).in_([r.id for r in rows]))}
    committed = again = refused = 0
    for row in rows:
        uid = uids[row.id or 0]
        if uid in report.committed:
            row.committed_at = now
            change(session, row, DeliveryState.COMMITTED, f"committed, reported on the {by}", now)
            committed += 1
        elif uid in report.failed:
            sent_again = _not_kept(session, row, failure_words(report.failed[uid]), now)
            again, refused = again + sent_again, refused + (not sent_again)
        else:
            reason = "the commitment report does not name the object"
            session.add(DeliveryEventRow(delivery_id=row.id or 0, at=now, from_state=row.state, to_state=row.state, reason=reason))
            row.reason = reason
    return Applied(frozenset(row.job_id for row in rows), frozenset(row.destination for row in rows), committed, again, refused)


def _not_kept(session: Session, row: DeliveryRow, words: str, now: datetime) -> bool:
    """Send it once more, or refuse it; True if it is sent."""
    row.commit_failures += 1
    row.reason = f"not committed: {words}"
    if row.commit_failures > _SENT_AGAIN:
        change(session, row, DeliveryState.REFUSED, f"{row.reason}, after it was sent again", now)
        return False
    change(session, row, DeliveryState.OWED, f"{row.reason}; sent again", now)
    row.transaction_uid = row.commit_asked_at = None
    row.owed_at = row.next_attempt_at = now
    return True


def _rows(session: Session, delivery_ids: Sequence[int]) -> Sequence[DeliveryRow]:
    return session.exec(select(DeliveryRow).where(col(DeliveryRow.id).in_(delivery_ids)).order_by(col(DeliveryRow.id))).all()


_UNASKED = (
    DeliveryRow.state == DeliveryState.SENT,
    DeliveryRow.commit_policy != CommitPolicy.OFF,
    col(DeliveryRow.transaction_uid).is_(None),
)
