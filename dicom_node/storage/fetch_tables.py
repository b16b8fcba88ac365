"""Tables of what the node asks of archives; CHECKs and unique indexes hold the invariants."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, Column, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from dicom_node.domain.fetches import FetchKind, FetchState
from dicom_node.storage.tables import UtcDateTime

__all__ = ["FetchEventRow", "FetchRow", "FetchedStudyRow", "StudyPatientRow"]

_OWED, _PRIOR, _OTHER = text("state = 'OWED'"), text("kind = 'prior'"), text("kind <> 'prior'")


class FetchRow(SQLModel, table=True):
    """A request. Counts and missing instances are asked once per study and source, a prior once per study, rule and input."""

    __tablename__ = "fetch"
    __table_args__ = (
        CheckConstraint(f"kind IN ({', '.join(repr(str(k)) for k in FetchKind)})", name="fetch_kind_known"),
        CheckConstraint(f"state IN ({', '.join(repr(str(s)) for s in FetchState)})", name="fetch_state_known"),
        CheckConstraint("(state IN ('DONE', 'FAILED')) = (finished_at IS NOT NULL)", name="fetch_finished_has_time"),
        CheckConstraint("(kind = 'prior') = (rule <> '' AND input <> '')", name="fetch_prior_is_for_an_input"),
        CheckConstraint("kind = 'prior' OR source <> ''", name="fetch_has_source"),
        CheckConstraint("counted IS NULL OR (kind = 'count' AND counted >= 0 AND answered_at IS NOT NULL)", name="fetch_counted"),
        CheckConstraint("attempt >= 0 AND deadline >= asked_at", name="fetch_attempts_count"),
        Index("fetch_once", "kind", "study_instance_uid", "source", unique=True, sqlite_where=_OTHER, postgresql_where=_OTHER),
        Index("fetch_prior_once", "study_instance_uid", "rule", "input", unique=True, sqlite_where=_PRIOR, postgresql_where=_PRIOR),
        Index("fetch_due", "next_attempt_at", sqlite_where=_OWED, postgresql_where=_OWED),
    )

    id: int | None = Field(default=None, primary_key=True)
    kind: str
    state: str
    study_instance_uid: str = Field(max_length=64)
    source: str
    rule: str = ""
    input: str = ""
    wanted: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    attempt: int = 0
    asked_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    next_attempt_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    deadline: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    finished_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    answered_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    counted: int | None = None
    missing: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    reason: str = ""


class FetchEventRow(SQLModel, table=True):
    """A change of a request's state, or an attempt."""

    __tablename__ = "fetch_event"

    id: int | None = Field(default=None, primary_key=True)
    fetch_id: int = Field(foreign_key="fetch.id", index=True)
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    from_state: str | None = None
    to_state: str
    reason: str


class FetchedStudyRow(SQLModel, table=True):
    """An earlier study that a prior request took or tried; `taken` is NULL while it is under way.

    `series` are those asked of the archive, `calling_ae_title` is who sends them after a C-MOVE: what comes so until `expected_until`
    belongs to the prior.
    """

    __tablename__ = "fetched_study"
    __table_args__ = (
        UniqueConstraint("fetch_id", "study_instance_uid", name="fetched_study_once"),
        CheckConstraint("taken IS NULL OR expected_until IS NOT NULL", name="fetched_study_ends"),
    )

    id: int | None = Field(default=None, primary_key=True)
    fetch_id: int = Field(foreign_key="fetch.id")
    study_instance_uid: str = Field(max_length=64, index=True)
    calling_ae_title: str = ""
    series: list[str] = Field(sa_column=Column(JSON, nullable=False))
    taken: bool | None = None
    expected_until: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    reason: str = ""


class StudyPatientRow(SQLModel, table=True):
    """Whose study it is, so that priors are found without reading every header; several rows if it mixes patients."""

    __tablename__ = "study_patient"
    __table_args__ = (UniqueConstraint("study_id", "patient_id", "issuer", name="study_patient_once"),)

    id: int | None = Field(default=None, primary_key=True)
    study_id: int = Field(foreign_key="study.id")
    patient_id: str = Field(index=True)
    issuer: str = ""
    study_date: str = ""
