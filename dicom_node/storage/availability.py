"""Availability notices on record, and what they announce of a study."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, func, select

from dicom_node.domain.availability import Availability, AvailabilityNotice
from dicom_node.storage.commitment_tables import AvailabilityNoticeRow, AvailableInstanceRow
from dicom_node.storage.tables import InstanceRow, SeriesRow, StudyRow


@dataclass(frozen=True, slots=True)
class AnnouncedInstance:
    """The newest that was said of an instance.

    Attributes:
        announced_by: Calling AE title of the notification.
    """

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    availability: Availability
    retrieve_ae_title: str
    announced_at: datetime
    announced_by: str


def record_notice(session: Session, notice: AvailabilityNotice) -> bool:
    """Record a notice; False if it is on record already, nothing changes then."""
    known = select(AvailabilityNoticeRow).where(AvailabilityNoticeRow.sop_instance_uid == notice.sop_instance_uid)
    if session.exec(known).first() is not None:
        return False
    row = AvailabilityNoticeRow(
        sop_instance_uid=notice.sop_instance_uid,
        study_instance_uid=notice.study_instance_uid,
        calling_ae_title=notice.peer.calling_ae_title,
        called_ae_title=notice.peer.called_ae_title,
        address=notice.peer.address,
        received_at=notice.received_at,
    )
    session.add(row)
    session.flush()
    session.add_all(
        AvailableInstanceRow(
            notice_id=row.id or 0,
            series_instance_uid=i.series_instance_uid,
            sop_class_uid=i.sop_class_uid,
            sop_instance_uid=i.sop_instance_uid,
            availability=i.availability,
            retrieve_ae_title=i.retrieve_ae_title,
        )
        for i in notice.instances
    )
    return True


def announced_instances(session: Session, study_instance_uid: str) -> list[AnnouncedInstance]:
    """List what peers announced of a study, one entry an instance; a later notice replaces what an earlier one said of it."""
    statement = (
        select(AvailableInstanceRow, AvailabilityNoticeRow)
        .join(AvailabilityNoticeRow, col(AvailabilityNoticeRow.id) == col(AvailableInstanceRow.notice_id))
        .where(AvailabilityNoticeRow.study_instance_uid == study_instance_uid)
        .order_by(col(AvailabilityNoticeRow.received_at), col(AvailableInstanceRow.id))
    )
    newest = {
        instance.sop_instance_uid: AnnouncedInstance(
            instance.series_instance_uid,
            instance.sop_class_uid,
            instance.sop_instance_uid,
            Availability(instance.availability),
            instance.retrieve_ae_title,
            notice.received_at,
            notice.calling_ae_title,
        )
        for instance, notice in session.exec(statement)
    }
    return list(newest.values())


def arrived_instances(session: Session, study_instance_uid: str) -> set[str]:
    """Return the SOP Instance UIDs of a study that are in the index."""
    statement = (
        select(InstanceRow.sop_instance_uid)
        .join(SeriesRow, col(SeriesRow.id) == col(InstanceRow.series_id))
        .join(StudyRow, col(StudyRow.id) == col(SeriesRow.study_id))
        .where(StudyRow.study_instance_uid == study_instance_uid, InstanceRow.variant == 0)
    )
    return set(session.exec(statement))


def newest_notice(session: Session) -> int:
    """Return the number of the newest notice, to tell whether another came; 0 without any."""
    return session.exec(select(func.max(AvailabilityNoticeRow.id))).one() or 0
