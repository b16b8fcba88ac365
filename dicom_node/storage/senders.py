"""Who sent the instances of a study."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session, col, select

from dicom_node.storage.tables import InstanceRow, SeriesRow, StudyRow


@dataclass(frozen=True, slots=True)
class SentBy:
    """Who sent an instance, as it was received.

    Attributes:
        address: IPv4 or IPv6; something else for what came by no network.
    """

    calling_ae_title: str
    address: str


def senders(session: Session, study_instance_uid: str) -> dict[str, SentBy]:
    """Return who sent each instance of a study, by SOP Instance UID; own results and differing duplicates left out."""
    statement = (
        select(InstanceRow.sop_instance_uid, InstanceRow.calling_ae_title, InstanceRow.address)
        .join(SeriesRow, col(SeriesRow.id) == col(InstanceRow.series_id))
        .join(StudyRow, col(StudyRow.id) == col(SeriesRow.study_id))
        .where(StudyRow.study_instance_uid == study_instance_uid, InstanceRow.variant == 0, col(InstanceRow.own_result).is_(False))
    )
    return {uid: SentBy(calling, address) for uid, calling, address in session.exec(statement)}
