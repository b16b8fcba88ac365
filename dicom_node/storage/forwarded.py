"""Received images that are owed to destinations: what there is of a study, who sent it, and what was owed before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from dicom_node.domain.jobs import IMAGE, Job
from dicom_node.storage.deliveries import owe_all
from dicom_node.storage.tables import DeliveryRow, InstanceRow, JobRow, ResultRow, SeriesRow, StudyRow


@dataclass(frozen=True, slots=True)
class SentBy:
    """Who sent an instance, as it was received.

    Attributes:
        address: IPv4 or IPv6; something else for what came by no network.
    """

    calling_ae_title: str
    address: str


@dataclass(frozen=True, slots=True)
class ReceivedImage:
    """An instance as it lies on disk."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    path: str
    sent_by: SentBy


def received_images(session: Session, study_instance_uid: str) -> dict[str, ReceivedImage]:
    """Return the instances of a study by SOP Instance UID; own results and differing duplicates left out."""
    statement = (
        select(InstanceRow.sop_instance_uid, InstanceRow.sop_class_uid, SeriesRow.series_instance_uid, InstanceRow.path)
        .add_columns(col(InstanceRow.calling_ae_title), col(InstanceRow.address))
        .join(SeriesRow, col(SeriesRow.id) == col(InstanceRow.series_id))
        .join(StudyRow, col(StudyRow.id) == col(SeriesRow.study_id))
        .where(col(StudyRow.study_instance_uid) == study_instance_uid)
        .where(col(InstanceRow.variant) == 0, col(InstanceRow.own_result).is_(False))
    )
    return {
        uid: ReceivedImage(uid, sop_class, series, path, SentBy(calling, address))
        for uid, sop_class, series, path, calling, address in session.execute(statement)
    }


def owed_before(session: Session, study_instance_uid: str, destination: str) -> set[str]:
    """Return which images of a study a destination was owed already, whatever rule and revision, and whatever became of it."""
    statement = (
        select(ResultRow.sop_instance_uid)
        .join(DeliveryRow, col(DeliveryRow.result_id) == col(ResultRow.id))
        .join(JobRow, col(JobRow.id) == col(ResultRow.job_id))
        .where(JobRow.study_instance_uid == study_instance_uid, ResultRow.kind == IMAGE, DeliveryRow.destination == destination)
    )
    return set(session.exec(statement))


def record_images(session: Session, job: Job, images: Sequence[ReceivedImage], owed: Mapping[str, frozenset[str]], now: datetime) -> None:
    """Record images as what a job sends, and owe to each destination, by name, those of its SOP Instance UIDs.

    A study may have thousands: rows are written in batches.
    """
    results = [
        ResultRow(
            job_id=job.id,
            kind=IMAGE,
            number=number,
            sop_class_uid=image.sop_class_uid,
            sop_instance_uid=image.sop_instance_uid,
            series_instance_uid=image.series_instance_uid,
            path=image.path,
        )
        for number, image in enumerate(images, start=1)
    ]
    session.add_all(results)
    session.flush()
    going = ((result, destination) for destination, uids in owed.items() for result in results if result.sop_instance_uid in uids)
    owe_all(session, going, now, f"forwarded by rule {job.key.rule}")
