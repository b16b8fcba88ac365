"""Tables of what people are told: events that wait to be addressed, notices, and how far watches have looked."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, Column, Index, text
from sqlmodel import Field, SQLModel

from dicom_node.domain.notices import NoticeEvent, NoticeState
from dicom_node.storage.tables import UtcDateTime

__all__ = ["NoticeAttemptRow", "NoticeEventRow", "NoticeRow", "NoticeWatchRow"]

_OWED = text("state = 'OWED'")


class NoticeEventRow(SQLModel, table=True):
    """Something that happened to a job, or with `delivery_id` to one of its deliveries.

    Written in the transaction of the change, gone in the one that writes the notices about it, or that undoes the change.
    """

    __tablename__ = "notice_event"
    __table_args__ = (CheckConstraint("kind IN ('result', 'failure')", name="notice_event_kind_known"),)

    id: int | None = Field(default=None, primary_key=True)
    kind: str
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    job_id: int = Field(foreign_key="job.id")
    delivery_id: int | None = Field(default=None, foreign_key="delivery.id", index=True)


class NoticeRow(SQLModel, table=True):
    """A message owed to a receiver; `facts` hold no patient data. It outlives what it is about."""

    __tablename__ = "notice"
    __table_args__ = (
        CheckConstraint(f"event IN ({', '.join(repr(str(e)) for e in NoticeEvent)})", name="notice_event_known"),
        CheckConstraint(f"state IN ({', '.join(repr(str(s)) for s in NoticeState)})", name="notice_state_known"),
        CheckConstraint("(state = 'SENT') = (sent_at IS NOT NULL)", name="notice_sent_has_time"),
        CheckConstraint("length(uuid) = 36", name="notice_uuid"),
        CheckConstraint("attempt >= 0", name="notice_attempts_count"),
        Index("notice_owed", "next_attempt_at", sqlite_where=_OWED, postgresql_where=_OWED),
    )

    id: int | None = Field(default=None, primary_key=True)
    uuid: str = Field(unique=True)
    receiver: str
    event: str
    job_id: int | None = Field(default=None, index=True)
    facts: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    state: str
    created_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False, index=True))
    owed_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    attempt: int = 0
    next_attempt_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    sent_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    reason: str = ""
    taken: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    refused: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))


class NoticeAttemptRow(SQLModel, table=True):
    """An attempt at a notice, or what a person did with it."""

    __tablename__ = "notice_attempt"

    id: int | None = Field(default=None, primary_key=True)
    notice_id: int = Field(foreign_key="notice.id", index=True)
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    to_state: str
    reason: str


class NoticeWatchRow(SQLModel, table=True):
    """How far something has looked: `instances` (the last row seen), `digest` (told until when), `silence:NAME`, `overdue:NAME`."""

    __tablename__ = "notice_watch"

    name: str = Field(primary_key=True)
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    position: int = 0
    silent_s: float = 0.0
    received_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    told: bool = False
