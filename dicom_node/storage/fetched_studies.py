"""Earlier studies that requests for priors take: which are expected, which came, and whose studies the node has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, or_, select

from dicom_node.domain.fetches import FetchState, is_marked_as_prior
from dicom_node.domain.instances import Attributes, ReceivedInstance
from dicom_node.domain.patients import PatientKey, first_value
from dicom_node.storage.fetch_tables import FetchedStudyRow, FetchRow, StudyPatientRow
from dicom_node.storage.tables import StudyRow

STRAGGLERS = timedelta(minutes=10)
"""After a C-MOVE ended this long, what it may have sent still counts as fetched: a file may wait for the index meanwhile."""


@dataclass(frozen=True, slots=True)
class FetchedStudy:
    """An earlier study of a request.

    Attributes:
        taken: None while it is under way.
        reason: Why it was not taken; no patient data.
    """

    study_instance_uid: str
    taken: bool | None
    reason: str


def comes_as_prior(session: Session, instance: ReceivedInstance) -> bool:
    """Say whether an instance came because a request for a prior fetched it, and not because a peer pushed it.

    What came through our own door (C-GET, WADO-RS) carries a mark in its file and is known for good. What a C-MOVE sends to the
    receiver looks like a push of the archive; it is taken for the prior while a request that named its study and series is under
    way or ended no longer than `STRAGGLERS` before, and the sender is that archive. A push of those very series by the archive
    within that time cannot be told from it and starts nothing either.
    """
    if is_marked_as_prior(instance.peer):
        return True
    moved = session.exec(
        select(FetchedStudyRow).where(
            FetchedStudyRow.study_instance_uid == instance.study_instance_uid,
            FetchedStudyRow.calling_ae_title == instance.peer.calling_ae_title,
            or_(col(FetchedStudyRow.expected_until).is_(None), col(FetchedStudyRow.expected_until) >= instance.received_at),
        )
    ).all()
    return any(instance.series_instance_uid in row.series for row in moved)


def begin(session: Session, fetch_id: int, study_instance_uid: str, series: Sequence[str], calling_ae_title: str) -> None:
    """Record that a study is about to be fetched; repeated, it names the series anew.

    Args:
        session: Transaction; committed before the first instance is asked for.
        fetch_id: Request.
        study_instance_uid: Of the prior.
        series: Series Instance UIDs that are asked for.
        calling_ae_title: Who will send them after a C-MOVE; empty if they come through our own door.
    """
    row = _row(session, fetch_id, study_instance_uid) or FetchedStudyRow(
        fetch_id=fetch_id, study_instance_uid=study_instance_uid, series=[]
    )
    row.series, row.calling_ae_title = sorted({*row.series, *series}), calling_ae_title
    row.taken, row.expected_until = None, None
    session.add(row)


def settle(session: Session, fetch_id: int, study: FetchedStudy, now: datetime) -> None:
    """Record whether a study is the prior that was wanted."""
    uid = study.study_instance_uid
    row = _row(session, fetch_id, uid) or FetchedStudyRow(fetch_id=fetch_id, study_instance_uid=uid, series=[])
    row.taken, row.reason, row.expected_until = study.taken, study.reason, now + STRAGGLERS
    session.add(row)


def close(session: Session, fetch_id: int, now: datetime) -> None:
    """Expect nothing more of a request that has ended; studies under way are not taken."""
    for row in session.exec(select(FetchedStudyRow).where(FetchedStudyRow.fetch_id == fetch_id)):
        if row.taken is None:
            row.taken, row.reason = False, "the request ended before it was whole"
        if row.expected_until is None:
            row.expected_until = now + STRAGGLERS


def of_request(session: Session, fetch_id: int) -> list[FetchedStudy]:
    """List the studies of a request in the order they were tried."""
    rows = session.exec(select(FetchedStudyRow).where(FetchedStudyRow.fetch_id == fetch_id).order_by(col(FetchedStudyRow.id)))
    return [FetchedStudy(r.study_instance_uid, r.taken, r.reason) for r in rows]


def taken_by(session: Session, fetch_ids: Sequence[int]) -> Mapping[int, list[str]]:
    """Return the Study Instance UIDs that each request took."""
    found: dict[int, list[str]] = {}
    statement = select(FetchedStudyRow).where(col(FetchedStudyRow.fetch_id).in_(fetch_ids), col(FetchedStudyRow.taken).is_(True))
    for row in session.exec(statement):
        found.setdefault(row.fetch_id, []).append(row.study_instance_uid)
    return found


def is_wanted_now(session: Session, fetch_id: int) -> bool:
    """Say whether a request is still under way; its deadline may have ended it."""
    return session.exec(select(FetchRow.state).where(FetchRow.id == fetch_id)).first() == FetchState.RUNNING


def note_patient(session: Session, study_id: int, attributes: Attributes) -> None:
    """Record whose a study is, by the header of a new series."""
    patient = PatientKey.of(attributes)
    if not patient.is_known:
        return
    known = select(StudyPatientRow.id).where(
        StudyPatientRow.study_id == study_id, StudyPatientRow.patient_id == patient.patient_id, StudyPatientRow.issuer == patient.issuer
    )
    if session.exec(known).first() is None:
        date = first_value(attributes, "StudyDate")
        session.add(StudyPatientRow(study_id=study_id, patient_id=patient.patient_id, issuer=patient.issuer, study_date=date))


def studies_of_patient(session: Session, patient: PatientKey, first_date: str, last_date: str) -> list[str]:
    """List the patient's studies in the node by Study Instance UID.

    Args:
        session: Transaction.
        patient: Whose.
        first_date: Earliest Study Date, YYYYMMDD.
        last_date: Latest Study Date.
    """
    statement = (
        select(StudyRow.study_instance_uid)
        .join(StudyPatientRow, col(StudyPatientRow.study_id) == col(StudyRow.id))
        .where(
            StudyPatientRow.patient_id == patient.patient_id,
            StudyPatientRow.issuer == patient.issuer,
            StudyPatientRow.study_date >= first_date,
            StudyPatientRow.study_date <= last_date,
        )
    )
    return list(session.exec(statement))


def _row(session: Session, fetch_id: int, study_instance_uid: str) -> FetchedStudyRow | None:
    statement = select(FetchedStudyRow).where(
        FetchedStudyRow.fetch_id == fetch_id, FetchedStudyRow.study_instance_uid == study_instance_uid
    )
    return session.exec(statement).first()
