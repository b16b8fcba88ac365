"""Index of received instances: rows in batches, revisions of studies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement
from sqlmodel import Session, and_, col, func, select

from dicom_node.domain.instances import ReceivedInstance
from dicom_node.domain.jobs import IMAGE
from dicom_node.domain.patients import PatientKey
from dicom_node.domain.studies import ClosedBecause, Series, Study, StudyInstance, StudyState
from dicom_node.storage import fetched_studies, study_headers
from dicom_node.storage.files import InstanceFiles
from dicom_node.storage.tables import InstanceRow, ResultRow, SeriesRow, StudyEventRow, StudyRow

_NEVER = datetime.min.replace(tzinfo=UTC)


class Arrival(StrEnum):
    """What an instance turned out to be."""

    NEW = "new"
    IDENTICAL = "identical"
    DIFFERS = "differs"
    OWN_RESULT = "own-result"
    PRIOR = "prior"
    """Fetched to accompany a later study; opens nothing."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """Where an instance belongs; `target` is None when the same object is there already and the file can go."""

    instance: ReceivedInstance
    arrival: Arrival
    target: Path | None


def index_instance(session: Session, files: InstanceFiles, instance: ReceivedInstance) -> Indexed:
    """Write the rows of one instance; the caller moves the file after the commit.

    An identical object that is there already leaves no second row. A different one under the same UID is kept beside the
    first and opens nothing. The node's own results are kept but never count as part of a study. What was fetched as a prior
    (`fetched_studies.comes_as_prior`) opens nothing either: it stays pending, and belongs to the next revision if the study opens
    for another reason. In a study that is open already it is an instance like others.
    """
    study = _study_row(session, instance)
    series = _series_row(session, study, instance)
    twins = session.exec(
        select(InstanceRow).where(InstanceRow.series_id == series.id, InstanceRow.sop_instance_uid == instance.sop_instance_uid)
    ).all()
    for twin in twins:
        if twin.sha256 == instance.sha256:
            missing = None if Path(twin.path).exists() else Path(twin.path)
            return Indexed(instance, Arrival.IDENTICAL, missing)
    own = instance.own_result or _is_recorded_result(session, instance.sop_instance_uid)
    variant = len(twins)
    target = files.place_for(instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid, variant)
    row = _instance_row(replace(instance, path=target, own_result=own), series, variant)
    session.add(row)
    if variant:
        session.add(
            StudyEventRow(
                study_id=_id(study), at=instance.received_at, from_state=study.state, to_state=study.state, reason="duplicate differs"
            )
        )
        return Indexed(instance, Arrival.DIFFERS, target)
    if own:
        return Indexed(instance, Arrival.OWN_RESULT, target)
    if study.state != StudyState.RECEIVING and fetched_studies.comes_as_prior(session, instance):
        if study.state == StudyState.CLOSED and study.revision == 0:
            change_study(session, study, StudyState.PRIOR, instance.received_at, "fetched as a prior")
        return Indexed(instance, Arrival.PRIOR, target)
    _open(session, study, instance.received_at)
    return Indexed(instance, Arrival.NEW, target)


def freeze(session: Session, study_instance_uid: str, now: datetime, because: ClosedBecause) -> Study:
    """Close the pending revision and return the study as it now stands, own results and differing duplicates left out.

    The study's state stays as it is: it depends on what the rules say.
    """
    study = session.exec(select(StudyRow).where(StudyRow.study_instance_uid == study_instance_uid)).one()
    study.revision += 1
    pending = session.exec(
        select(InstanceRow)
        .join(SeriesRow, col(SeriesRow.id) == col(InstanceRow.series_id))
        .where(
            SeriesRow.study_id == study.id,
            col(InstanceRow.revision).is_(None),
            InstanceRow.variant == 0,
            col(InstanceRow.own_result).is_(False),
        )
    ).all()
    for row in pending:
        row.revision = study.revision
    study.first_pending_at = study.last_pending_at = None
    session.flush()
    frozen = load_study(session, study_instance_uid, study.revision, (now, because))
    study_headers.keep(session, _id(study), frozen)
    return frozen


def load_study(session: Session, study_instance_uid: str, revision: int, closed: tuple[datetime, ClosedBecause]) -> Study:
    """Read a revision: every instance that arrived up to it."""
    return _load(session, study_instance_uid, col(InstanceRow.revision) <= revision, revision, closed)


def load_present_study(session: Session, study_instance_uid: str) -> Study:
    """Read a study as it is now, pending instances included, as an input with `prior` sees it; it was never closed for that.

    Its revision is the last one closed, 0 for a study that was only fetched; it counts as closed when its last instance arrived.
    A study that never came has no series.
    """
    study = session.exec(select(StudyRow).where(StudyRow.study_instance_uid == study_instance_uid)).first()
    if study is None:
        return Study(study_instance_uid, 0, _NEVER, ClosedBecause.QUIET, (), ())
    present = and_(col(InstanceRow.variant) == 0, col(InstanceRow.own_result).is_(False))
    last = select(func.max(InstanceRow.received_at)).join(SeriesRow, col(SeriesRow.id) == col(InstanceRow.series_id))
    last_at = session.exec(last.where(SeriesRow.study_id == study.id, present)).one()
    return _load(session, study_instance_uid, present, study.revision, (last_at or _NEVER, ClosedBecause.QUIET))


def instances_by_series(session: Session, study_instance_uid: str) -> dict[str, int]:
    """Count the instances of a study that have arrived, by Series Instance UID."""
    statement = (
        select(SeriesRow.series_instance_uid, func.count(col(InstanceRow.id)))
        .join(InstanceRow, col(InstanceRow.series_id) == col(SeriesRow.id))
        .join(StudyRow, col(StudyRow.id) == col(SeriesRow.study_id))
        .where(StudyRow.study_instance_uid == study_instance_uid, InstanceRow.variant == 0)
        .group_by(col(SeriesRow.series_instance_uid))
    )
    return dict(session.exec(statement).all())


def study_so_far(session: Session, study_instance_uid: str, now: datetime) -> Study:
    """Read a study as its next revision would be if it were closed now; the last revision, if nothing is pending."""
    study = load_present_study(session, study_instance_uid)
    pending = (
        select(InstanceRow.id)
        .join(SeriesRow, col(SeriesRow.id) == col(InstanceRow.series_id))
        .join(StudyRow, col(StudyRow.id) == col(SeriesRow.study_id))
        .where(
            StudyRow.study_instance_uid == study_instance_uid,
            InstanceRow.variant == 0,
            col(InstanceRow.own_result).is_(False),
            col(InstanceRow.revision).is_(None),
        )
    )
    revision = study.revision + (session.exec(pending).first() is not None)
    return replace(study, revision=revision, closed_at=now, closed_because=ClosedBecause.MANUAL)


def patients(session: Session, study_instance_uid: str) -> set[PatientKey]:
    """Return every patient that a study's instances name; more than one if it mixes them.

    An instance without an issuer counts to the one that others of the same Patient ID name: not every modality writes it.
    """
    statement = (
        select(InstanceRow.attributes, SeriesRow.attributes)
        .join(SeriesRow, col(SeriesRow.id) == col(InstanceRow.series_id))
        .join(StudyRow, col(StudyRow.id) == col(SeriesRow.study_id))
        .where(StudyRow.study_instance_uid == study_instance_uid, InstanceRow.variant == 0, col(InstanceRow.own_result).is_(False))
    )
    found = {PatientKey.of(_attributes({**series, **own})) for own, series in session.exec(statement)}
    with_issuer = {key.patient_id for key in found if key.issuer}
    return {key for key in found if key.issuer or key.patient_id not in with_issuer}


def _load(
    session: Session, study_instance_uid: str, which: ColumnElement[bool], revision: int, closed: tuple[datetime, ClosedBecause]
) -> Study:
    rows = session.exec(
        select(InstanceRow, SeriesRow)
        .join(SeriesRow, col(SeriesRow.id) == col(InstanceRow.series_id))
        .join(StudyRow, col(StudyRow.id) == col(SeriesRow.study_id))
        .where(StudyRow.study_instance_uid == study_instance_uid, which)
        .order_by(col(SeriesRow.id), col(InstanceRow.id))
    ).all()
    grouped: dict[str, list[StudyInstance]] = {}
    for instance, series in rows:
        merged = _attributes({**series.attributes, **instance.attributes})
        grouped.setdefault(series.series_instance_uid, []).append(
            StudyInstance(instance.sop_instance_uid, instance.sop_class_uid, Path(instance.path), merged)
        )
    senders = tuple(sorted({instance.calling_ae_title for instance, _ in rows}))
    receivers = tuple(sorted({instance.called_ae_title for instance, _ in rows}))
    return Study(
        study_instance_uid,
        revision,
        closed[0],
        closed[1],
        senders,
        tuple(Series(uid, tuple(instances)) for uid, instances in grouped.items()),
        receivers,
    )


def change_study(session: Session, study: StudyRow, to: StudyState, at: datetime, reason: str) -> None:
    """Change a study's state and write the event."""
    session.add(StudyEventRow(study_id=_id(study), at=at, from_state=study.state, to_state=to, reason=reason))
    study.state, study.reason = to, reason


def _study_row(session: Session, instance: ReceivedInstance) -> StudyRow:
    row = session.exec(select(StudyRow).where(StudyRow.study_instance_uid == instance.study_instance_uid)).first()
    if row is None:
        row = StudyRow(study_instance_uid=instance.study_instance_uid, state=StudyState.CLOSED)
        session.add(row)
        session.flush()
    return row


def _series_row(session: Session, study: StudyRow, instance: ReceivedInstance) -> SeriesRow:
    row = session.exec(
        select(SeriesRow).where(SeriesRow.study_id == study.id, SeriesRow.series_instance_uid == instance.series_instance_uid)
    ).first()
    if row is None:
        attributes = {k: list(v) for k, v in instance.attributes.items()}
        row = SeriesRow(study_id=_id(study), series_instance_uid=instance.series_instance_uid, attributes=attributes)
        session.add(row)
        session.flush()
        fetched_studies.note_patient(session, _id(study), instance.attributes)
    return row


def _instance_row(instance: ReceivedInstance, series: SeriesRow, variant: int) -> InstanceRow:
    own = {k: list(v) for k, v in instance.attributes.items()}
    different: dict[str, Any] = {k: v for k, v in own.items() if series.attributes.get(k) != v}
    different |= dict.fromkeys(series.attributes.keys() - own.keys())  # None: the series has it, this instance does not
    return InstanceRow(
        series_id=series.id or 0,
        sop_instance_uid=instance.sop_instance_uid,
        sop_class_uid=instance.sop_class_uid,
        transfer_syntax_uid=instance.transfer_syntax_uid,
        variant=variant,
        own_result=instance.own_result,
        path=str(instance.path),
        size_bytes=instance.size_bytes,
        sha256=instance.sha256,
        received_at=instance.received_at,
        calling_ae_title=instance.peer.calling_ae_title,
        called_ae_title=instance.peer.called_ae_title,
        address=instance.peer.address,
        attributes=different,
    )


def _open(session: Session, study: StudyRow, at: datetime) -> None:
    study.first_pending_at = min(study.first_pending_at or at, at)
    study.last_pending_at = max(study.last_pending_at or at, at)
    if study.state != StudyState.RECEIVING:
        change_study(session, study, StudyState.RECEIVING, at, "late instances" if study.revision else "first instance")


def _is_recorded_result(session: Session, sop_instance_uid: str) -> bool:
    recorded = select(ResultRow.id).where(ResultRow.sop_instance_uid == sop_instance_uid, ResultRow.kind != IMAGE)
    return session.exec(recorded.limit(1)).first() is not None


def _attributes(stored: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {keyword: tuple(values) for keyword, values in stored.items() if values is not None}


def _id(row: StudyRow) -> int:
    if row.id is None:
        raise RuntimeError("row not flushed")
    return row.id
