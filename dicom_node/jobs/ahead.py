"""What a worker does to a job before it is its own: reading it ahead, and beginning it while the one before is being written.

Neither is a claim: state, attempt and lease stay as they are, so that a worker that dies costs an attempt of the one job it holds. A job
that is only read ahead may be taken by any worker that has nothing better to do; one that is begun is left to its worker for a while.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session, select

from dicom_node.domain.jobs import Job, JobState
from dicom_node.domain.queue_order import QueueOrder
from dicom_node.jobs.claiming import companions, look_ahead
from dicom_node.jobs.queue import job_from_row
from dicom_node.storage.tables import JobRow


def next_job(session: Session, worker: str | None, now: datetime, order: QueueOrder) -> Job | None:
    """Say which job is next by the order of jobs; writes nothing.

    Args:
        session: Open transaction.
        worker: Leaves out what others read ahead; None leaves out nothing, as a claim does.
        now: Now, UTC.
        order: The order of jobs.
    """
    row = look_ahead(session, order, worker, now)
    return None if row is None else job_from_row(row)


def companions_of(session: Session, job: Job, worker: str, now: datetime, limit: int) -> list[Job]:
    """List jobs that may share one inference with a job: of the same model and priority, due, and nobody else's; writes nothing."""
    return [job_from_row(row) for row in companions(session, job.id, worker, now, limit)]


def reserve(session: Session, job_id: int, worker: str) -> bool:
    """Say that a worker reads a job's inputs ahead; False if it is not waiting any more, or another worker reads it."""
    row = session.exec(select(JobRow).where(JobRow.id == job_id).with_for_update()).first()
    if row is None or row.state != JobState.QUEUED or row.ahead_by not in (None, worker):
        return False
    row.ahead_by = worker
    return True


def begin(session: Session, job_id: int, worker: str, until: datetime) -> bool:
    """Say that a worker's model is at a job that it has reserved, so that no other claims it until then; False if it is not its own."""
    row = session.exec(select(JobRow).where(JobRow.id == job_id).with_for_update()).first()
    if row is None or row.state != JobState.QUEUED or row.ahead_by != worker:
        return False
    row.begun_until = until
    return True


def kept(session: Session, worker: str) -> set[int]:
    """List the jobs that a worker has reserved or begun and that still wait for it; writes nothing."""
    found = session.exec(select(JobRow.id).where(JobRow.state == JobState.QUEUED, JobRow.ahead_by == worker))
    return {job_id for job_id in found if job_id is not None}


def release(session: Session, worker: str, job_id: int | None = None) -> None:
    """Give up what a worker has read ahead or begun: one job, or all."""
    statement = select(JobRow).where(JobRow.state == JobState.QUEUED, JobRow.ahead_by == worker)
    if job_id is not None:
        statement = statement.where(JobRow.id == job_id)
    for row in session.exec(statement):
        row.ahead_by = row.begun_until = None


BEGUN_FOR = timedelta(seconds=60)
"""How long a begun job is kept for its worker: longer than writing the results of the job before takes."""
