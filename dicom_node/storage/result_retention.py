"""Which jobs' results nobody needs any more."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from sqlmodel import Session, and_, col, func, or_, select

from dicom_node.domain.jobs import CommitPolicy, DeliveryState, JobState
from dicom_node.storage.tables import DeliveryRow, JobEventRow, JobRow

_AT_ONCE = 500
_ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
_NEEDED = (DeliveryState.OWED, DeliveryState.HELD, DeliveryState.DEAD)


def no_longer_needed(session: Session, job_ids: Collection[int], before: datetime) -> list[tuple[int, datetime]]:
    """List jobs that ended before a moment and whose results no delivery may still ask for, with the moment of their last change.

    Results stay of a job that is not over, of one with a delivery that is owed, held or given up, of one whose destination has to
    commit and has not, and of one with a delivery that changed since, a refusal as well as a success.

    Args:
        session: Transaction.
        job_ids: Of those that are asked about.
        before: The moment.
    """
    return [found for ids in _batches(sorted(job_ids)) for found in _of(session, ids, before)]


def _of(session: Session, job_ids: Sequence[int], before: datetime) -> Iterator[tuple[int, datetime]]:
    uncommitted = and_(DeliveryRow.state == DeliveryState.SENT, DeliveryRow.commit_policy == CommitPolicy.REQUIRE)
    needed = or_(col(DeliveryRow.state).in_(_NEEDED), uncommitted, col(DeliveryRow.state_at) > before)
    kept = select(DeliveryRow.id).where(DeliveryRow.job_id == JobRow.id, needed).exists()
    last = func.max(JobEventRow.at)
    statement = (
        select(JobRow.id, last)
        .join(JobEventRow, col(JobEventRow.job_id) == col(JobRow.id))
        .where(col(JobRow.id).in_(job_ids), col(JobRow.state).in_(_ENDED), ~kept)
        .group_by(col(JobRow.id))
        .having(last <= before)
        .order_by(col(JobRow.id))
    )
    for job_id, moment in session.exec(statement):
        yield job_id or 0, moment


def _batches(job_ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for begin in range(0, len(job_ids), _AT_ONCE):
        yield job_ids[begin : begin + _AT_ONCE]
