"""Reads what notices say of jobs and of a span of time, and, for receivers that may know, whose studies they were."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from sqlmodel import Session, col, func, select

from dicom_node.domain.jobs import FORWARD, NOT_ANALYSED, DeliveryState, JobState
from dicom_node.domain.notice_facts import (
    DigestFacts,
    FailedDeliveries,
    Identifiers,
    JobFacts,
    Measured,
    OverdueFacts,
    RuleCounts,
    without_uids,
)
from dicom_node.domain.notices import NoticeState
from dicom_node.domain.patients import first_value
from dicom_node.storage.deliveries import ACCEPTED, GIVEN_UP
from dicom_node.storage.notice_tables import NoticeRow
from dicom_node.storage.tables import (
    DeliveryEventRow,
    DeliveryRow,
    InstanceRow,
    JobEventRow,
    JobRow,
    ResultRow,
    RevisionRow,
    SeriesRow,
    StudyRow,
)

_ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
_WAITING = (JobState.QUEUED, JobState.RUNNING, JobState.DELIVERING)
_RUN = ("reading_s", "model_s", "writing_s")


def job_facts(session: Session, row: JobRow, at: datetime, undelivered: tuple[FailedDeliveries, ...] = ()) -> JobFacts:
    """Say of a job what everybody may know.

    Args:
        session: Transaction.
        row: The job.
        at: When it happened that is told.
        undelivered: Deliveries that failed.
    """
    failed = row.state == JobState.FAILED and not undelivered
    run_reason = _run_reason(session, row)
    not_analysed = run_reason.startswith(NOT_ANALYSED)  # its reason may quote the header, so it is told to nobody
    kinds = session.exec(select(ResultRow.kind, ResultRow.number).where(ResultRow.job_id == row.id).distinct()).all()
    findings = row.findings or {}
    return JobFacts(
        job=row.id or 0,
        rule=row.rule,
        model=row.model,
        model_version=row.model_version,
        study=_reference(session, row.study_instance_uid),
        revision=row.revision,
        state=row.state,
        outcome=_outcome(row, failed=failed, not_analysed=not_analysed),
        reason=without_uids(row.reason) if failed else "" if not_analysed else without_uids(run_reason),
        attempt=row.attempt,
        images=sum(len(i["sop_instance_uids"]) for i in row.inputs),
        objects=dict(sorted(Counter(kind for kind, _ in kinds).items())),
        findings=sum(bool(f.get("present")) for f in findings.get("findings", {}).values()),
        measurements=len(findings.get("measurements", {})),
        run_s=round(sum(float(row.timings.get(name, 0.0)) for name in _RUN), 1),
        total_s=round((at - row.created_at).total_seconds(), 1),
        deliveries=undelivered,
    )


def bare_facts(row: JobRow) -> JobFacts:
    """Say of a job what its own columns hold, where its records cannot be read."""
    outcome = "failed" if row.state == JobState.FAILED else "analysed"
    about = row.id or 0, row.rule, row.model, row.model_version, "", row.revision, row.state, outcome, without_uids(row.reason), row.attempt
    return JobFacts(*about, images=0, objects={}, findings=0, measurements=0, run_s=0.0, total_s=0.0)


def identifiers(session: Session, job_id: int) -> Identifiers | None:
    """Read whose study a job was about and what was found; None if the job or its images are gone. Patient data."""
    row = session.get(JobRow, job_id)
    if row is None or not row.inputs:
        return None
    uid = row.inputs[0]["series_instance_uid"]
    header = session.exec(
        select(SeriesRow.attributes)
        .join(StudyRow, col(StudyRow.id) == col(SeriesRow.study_id))
        .where(SeriesRow.series_instance_uid == uid, StudyRow.study_instance_uid == row.study_instance_uid)
    ).first()
    known: Mapping[str, Any] = {keyword: values or () for keyword, values in (header or {}).items()}
    found = row.findings or {}
    reason = _run_reason(session, row)
    return Identifiers(
        study_instance_uid=row.study_instance_uid,
        patient_name=first_value(known, "PatientName"),
        patient_id=first_value(known, "PatientID"),
        birth_date=first_value(known, "PatientBirthDate"),
        accession_number=first_value(known, "AccessionNumber"),
        study_date=first_value(known, "StudyDate"),
        study_description=first_value(known, "StudyDescription"),
        findings=tuple(label for label, f in found.get("findings", {}).items() if f.get("present")),
        measurements=tuple(Measured(name, m["value"], m["unit"]) for name, m in found.get("measurements", {}).items()),
        not_analysed=reason.removeprefix(NOT_ANALYSED) if reason.startswith(NOT_ANALYSED) else "",
    )


def digest_facts(session: Session, since: datetime, until: datetime, instances: int) -> DigestFacts:
    """Count what happened from one moment on until before another.

    Args:
        session: Reads only.
        since: Included.
        until: Not included.
        instances: Indexed in it, counted by the caller, who has a cursor.
    """
    revisions = select(func.count()).select_from(RevisionRow).where(RevisionRow.closed_at >= since, RevisionRow.closed_at < until)
    waiting = session.exec(select(JobRow.state, func.count()).where(col(JobRow.state).in_(_WAITING)).group_by(JobRow.state)).all()
    told = session.exec(
        select(NoticeRow.event, func.count())
        .where(col(NoticeRow.sent_at) >= since, col(NoticeRow.sent_at) < until)
        .group_by(NoticeRow.event)
    ).all()
    dead = select(func.count()).select_from(NoticeRow).where(NoticeRow.state == NoticeState.DEAD, NoticeRow.created_at >= since)
    return DigestFacts(
        since=since.astimezone(UTC).isoformat(timespec="seconds"),
        until=until.astimezone(UTC).isoformat(timespec="seconds"),
        instances=instances,
        revisions=session.exec(revisions).one(),
        rules=_rules(session, since, until),
        deliveries_sent=_deliveries(session, ACCEPTED[:1], since, until),
        deliveries_failed=_deliveries(session, GIVEN_UP, since, until),
        notices_sent=dict(sorted(told)),
        notices_dead=session.exec(dead.where(NoticeRow.created_at < until)).one(),
        waiting=dict(sorted(waiting)),
    )


def overdue_facts(session: Session, now: datetime, after: timedelta) -> list[OverdueFacts]:
    """Say which destinations have not taken what they are owed for too long."""
    late = DeliveryRow.state == DeliveryState.OWED, col(DeliveryRow.owed_at) <= now - after
    counted = select(
        DeliveryRow.destination, func.count(), func.count(func.distinct(DeliveryRow.job_id)), func.min(DeliveryRow.owed_at)
    ).where(*late)
    found = []
    for name, objects, jobs, since in session.exec(counted.group_by(DeliveryRow.destination).order_by(DeliveryRow.destination)):
        oldest = select(DeliveryRow.reason).where(*late, DeliveryRow.destination == name).order_by(col(DeliveryRow.owed_at))
        reason = without_uids(session.exec(oldest.limit(1)).one())
        iso = since.astimezone(UTC).isoformat(timespec="seconds")
        found.append(OverdueFacts(name, False, objects, jobs, iso, after.total_seconds(), reason))  # noqa: FBT003 - it is not over
    return found


def instances_after(session: Session, position: int) -> tuple[int, int]:
    """Count the instances indexed after a row; returns the count, and the last row."""
    count, last = session.exec(select(func.count(), func.max(InstanceRow.id)).where(col(InstanceRow.id) > position)).one()
    return count, last or position


def arrivals_after(session: Session, position: int) -> tuple[dict[str, datetime], int]:
    """Say when each calling AE title sent its newest instance among those indexed after a row; returns the last row too."""
    statement = (
        select(InstanceRow.calling_ae_title, func.max(InstanceRow.received_at), func.max(InstanceRow.id))
        .where(col(InstanceRow.id) > position)
        .group_by(InstanceRow.calling_ae_title)
    )
    rows = session.exec(statement).all()
    return {title: at for title, at, _ in rows}, max((last or 0 for *_, last in rows), default=position)


def _outcome(row: JobRow, *, failed: bool, not_analysed: bool) -> str:
    if row.model_digest == FORWARD:
        return "forwarded"
    return "failed" if failed else "not-analysed" if not_analysed else "analysed"


def _run_reason(session: Session, row: JobRow) -> str:
    """Return what the run ended with; the job's own reason changes with its deliveries."""
    statement = (
        select(JobEventRow.reason)
        .where(JobEventRow.job_id == row.id, JobEventRow.from_state == JobState.RUNNING)
        .order_by(col(JobEventRow.id).desc())
    )
    return session.exec(statement).first() or ""


def _reference(session: Session, study_instance_uid: str) -> str:
    number = session.exec(select(StudyRow.id).where(StudyRow.study_instance_uid == study_instance_uid)).first()
    return f"study-{number}" if number else ""


def _rules(session: Session, since: datetime, until: datetime) -> tuple[RuleCounts, ...]:
    statement = (
        select(JobRow.rule, JobRow.model, JobEventRow.to_state, JobRow.timings)
        .join(JobEventRow, col(JobEventRow.job_id) == col(JobRow.id))
        .where(JobEventRow.at >= since, JobEventRow.at < until, col(JobEventRow.to_state).in_(_ENDED))
    )
    ended: dict[tuple[str, str], list[str]] = defaultdict(list)
    took: dict[tuple[str, str], list[float]] = defaultdict(list)
    for rule, model, state, timings in session.exec(statement):
        ended[rule, model].append(state)
        if state == JobState.DONE:
            took[rule, model].append(sum(float(timings.get(name, 0.0)) for name in _RUN))
    return tuple(
        RuleCounts(
            *key,
            done=states.count(JobState.DONE),
            failed=states.count(JobState.FAILED),
            cancelled=states.count(JobState.CANCELLED),
            median_s=round(median(took[key]), 1) if took[key] else None,
            longest_s=round(max(took[key]), 1) if took[key] else None,
        )
        for key, states in sorted(ended.items())
    )


def _deliveries(session: Session, states: tuple[DeliveryState, ...], since: datetime, until: datetime) -> int:
    """Count deliveries that came into a state from another one."""
    statement = (
        select(func.count(func.distinct(DeliveryEventRow.delivery_id)))
        .where(DeliveryEventRow.at >= since, DeliveryEventRow.at < until, col(DeliveryEventRow.to_state).in_(states))
        .where(DeliveryEventRow.from_state != DeliveryEventRow.to_state)
    )
    return session.exec(statement).one()
