"""What a person does with deliveries: retry, hold, release; and what a destination's refusal does: another object goes instead."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from dicom_node.domain.jobs import Delivery, DeliveryState, StoredResult
from dicom_node.storage import notice_events
from dicom_node.storage.deliveries import ACCEPTED, change, owe
from dicom_node.storage.tables import DeliveryEventRow, DeliveryRow, ResultRow


def unaccepted(session: Session, job_id: int, destination: str = "") -> Sequence[DeliveryRow]:
    """List the rows of a job that no destination has accepted; of one destination if it is named."""
    statement = select(DeliveryRow).where(DeliveryRow.job_id == job_id, col(DeliveryRow.state).not_in(ACCEPTED))
    return session.exec(statement.where(DeliveryRow.destination == destination) if destination else statement).all()


def reopen(session: Session, job_id: int, now: datetime) -> int:
    """Owe a job's refused, dead and held deliveries once more, as if for the first time, and make the waiting ones due.

    What was accepted and is not committed is not sent again: its commitment is asked for again.
    """
    rows = unaccepted(session, job_id)
    for row in rows:
        change(session, row, DeliveryState.OWED, "retried by an operator", now)
        row.owed_at, row.next_attempt_at, row.attempt, row.commit_failures = now, now, 0, 0
        row.transaction_uid = row.commit_asked_at = None
    asked = select(DeliveryRow).where(DeliveryRow.job_id == job_id, DeliveryRow.state == DeliveryState.SENT)
    uncommitted = session.exec(asked.where(col(DeliveryRow.transaction_uid).is_not(None))).all()
    for row in uncommitted:
        row.transaction_uid = row.commit_asked_at = None
        row.next_attempt_at = now
        change(session, row, DeliveryState.SENT, "commitment asked for again by an operator", now)
    return len(rows) + len(uncommitted)


def hold(session: Session, job_id: int, destination: str, reason: str, now: datetime) -> int:
    """Keep what a job owes from being sent, until `release`; returns how many deliveries."""
    rows = [row for row in unaccepted(session, job_id, destination) if row.state == DeliveryState.OWED]
    for row in rows:
        change(session, row, DeliveryState.HELD, f"held by an operator: {reason}", now)
        row.held_reason = reason
    return len(rows)


def release(session: Session, job_id: int, destination: str, now: datetime) -> int:
    """Owe again what was held; returns how many deliveries."""
    rows = [row for row in unaccepted(session, job_id, destination) if row.state == DeliveryState.HELD]
    for row in rows:
        change(session, row, DeliveryState.OWED, "released by an operator", now)
        row.owed_at = row.next_attempt_at = now
    return len(rows)


def put_in_place(session: Session, delivery: Delivery, stand_ins: Sequence[StoredResult], went_as: str, now: datetime) -> bool:
    """Owe other objects of the same job in place of one that the destination does not take, the first of them under its delivery.

    Returns:
        False if the delivery is not owed any more, since a person holds it: nothing is changed then.
    """
    row = session.get_one(DeliveryRow, delivery.id)
    if row.state != DeliveryState.OWED:
        return False
    reason = f"{delivery.result.kind} {delivery.result.number} is not taken: {went_as} goes instead"
    uids = [r.sop_instance_uid for r in stand_ins]
    chosen = select(ResultRow).where(ResultRow.job_id == delivery.job_id, col(ResultRow.sop_instance_uid).in_(uids))
    results = {r.sop_instance_uid: r for r in session.exec(chosen)}
    first, *others = [results[uid] for uid in uids]
    row.result_id, row.went_as, row.next_attempt_at = first.id or 0, went_as, now
    change(session, row, DeliveryState.OWED, reason, now)
    for other in others:
        owe(session, other, delivery.destination, now, reason)
    return True


def not_taken(session: Session, delivery: Delivery, reason: str, went_as: str, now: datetime) -> bool:
    """Write that a destination does not take an object, and in which form it has been owed what the object says; False as above."""
    row = session.get_one(DeliveryRow, delivery.id)
    if row.state != DeliveryState.OWED:
        return False
    row.reason, row.went_as = reason, went_as
    change(session, row, DeliveryState.REFUSED, reason, now)
    if went_as:  # no failure to be told: if the other form is refused too, the job fails, which is
        notice_events.withdraw(session, delivery.id)
    return True


def explain(session: Session, delivery: Delivery, reason: str, now: datetime) -> None:
    """Write why a delivery still is what it is."""
    row = session.get_one(DeliveryRow, delivery.id)
    row.reason = reason
    change(session, row, DeliveryState(row.state), reason, now)


def went_itself(session: Session, delivery_id: int) -> None:
    """Forget in which form an object went that was accepted itself after all."""
    session.get_one(DeliveryRow, delivery_id).went_as = ""


def readdress(session: Session, delivery_id: int, destination: str, now: datetime) -> None:
    """Owe an object to the peer that it returns to; one that this peer was owed before, asked for twice, is owed once."""
    row = session.get_one(DeliveryRow, delivery_id)
    twin = select(DeliveryRow.id).where(DeliveryRow.result_id == row.result_id, DeliveryRow.destination == destination)
    if session.exec(twin).first() is not None:
        for event in session.exec(select(DeliveryEventRow).where(DeliveryEventRow.delivery_id == delivery_id)):
            session.delete(event)
        session.flush()
        session.delete(row)
        return
    change(session, row, DeliveryState.OWED, f"{row.destination} is {destination}", now)
    row.destination = destination


def give_up(session: Session, delivery_id: int, reason: str, now: datetime) -> None:
    """Refuse what cannot even be tried."""
    row = session.get_one(DeliveryRow, delivery_id)
    change(session, row, DeliveryState.REFUSED, reason, now)
    row.status, row.reason, row.comment = None, reason, ""
