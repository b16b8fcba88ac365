"""Results on disk and what is owed to whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from sqlalchemy import ColumnElement, and_, literal, or_
from sqlmodel import Session, col, func, select
from sqlmodel.sql.expression import Select

from dicom_node.domain.jobs import CommitPolicy, Delivery, DeliveryEvent, DeliveryState, Job, StoredResult
from dicom_node.domain.results import Predecessor
from dicom_node.domain.rules import RuleEvent
from dicom_node.storage import notice_events
from dicom_node.storage.tables import DeliveryEventRow, DeliveryRow, JobRow, ResultRow

Wanted: TypeAlias = Mapping[str, str]
"""Variant of each kind of object that a destination gets."""

ACCEPTED = (DeliveryState.SENT, DeliveryState.COMMITTED)
GIVEN_UP = (DeliveryState.REFUSED, DeliveryState.DEAD)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt changes on a delivery.

    Attributes:
        status: C-STORE status, or None without a response.
        next_attempt_at: When to try again; read only while the state stays OWED, or is SENT and to be committed.
        comment: Of the destination.
        commit: Read only when the state is SENT.
    """

    state: DeliveryState
    status: int | None
    reason: str
    next_attempt_at: datetime
    comment: str = ""
    commit: CommitPolicy = CommitPolicy.OFF


def record_results(session: Session, job_id: int, results: Sequence[StoredResult], wanted: Mapping[str, Wanted], now: datetime) -> None:
    """Record result files, and owe to each destination, by name, what it wants."""
    rows = [
        ResultRow(
            job_id=job_id,
            kind=result.kind,
            number=result.number,
            sop_class_uid=result.sop_class_uid,
            sop_instance_uid=result.sop_instance_uid,
            series_instance_uid=result.series_instance_uid,
            path=str(result.path),
            variant=result.variant,
        )
        for result in results
    ]
    session.add_all(rows)
    session.flush()
    going = ((row, name) for row in rows for name, variants in wanted.items() if _is_wanted(row, variants))
    owe_all(session, going, now, "result written")


def owe_further(session: Session, job_id: int, destination: str, wanted: Wanted, now: datetime) -> int:
    """Owe what one more destination wants of a job's results; returns how many it was not sent or owed already."""
    known = select(DeliveryRow.result_id).where(DeliveryRow.job_id == job_id, DeliveryRow.destination == destination)
    rows = session.exec(
        select(ResultRow).where(ResultRow.job_id == job_id, col(ResultRow.id).not_in(known)).order_by(col(ResultRow.id))
    ).all()
    results = results_of(session, job_id)
    built = {(r.kind, r.variant) for r in results}
    objects = {(r.kind, r.variant) for r in results if r.sop_class_uid}  # a message is for its own receiver alone
    instead = {
        kind: found
        for kind, variant in wanted.items()
        if (kind, variant) not in built and (found := next((v for k, v in sorted(objects) if k == kind), ""))
    }
    further = [row for row in rows if _is_wanted(row, {**wanted, **instead})]
    for row in further:
        why = "; in a form of another profile, its own was not built" if row.variant and row.kind in instead else ""
        owe(session, row, destination, now, f"asked for by an operator{why}")
    return len(further)


def results_of(session: Session, job_id: int) -> list[StoredResult]:
    """List a job's result objects, sent or not."""
    return [_stored(r) for r in session.exec(select(ResultRow).where(ResultRow.job_id == job_id).order_by(col(ResultRow.id)))]


def earlier_reports(session: Session, job: Job) -> tuple[Predecessor, ...]:
    """Return the reports of the rule's latest earlier run on the study that has any.

    A run that was only a shadow, or whose results its rule kept, has sent nothing, so it is a predecessor of runs alone that send
    nothing either.
    """
    sent = select(DeliveryRow.id).where(DeliveryRow.job_id == JobRow.id).exists()
    statement = (
        select(JobRow.revision, ResultRow)
        .join(ResultRow, col(ResultRow.job_id) == col(JobRow.id))
        .where(
            JobRow.study_instance_uid == job.key.study_instance_uid,
            JobRow.rule == job.key.rule,
            JobRow.revision < job.key.revision,
            ResultRow.kind == "SR",
            or_(sent, literal(job.shadow or not job.send_to)),
        )
        .order_by(col(JobRow.revision).desc(), col(JobRow.id).desc(), col(ResultRow.number))
    )
    found = session.exec(statement).all()
    latest = {result.job_id for _, result in found[:1]}
    return tuple(
        Predecessor(job.key.study_instance_uid, r.series_instance_uid, r.sop_class_uid, r.sop_instance_uid, revision, r.variant)
        for revision, r in found
        if r.job_id in latest
    )


def owed(session: Session, now: datetime) -> list[Delivery]:
    """List the deliveries whose time has come, by destination and study."""
    return some(session, DeliveryRow.state == DeliveryState.OWED, col(DeliveryRow.next_attempt_at) <= now)


def some(session: Session, *conditions: ColumnElement[bool] | bool) -> list[Delivery]:
    """List the deliveries that meet conditions on their row, by destination and study."""
    order = col(DeliveryRow.destination), col(JobRow.study_instance_uid), col(DeliveryRow.id)
    return [_delivery(*found) for found in session.exec(_with_result().where(*conditions).order_by(*order))]


def is_any_pending(session: Session, job_id: int) -> bool:
    """Say whether a job has to wait for a delivery: one is owed or held, or its commitment is required and not there."""
    required = and_(col(DeliveryRow.state) == DeliveryState.SENT, col(DeliveryRow.commit_policy) == CommitPolicy.REQUIRE)
    pending = or_(col(DeliveryRow.state).in_((DeliveryState.OWED, DeliveryState.HELD)), required)
    return session.exec(select(DeliveryRow.id).where(DeliveryRow.job_id == job_id, pending).limit(1)).first() is not None


def next_owed_at(session: Session) -> dict[str, datetime]:
    """Say when the next delivery to each destination is due; nothing for one that is owed nothing."""
    statement = (
        select(DeliveryRow.destination, func.min(DeliveryRow.next_attempt_at))
        .where(DeliveryRow.state == DeliveryState.OWED)
        .group_by(DeliveryRow.destination)
    )
    return dict(session.exec(statement).all())


def hasten(session: Session, destination: str, now: datetime) -> None:
    """Make due at once what is owed to a destination that answers again."""
    for row in session.exec(select(DeliveryRow).where(DeliveryRow.destination == destination, DeliveryRow.state == DeliveryState.OWED)):
        row.next_attempt_at = min(row.next_attempt_at, now)


def record_attempt(session: Session, delivery_id: int, attempt: Attempt, now: datetime) -> None:
    """Write what an attempt came to, with its event; what an operator holds meanwhile stays held unless it was accepted."""
    row = session.get_one(DeliveryRow, delivery_id)
    held = row.state == DeliveryState.HELD and attempt.state == DeliveryState.OWED
    change(session, row, DeliveryState.HELD if held else attempt.state, attempt.reason or f"status {attempt.status or 0:04X}", now)
    row.status, row.reason, row.comment = attempt.status, attempt.reason, attempt.comment
    row.attempt += 1
    row.next_attempt_at = attempt.next_attempt_at
    if attempt.state == DeliveryState.SENT:
        row.sent_at, row.commit_policy = now, attempt.commit


def change(session: Session, row: DeliveryRow, to: DeliveryState, reason: str, now: datetime) -> None:
    """Bring a delivery into a state, with its event; what belongs to the state that it leaves is cleared."""
    session.add(DeliveryEventRow(delivery_id=row.id or 0, at=now, from_state=row.state, to_state=to, reason=reason))
    if row.state in GIVEN_UP and to not in GIVEN_UP:
        notice_events.withdraw(session, row.id or 0)
    elif to in GIVEN_UP and row.state not in GIVEN_UP:
        notice_events.note(session, RuleEvent.FAILURE, row.job_id, now, row.id)
    if row.state != to:
        row.state, row.state_at = to, now
    if to != DeliveryState.HELD:
        row.held_reason = None
    if to not in ACCEPTED:
        row.sent_at = None


def of_job(session: Session, job_id: int) -> list[Delivery]:
    """List a job's deliveries."""
    statement = _with_result().where(DeliveryRow.job_id == job_id).order_by(col(DeliveryRow.id))
    return [_delivery(*found) for found in session.exec(statement)]


def recent(session: Session, limit: int) -> list[Delivery]:
    """List the newest deliveries."""
    statement = _with_result().order_by(col(DeliveryRow.id).desc()).limit(limit)
    return [_delivery(*found) for found in session.exec(statement)]


def get(session: Session, delivery_id: int) -> Delivery | None:
    """Read one delivery."""
    found = session.exec(_with_result().where(DeliveryRow.id == delivery_id)).first()
    return None if found is None else _delivery(*found)


def events(session: Session, delivery_id: int) -> list[DeliveryEvent]:
    """List the history of a delivery."""
    rows = session.exec(select(DeliveryEventRow).where(DeliveryEventRow.delivery_id == delivery_id).order_by(col(DeliveryEventRow.id)))
    return [DeliveryEvent(e.at, DeliveryState(e.from_state) if e.from_state else None, DeliveryState(e.to_state), e.reason) for e in rows]


def _with_result() -> Select[DeliveryRow, ResultRow, str]:
    return (
        select(DeliveryRow, ResultRow, JobRow.study_instance_uid)
        .join(ResultRow, col(ResultRow.id) == col(DeliveryRow.result_id))
        .join(JobRow, col(JobRow.id) == col(DeliveryRow.job_id))
    )


def _delivery(row: DeliveryRow, result: ResultRow, study_instance_uid: str) -> Delivery:
    return Delivery(
        id=row.id or 0,
        job_id=row.job_id,
        study_instance_uid=study_instance_uid,
        destination=row.destination,
        result=_stored(result),
        state=DeliveryState(row.state),
        state_at=row.state_at,
        owed_at=row.owed_at,
        attempt=row.attempt,
        next_attempt_at=row.next_attempt_at,
        status=row.status,
        reason=row.reason,
        comment=row.comment,
        went_as=row.went_as,
        held_reason=row.held_reason,
        sent_at=row.sent_at,
        commit_policy=CommitPolicy(row.commit_policy),
        transaction_uid=row.transaction_uid,
        commit_asked_at=row.commit_asked_at,
        commit_failures=row.commit_failures,
        committed_at=row.committed_at,
    )


def _stored(result: ResultRow) -> StoredResult:
    uids = result.sop_class_uid, result.sop_instance_uid, result.series_instance_uid
    return StoredResult(result.kind, result.number, *uids, Path(result.path), result.variant)


def _is_wanted(row: ResultRow, wanted: Wanted) -> bool:
    """Say whether a destination gets an object; one without a variant is the only one of its kind."""
    return row.kind in wanted and row.variant in ("", wanted[row.kind])


def owe(session: Session, result: ResultRow, destination: str, now: datetime, reason: str) -> None:
    """Owe an object to a destination, with its event."""
    owe_all(session, [(result, destination)], now, reason)


def owe_all(session: Session, wanted: Iterable[tuple[ResultRow, str]], now: datetime, reason: str) -> None:
    """Owe objects to destinations, with their events, in few statements: a study may have thousands."""
    rows = [
        DeliveryRow(
            job_id=result.job_id,
            result_id=result.id or 0,
            destination=destination,
            state=DeliveryState.OWED,
            state_at=now,
            owed_at=now,
            next_attempt_at=now,
        )
        for result, destination in wanted
    ]
    session.add_all(rows)
    session.flush()
    session.add_all(DeliveryEventRow(delivery_id=row.id or 0, at=now, to_state=DeliveryState.OWED, reason=reason) for row in rows)
