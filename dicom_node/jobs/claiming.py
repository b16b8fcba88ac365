"""Taking the next job. One transaction: three looks into an index, whatever the number of waiting jobs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cache

from sqlalchemy import ColumnElement, and_, bindparam, literal, or_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from dicom_node.domain.jobs import JobState
from dicom_node.domain.queue_order import QueueOrder, Waiting
from dicom_node.domain.rules import Priority
from dicom_node.storage.tables import JobRow, QueueTurnRow, UtcDateTime

_QUEUED = literal(str(JobState.QUEUED), literal_execute=True)  # in the text of the statement: a partial index is not used for a parameter
_UNENDED = (JobState.QUEUED, JobState.RUNNING)


def take_next(session: Session, order: QueueOrder, now: datetime) -> JobRow | None:
    """Choose and lock the next job by the rules of `domain.queue_order`, and count the turn; None if none may run now."""
    turn = _turn(session)
    waiting = {w.job_id: (w, row) for w, row in _longest_due(session, order, now)}
    chosen = order.choose([w for w, _ in waiting.values()], turn.stat_in_a_row, now)
    if chosen is None:
        return None
    _count(turn, chosen.priority)
    return waiting[chosen.job_id][1]


def take_this(session: Session, job_id: int, worker: str) -> JobRow | None:
    """Lock a job whose model run a worker has begun already, and count the turn; None if it is not that worker's to take any more."""
    statement = select(JobRow).where(JobRow.id == job_id, col(JobRow.state) == _QUEUED, JobRow.ahead_by == worker)
    row = session.exec(statement.with_for_update(skip_locked=True)).first()
    if row is not None:
        _count(_turn(session), Priority(row.priority))
    return row


def look_ahead(session: Session, order: QueueOrder, worker: str | None, now: datetime) -> JobRow | None:
    """Say which job `take_next` would choose, of those that no other worker reads ahead if one is named; changes nothing."""
    turn = session.exec(select(QueueTurnRow)).first()
    waiting = {w.job_id: (w, row) for w, row in _longest_due(session, order, now, not_ahead_of=worker)}
    chosen = order.choose([w for w, _ in waiting.values()], turn.stat_in_a_row if turn else 0, now)
    return None if chosen is None else waiting[chosen.job_id][1]


def companions(session: Session, job_id: int, worker: str, now: datetime, limit: int) -> list[JobRow]:
    """List jobs of the same model and priority that are due behind a job and that nobody reads ahead, longest due first."""
    first = session.get_one(JobRow, job_id)
    statement = (
        select(JobRow)
        .where(
            col(JobRow.state) == _QUEUED,
            JobRow.priority == first.priority,
            col(JobRow.next_attempt_at) <= now,
            JobRow.model_digest == first.model_digest,
            col(JobRow.replaces).is_(False),
            col(JobRow.id) != job_id,
            or_(col(JobRow.ahead_by).is_(None), col(JobRow.ahead_by) == worker),
        )
        .order_by(col(JobRow.next_attempt_at), col(JobRow.id))
        .limit(limit)
    )
    return list(session.exec(statement).all())


def blocked_by(session: Session, job_id: int) -> JobRow | None:
    """Return the earlier job that a job waits for, because it takes the place of its results; None if there is none."""
    row, earlier = session.get_one(JobRow, job_id), aliased(JobRow)
    if not row.replaces:
        return None
    statement = select(earlier).where(_is_earlier_run(earlier, row), col(earlier.state).in_(_UNENDED)).order_by(col(earlier.revision))
    return session.exec(statement).first()


def _turn(session: Session) -> QueueTurnRow:
    turn = session.exec(select(QueueTurnRow).with_for_update()).first()
    if turn is None:
        turn = QueueTurnRow(id=1, stat_in_a_row=0)
        session.add(turn)
    return turn


def _count(turn: QueueTurnRow, priority: Priority) -> None:
    turn.stat_in_a_row = turn.stat_in_a_row + 1 if priority is Priority.STAT else 0


def _longest_due(
    session: Session, order: QueueOrder, now: datetime, *, not_ahead_of: str | None = None
) -> Iterator[tuple[Waiting, JobRow]]:
    for priority in Priority:
        due = _due(priority, leave_others=not_ahead_of is not None)
        if order.leave:
            due = due.where(col(JobRow.model_digest).not_in(order.leave))
        row = session.exec(due, params={"now": now, "worker": not_ahead_of} if not_ahead_of is not None else {"now": now}).first()
        if row is not None:
            yield Waiting(row.id or 0, priority, row.next_attempt_at), row


def due_statement(priority: Priority, now: datetime) -> SelectOfScalar[JobRow]:
    """Select the job of a priority that has been due for longest.

    One that replaces results waits for the earlier run to end; one that a worker has begun already is that worker's to claim.
    """
    return _due(priority, leave_others=False).params(now=now)


@cache
def _due(priority: Priority, *, leave_others: bool) -> SelectOfScalar[JobRow]:
    """Write the statement once: composing it takes longer than running it, and a worker asks often."""
    earlier, now = aliased(JobRow), bindparam("now", type_=UtcDateTime)
    runs_before = select(earlier.id).where(_is_earlier_run(earlier, JobRow), col(earlier.state).in_(_UNENDED)).exists()
    statement = (
        select(JobRow)
        .where(
            col(JobRow.state) == _QUEUED,
            JobRow.priority == priority,
            col(JobRow.next_attempt_at) <= now,
            or_(col(JobRow.begun_until).is_(None), col(JobRow.begun_until) <= now),
            ~and_(col(JobRow.replaces).is_(True), runs_before),
        )
        .order_by(col(JobRow.next_attempt_at), col(JobRow.id))
        .limit(1)
        .with_for_update(skip_locked=True, of=JobRow)
    )
    return statement.where(or_(col(JobRow.ahead_by).is_(None), col(JobRow.ahead_by) == bindparam("worker"))) if leave_others else statement


def _is_earlier_run(earlier: type[JobRow], row: JobRow | type[JobRow]) -> ColumnElement[bool]:
    return and_(
        col(earlier.study_instance_uid) == row.study_instance_uid,
        col(earlier.rule) == row.rule,
        col(earlier.revision) < row.revision,
    )
