"""Creating, claiming and ending jobs. Functions take an open transaction, so that a change commits with its cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.domain.jobs import Job, JobKey, JobStage, JobState
from dicom_node.domain.queue_order import QueueOrder
from dicom_node.domain.routing import JobInput, RouteDecision
from dicom_node.domain.rules import Priority, RuleEvent
from dicom_node.jobs.claiming import take_next, take_this
from dicom_node.jobs.states import check_transition
from dicom_node.storage import notice_events
from dicom_node.storage.tables import JobEventRow, JobRow

_FIRST_RETRY_S = 5.0
_LONGEST_RETRY_S = 300.0


@dataclass(frozen=True, slots=True)
class NewJob:
    """What routing asks for, with the identity of the model found for it."""

    key: JobKey
    decision: RouteDecision
    model_version: str
    max_attempts: int


def create(session: Session, new: NewJob, now: datetime) -> Job | None:
    """Add a job; None if the same key has one already."""
    if _by_key(session, new.key) is not None:
        return None
    return _add(session, new, JobState.QUEUED, f"rule {new.key.rule}", now)


def create_delivering(session: Session, new: NewJob, reason: str, now: datetime, *, delivering: bool) -> Job:
    """Add a job without a run: what it delivers is there; it is DONE already if that is nothing."""
    return _add(session, new, JobState.DELIVERING if delivering else JobState.DONE, reason, now)


def _add(session: Session, new: NewJob, state: JobState, reason: str, now: datetime) -> Job:
    row = JobRow(
        study_instance_uid=new.key.study_instance_uid,
        revision=new.key.revision,
        rule=new.key.rule,
        model_digest=new.key.model_digest,
        model=new.decision.model,
        model_version=new.model_version,
        state=state,
        reason="" if state is JobState.QUEUED else reason,
        max_attempts=new.max_attempts,
        inputs=[asdict(job_input) for job_input in new.decision.inputs],
        send_to=list(new.decision.send_to),
        priority=new.decision.priority,
        shadow=new.decision.shadow,
        replaces=new.decision.replaces,
        next_attempt_at=now,
        created_at=now,
    )
    session.add(row)
    session.flush()
    session.add(JobEventRow(job_id=row.id or 0, at=now, from_state=None, to_state=state, reason=reason))
    return job_from_row(row)


def find(session: Session, key: JobKey) -> int | None:
    """Return the job of a key, or None."""
    row = _by_key(session, key)
    return row.id if row else None


def claim(session: Session, worker: str, now: datetime, lease: timedelta, order: QueueOrder | None = None) -> Job | None:
    """Take the next job; None if none may run now. The transaction serialises claims.

    Args:
        session: Open transaction.
        worker: Who takes it.
        now: Now, UTC.
        lease: How long the worker may give no sign.
        order: Which job is next; None: the order of `QueueOrder` as it is without configuration, off-peak jobs at any hour.
    """
    row = take_next(session, order or QueueOrder(), now)
    return None if row is None else _begin(session, row, worker, now, lease)


def claim_begun(session: Session, worker: str, job_id: int, now: datetime, lease: timedelta) -> Job | None:
    """Take the job that a worker marked as begun (`jobs.ahead.begin`); None if it was cancelled, or taken by another meanwhile."""
    row = take_this(session, job_id, worker)
    return None if row is None else _begin(session, row, worker, now, lease)


def _begin(session: Session, row: JobRow, worker: str, now: datetime, lease: timedelta) -> Job:
    row.attempt += 1
    row.lease_owner, row.lease_until = worker, now + lease
    row.stage = JobStage.READING
    _change(session, row, JobState.RUNNING, now, f"attempt {row.attempt} by {worker}")
    return job_from_row(row)


def heartbeat(session: Session, job_id: int, worker: str, until: datetime) -> bool:
    """Extend a lease; False if the worker no longer holds the job and must drop it."""
    row = session.get(JobRow, job_id)
    if row is None or row.state != JobState.RUNNING or row.lease_owner != worker:
        return False
    row.lease_until = until
    return True


def set_stage(session: Session, job: Job, stage: JobStage, progress: float | None = None) -> bool:
    """Say what a running job does, and how much of it is done, 0 to 1; False if its worker no longer holds it."""
    row = session.get(JobRow, job.id)
    if row is None or not _holds(row, job):
        return False
    row.stage, row.progress = stage, progress
    return True


def holds(session: Session, job: Job) -> bool:
    """Say whether the attempt that was claimed still is the one that runs; False after a cancellation or a lost lease."""
    row = session.get(JobRow, job.id)
    return row is not None and _holds(row, job)


def _holds(row: JobRow, job: Job) -> bool:
    return row.state == JobState.RUNNING and row.lease_owner == job.lease_owner and row.attempt == job.attempt


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended that came to results.

    Attributes:
        delivering: Something is owed to a destination.
        timings: Durations of the stages, seconds.
        findings: What the model found, as `domain.findings` writes it; no patient data.
        reason: What becomes of the results.
        trace: Record of the run, as JSON has it; no patient data.
    """

    delivering: bool
    timings: Mapping[str, float]
    findings: Mapping[str, Any] = field(default_factory=dict)
    reason: str = "results written"
    trace: Mapping[str, Any] | None = None


def finish(session: Session, job: Job, finished: Finished, now: datetime) -> None:
    """End a run whose results are recorded in the same transaction.

    Raises:
        TransitionError: the lease was lost meanwhile; the transaction must roll back.
    """
    row = session.get_one(JobRow, job.id)
    if not _holds(row, job):
        check_transition(JobState.DONE, JobState.RUNNING)
    row.timings, row.findings = dict(finished.timings), dict(finished.findings)
    row.trace = None if finished.trace is None else dict(finished.trace)
    _change(session, row, JobState.DELIVERING if finished.delivering else JobState.DONE, now, finished.reason)
    notice_events.note(session, RuleEvent.RESULT, job.id, now)


def fail_attempt(session: Session, job_id: int, reason: str, *, retryable: bool, now: datetime) -> JobState:
    """End an attempt that failed: queue the next with back-off, or fail the job. Returns the new state."""
    row = session.get_one(JobRow, job_id)
    if retryable and row.attempt < row.max_attempts:
        delay = min(_FIRST_RETRY_S * 2 ** (row.attempt - 1), _LONGEST_RETRY_S)
        row.next_attempt_at = now + timedelta(seconds=delay)
        _change(session, row, JobState.QUEUED, now, reason)
        return JobState.QUEUED
    _change(session, row, JobState.FAILED, now, reason)
    return JobState.FAILED


def recover(session: Session, now: datetime, *, owner: str | None = None) -> list[int]:
    """Take back jobs whose lease ran out, or all of one owner that is known to be dead. Returns their ids."""
    statement = select(JobRow).where(JobRow.state == JobState.RUNNING)
    statement = statement.where(JobRow.lease_owner == owner) if owner else statement.where(col(JobRow.lease_until) < now)
    recovered = []
    for row in session.exec(statement).all():
        if row.attempt < row.max_attempts:
            row.next_attempt_at = now
            _change(session, row, JobState.QUEUED, now, "worker died, attempt lost")
        else:
            _change(session, row, JobState.FAILED, now, f"worker died in attempt {row.attempt} of {row.max_attempts}")
        recovered.append(row.id or 0)
    return recovered


def settle(session: Session, job_id: int, to: JobState, reason: str, now: datetime) -> None:
    """Close a DELIVERING job, cancel a QUEUED or RUNNING one, or reopen a FAILED or CANCELLED one."""
    row = session.get_one(JobRow, job_id)
    if to == JobState.QUEUED:
        row.attempt, row.next_attempt_at = 0, now
    _change(session, row, to, now, reason)


def prioritize(session: Session, job_id: int, priority: Priority, now: datetime) -> bool:
    """Give a queued job another priority; False if it is not queued any more. How long it has been due does not change."""
    row = session.get_one(JobRow, job_id)
    if row.state != JobState.QUEUED:
        return False
    reason = f"priority {row.priority} changed to {priority} by an operator"
    session.add(JobEventRow(job_id=job_id, at=now, from_state=row.state, to_state=row.state, reason=reason))
    row.priority = priority
    return True


def remark(session: Session, job_id: int, reason: str, now: datetime) -> None:
    """Write into the history of a job what has become of it; nothing else changes."""
    row = session.get_one(JobRow, job_id)
    session.add(JobEventRow(job_id=job_id, at=now, from_state=row.state, to_state=row.state, reason=reason))


def note(session: Session, job_id: int, reason: str, next_attempt_at: datetime) -> None:
    """Say on the job why it still waits; the state stays."""
    row = session.get_one(JobRow, job_id)
    row.reason, row.next_attempt_at = reason, next_attempt_at


def get(session: Session, job_id: int) -> Job | None:
    """Read one job."""
    row = session.get(JobRow, job_id)
    return None if row is None else job_from_row(row)


def job_from_row(row: JobRow) -> Job:
    """Convert a row into the frozen type."""
    return Job(
        id=row.id or 0,
        key=JobKey(row.study_instance_uid, row.revision, row.rule, row.model_digest),
        model=row.model,
        model_version=row.model_version,
        state=JobState(row.state),
        stage=JobStage(row.stage) if row.stage else None,
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        inputs=tuple(JobInput(**{**i, "sop_instance_uids": tuple(i["sop_instance_uids"])}) for i in row.inputs),
        send_to=tuple(row.send_to),
        priority=Priority(row.priority),
        shadow=row.shadow,
        replaces=row.replaces,
        lease_owner=row.lease_owner,
        lease_until=row.lease_until,
        next_attempt_at=row.next_attempt_at,
        reason=row.reason,
        created_at=row.created_at,
        progress=row.progress,
        ahead_by=row.ahead_by,
    )


def _by_key(session: Session, key: JobKey) -> JobRow | None:
    return session.exec(
        select(JobRow).where(
            JobRow.study_instance_uid == key.study_instance_uid,
            JobRow.revision == key.revision,
            JobRow.rule == key.rule,
            JobRow.model_digest == key.model_digest,
        )
    ).first()


def _change(session: Session, row: JobRow, to: JobState, now: datetime, reason: str) -> None:
    check_transition(JobState(row.state), to)
    session.add(JobEventRow(job_id=row.id or 0, at=now, from_state=row.state, to_state=to, reason=reason))
    row.state, row.reason = to, reason
    if to != JobState.RUNNING:
        row.lease_owner = row.lease_until = row.stage = row.progress = None
    row.ahead_by = row.begun_until = None
    if to == JobState.FAILED:
        notice_events.note(session, RuleEvent.FAILURE, row.id or 0, now)
