"""What operators look at: studies, jobs and their history, in one reading each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, func, select

from dicom_node.domain.jobs import JobEvent, JobState
from dicom_node.domain.studies import StudyState
from dicom_node.storage.tables import InstanceRow, JobEventRow, JobRow, RevisionRow, SeriesRow, StudyEventRow, StudyRow


@dataclass(frozen=True, slots=True)
class StudySummary:
    """One line of the study list; no patient data.

    Attributes:
        waits: What each rule waits for: `rule` (empty: none may take the study so far), `reason`, and `until` as ISO 8601 text.
    """

    study_instance_uid: str
    state: StudyState
    revision: int
    series: int
    instances: int
    last_received_at: datetime | None
    reason: str
    waits: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RevisionSummary:
    """What the rules decided about one revision.

    Attributes:
        traces: One mapping per rule as written at the decision; values seen may hold patient data.
    """

    revision: int
    closed_at: datetime
    closed_because: str
    rules_digest: str
    held_by: str | None
    traces: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class StudyEvent:
    """A change of a study's state."""

    at: datetime
    from_state: str | None
    to_state: str
    reason: str


def studies(session: Session, limit: int, study_instance_uid: str | None = None) -> list[StudySummary]:
    """List the newest studies, or one."""
    statement = (
        select(StudyRow, func.count(func.distinct(SeriesRow.id)), func.count(col(InstanceRow.id)), func.max(InstanceRow.received_at))
        .join(SeriesRow, col(SeriesRow.study_id) == col(StudyRow.id))
        .join(InstanceRow, col(InstanceRow.series_id) == col(SeriesRow.id))
        .where(col(InstanceRow.own_result).is_(False), InstanceRow.variant == 0)
        .group_by(col(StudyRow.id))
        .order_by(col(StudyRow.id).desc())
        .limit(limit)
    )
    if study_instance_uid is not None:
        statement = statement.where(StudyRow.study_instance_uid == study_instance_uid)
    return [
        StudySummary(row.study_instance_uid, StudyState(row.state), row.revision, series, instances, last, row.reason, tuple(row.waits))
        for row, series, instances, last in session.exec(statement)
    ]


def revisions(session: Session, study_instance_uid: str) -> list[RevisionSummary]:
    """List the closed revisions of a study, with every rule's trace."""
    statement = (
        select(RevisionRow)
        .join(StudyRow, col(StudyRow.id) == col(RevisionRow.study_id))
        .where(StudyRow.study_instance_uid == study_instance_uid)
        .order_by(col(RevisionRow.revision))
    )
    return [
        RevisionSummary(r.revision, r.closed_at, r.closed_because, r.rules_digest, r.held_by, tuple(r.traces))
        for r in session.exec(statement)
    ]


def study_events(session: Session, study_instance_uid: str) -> list[StudyEvent]:
    """List the history of a study."""
    statement = (
        select(StudyEventRow)
        .join(StudyRow, col(StudyRow.id) == col(StudyEventRow.study_id))
        .where(StudyRow.study_instance_uid == study_instance_uid)
        .order_by(col(StudyEventRow.id))
    )
    return [StudyEvent(e.at, e.from_state, e.to_state, e.reason) for e in session.exec(statement)]


def job_ids(session: Session, limit: int, state: JobState | None = None, study_instance_uid: str | None = None) -> list[int]:
    """List the newest jobs."""
    statement = select(JobRow.id).order_by(col(JobRow.id).desc()).limit(limit)
    if state is not None:
        statement = statement.where(JobRow.state == state)
    if study_instance_uid is not None:
        statement = statement.where(JobRow.study_instance_uid == study_instance_uid)
    return [job_id for job_id in session.exec(statement) if job_id is not None]


def job_events(session: Session, job_id: int) -> list[JobEvent]:
    """List the history of a job."""
    rows = session.exec(select(JobEventRow).where(JobEventRow.job_id == job_id).order_by(col(JobEventRow.id)))
    return [JobEvent(r.job_id, r.at, JobState(r.from_state) if r.from_state else None, JobState(r.to_state), r.reason) for r in rows]


def job_timings(session: Session, job_id: int) -> dict[str, float]:
    """Return the durations of a job's stages, seconds."""
    return {name: float(value) for name, value in session.get_one(JobRow, job_id).timings.items()}


def job_trace(session: Session, job_id: int) -> dict[str, Any] | None:
    """Return the record of a job's inference, as `domain.inference_trace` writes it; None before it is done."""
    return session.get_one(JobRow, job_id).trace


def job_findings(session: Session, job_id: int) -> dict[str, Any]:
    """Return what the model found, as `domain.findings` writes it; empty before the results are there."""
    return dict(session.get_one(JobRow, job_id).findings)
