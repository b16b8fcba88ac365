"""Tables of storage commitment and of availability notices; CHECKs and unique indexes hold the invariants."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Column, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from dicom_node.domain.availability import Availability
from dicom_node.domain.commitments import CommitmentState
from dicom_node.storage.tables import UtcDateTime

__all__ = ["AvailabilityNoticeRow", "AvailableInstanceRow", "CommitmentEventRow", "CommitmentInstanceRow", "CommitmentRow"]


class CommitmentRow(SQLModel, table=True):
    """A request for storage commitment; a transaction UID is accepted once."""

    __tablename__ = "commitment"
    __table_args__ = (
        CheckConstraint(f"state IN ({', '.join(repr(str(s)) for s in CommitmentState)})", name="commitment_state_known"),
        CheckConstraint("(state = 'REQUESTED') = (verified_at IS NULL)", name="commitment_verified_has_time"),
        CheckConstraint("(state = 'REPORTED') = (reported_at IS NOT NULL)", name="commitment_reported_has_time"),
        CheckConstraint("wanted > 0 AND failed >= 0 AND failed <= wanted AND attempt >= 0", name="commitment_counts"),
        Index("commitment_due", "next_attempt_at", sqlite_where=text("state = 'VERIFIED'"), postgresql_where=text("state = 'VERIFIED'")),
    )

    id: int | None = Field(default=None, primary_key=True)
    transaction_uid: str = Field(max_length=64, unique=True)
    calling_ae_title: str
    called_ae_title: str
    address: str
    state: str
    requested_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    wanted: int
    failed: int = 0
    attempt: int = 0
    next_attempt_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    verified_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    reported_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    reported_by: str | None = None
    reason: str = ""


class CommitmentInstanceRow(SQLModel, table=True):
    """One instance of a request; `failure` is its failure reason once the request is verified, NULL when it is committed."""

    __tablename__ = "commitment_instance"
    __table_args__ = (UniqueConstraint("commitment_id", "position", name="commitment_instance_once"),)

    id: int | None = Field(default=None, primary_key=True)
    commitment_id: int = Field(foreign_key="commitment.id")
    position: int
    sop_class_uid: str = Field(max_length=64)
    sop_instance_uid: str = Field(max_length=64)
    failure: int | None = None


class CommitmentEventRow(SQLModel, table=True):
    """A change of a commitment's state, or an attempt to report it."""

    __tablename__ = "commitment_event"

    id: int | None = Field(default=None, primary_key=True)
    commitment_id: int = Field(foreign_key="commitment.id", index=True)
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    from_state: str | None = None
    to_state: str
    reason: str


class AvailabilityNoticeRow(SQLModel, table=True):
    """An Instance Availability Notification, named by its own SOP Instance UID."""

    __tablename__ = "availability_notice"

    id: int | None = Field(default=None, primary_key=True)
    sop_instance_uid: str = Field(max_length=64, unique=True)
    study_instance_uid: str = Field(max_length=64, index=True)
    calling_ae_title: str
    called_ae_title: str
    address: str
    received_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))


class AvailableInstanceRow(SQLModel, table=True):
    """One instance of a notification."""

    __tablename__ = "available_instance"
    __table_args__ = (
        CheckConstraint(f"availability IN ({', '.join(repr(str(a)) for a in Availability)})", name="available_instance_word_known"),
    )

    id: int | None = Field(default=None, primary_key=True)
    notice_id: int = Field(foreign_key="availability_notice.id", index=True)
    series_instance_uid: str = Field(max_length=64)
    sop_class_uid: str = Field(max_length=64)
    sop_instance_uid: str = Field(max_length=64)
    availability: str
    retrieve_ae_title: str
