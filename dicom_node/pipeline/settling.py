"""When the deliveries of a job are through, and what that makes of the job."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from dicom_node.domain.jobs import JobState
from dicom_node.jobs import queue
from dicom_node.storage import deliveries


def settle(session: Session, job_id: int, now: datetime) -> JobState | None:
    """End the job in the transaction that records its last answer; None while it has to wait."""
    if deliveries.is_any_pending(session, job_id):  # asked of the database: a job may owe thousands
        return None
    job = queue.get(session, job_id)
    found = deliveries.of_job(session, job_id)
    if job is None or job.state is not JobState.DELIVERING:
        return None
    failed = [d for d in found if d.state in deliveries.GIVEN_UP]
    to = JobState.FAILED if failed else JobState.DONE
    words = f"{len(failed)} of {len(found)} deliveries refused or given up: {failed[0].destination}: {failed[0].reason}" if failed else ""
    queue.settle(session, job_id, to, words or "delivered", now)
    return to


def resume(session: Session, job_id: int, reason: str, now: datetime) -> None:
    """Let a job that was through deliver again, because a destination did not keep what it had accepted."""
    job = queue.get(session, job_id)
    if job is not None and job.state in (JobState.DONE, JobState.FAILED):
        queue.settle(session, job_id, JobState.DELIVERING, reason, now)
