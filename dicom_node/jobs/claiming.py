"""Taking the next job. One transaction: three looks into an index, whatever the number of waiting jobs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import ColumnElement, and_, literal
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from dicom_node.domain.jobs import JobState
from dicom_node.domain.queue_order import QueueOrder, Waiting
from dicom_node.domain.rules import Priority
from dicom_node.storage.tables import JobRow, QueueTurnRow

_QUEUED = literal(str(JobState.QUEUED), literal_execute=True)  # in the text of the statement: a partial index is not used for a parameter
_UNENDED = (JobState.QUEUED, JobState.RUNNING)


def take_next(session: Session, order: QueueOrder, now: datetime) -> JobRow | None:
    """Choose and lock the next job by the rules of `domain.queue_order`, and count the turn; None if none may run now."""
    turn = session.exec(select(QueueTurnRow).with_for_update()).first()
    if turn is None:
        turn = QueueTurnRow(id=1, stat_in_a_row=0)
        session.add(turn)
    waiting = {w.job_id: (w, row) for w, row in _longest_due(session, now)}
    chosen = order.choose([w for w, _ in waiting.values()], turn.stat_in_a_row, now)
    if chosen is None:
        return None
    turn.stat_in_a_row = turn.stat_in_a_row + 1 if chosen.priority is Priority.STAT else 0
    return waiting[chosen.job_id][1]


def blocked_by(session: Session, job_id: int) -> JobRow | None:
    """Return the earlier job that a job waits for, because it takes the place of its results; None if there is none."""
    row, earlier = session.get_one(JobRow, job_id), aliased(JobRow)
    if not row.replaces:
        return None
    statement = select(earlier).where(_is_earlier_run(earlier, row), col(earlier.state).in_(_UNENDED)).order_by(col(earlier.revision))
    return session.exec(statement).first()


def _longest_due(session: Session, now: datetime) -> Iterator[tuple[Waiting, JobRow]]:
    for priority in Priority:
        row = session.exec(due_statement(priority, now)).first()
        if row is not None:
            yield Waiting(row.id or 0, priority, row.next_attempt_at), row


def due_statement(priority: Priority, now: datetime) -> SelectOfScalar[JobRow]:
    """Select the job of a priority that has been due for longest; one that replaces results waits for the earlier run to end."""
    earlier = aliased(JobRow)
    runs_before = select(earlier.id).where(_is_earlier_run(earlier, JobRow), col(earlier.state).in_(_UNENDED)).exists()
    return (
        select(JobRow)
        .where(
            col(JobRow.state) == _QUEUED,
            JobRow.priority == priority,
            col(JobRow.next_attempt_at) <= now,
            ~and_(col(JobRow.replaces).is_(True), runs_before),
        )
        .order_by(col(JobRow.next_attempt_at), col(JobRow.id))
        .limit(1)
        .with_for_update(skip_locked=True, of=JobRow)
    )


def _is_earlier_run(earlier: type[JobRow], row: JobRow | type[JobRow]) -> ColumnElement[bool]:
    return and_(
        col(earlier.study_instance_uid) == row.study_instance_uid,
        col(earlier.rule) == row.rule,
        col(earlier.revision) < row.revision,
    )
