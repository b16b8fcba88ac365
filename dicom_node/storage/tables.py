"""The tables. CHECKs and unique indexes hold the invariants, whatever the code above does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, Column, DateTime, Index, UniqueConstraint, text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

from dicom_node.domain.jobs import CommitPolicy, DeliveryState, JobState
from dicom_node.domain.rules import Priority
from dicom_node.domain.studies import StudyState

__all__ = [
    "DeliveryEventRow",
    "DeliveryRow",
    "InstanceRow",
    "JobEventRow",
    "JobRow",
    "QueueTurnRow",
    "ResultRow",
    "RevisionRow",
    "RunRequestRow",
    "SeriesRow",
    "StudyEventRow",
    "StudyRow",
]


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC: stored without a zone, always read back with one (SQLite keeps none)."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Turn an aware moment into naive UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Name the zone again."""
        return None if value is None else value.replace(tzinfo=UTC)


def _one_of(column: str, states: type[StudyState] | type[JobState] | type[DeliveryState] | type[CommitPolicy] | type[Priority]) -> str:
    return f"{column} IN ({', '.join(repr(str(s)) for s in states)})"


_UNCOMMITTED = text("state = 'SENT' AND commit_policy <> 'off'")


class StudyRow(SQLModel, table=True):
    """A study; `revision` is the last one closed, 0 before the first. `waits` says for operators what each rule waits for."""

    __tablename__ = "study"
    __table_args__ = (
        CheckConstraint(_one_of("state", StudyState), name="study_state_known"),
        CheckConstraint("revision >= 0", name="study_revision_counts"),
    )

    id: int | None = Field(default=None, primary_key=True)
    study_instance_uid: str = Field(max_length=64, unique=True)
    revision: int = 0
    state: str
    first_pending_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    last_pending_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    reason: str = ""
    waits: list[Any] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))


class SeriesRow(SQLModel, table=True):
    """A series; `attributes` are the header elements of its first instance."""

    __tablename__ = "series"
    __table_args__ = (UniqueConstraint("study_id", "series_instance_uid", name="series_once"),)

    id: int | None = Field(default=None, primary_key=True)
    study_id: int = Field(foreign_key="study.id", index=True)
    series_instance_uid: str = Field(max_length=64)
    attributes: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class InstanceRow(SQLModel, table=True):
    """An acknowledged instance. `variant` 0 is the one in use; a different object under the same UID is kept as 1, 2 ..."""

    __tablename__ = "instance"
    __table_args__ = (
        UniqueConstraint("series_id", "sop_instance_uid", "variant", name="instance_variant_once"),
        UniqueConstraint("path", name="instance_path_once"),
        Index("instance_pending", "series_id", sqlite_where=text("revision IS NULL"), postgresql_where=text("revision IS NULL")),
        CheckConstraint("variant >= 0", name="instance_variant_counts"),
        CheckConstraint("size_bytes > 0", name="instance_not_empty"),
        CheckConstraint("length(sha256) = 64", name="instance_sha256"),
    )

    id: int | None = Field(default=None, primary_key=True)
    series_id: int = Field(foreign_key="series.id")
    sop_instance_uid: str = Field(max_length=64, index=True)
    sop_class_uid: str = Field(max_length=64)
    transfer_syntax_uid: str = Field(max_length=64)
    variant: int = 0
    own_result: bool = False
    revision: int | None = None
    path: str
    size_bytes: int
    sha256: str
    received_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    calling_ae_title: str
    called_ae_title: str
    address: str
    attributes: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class RevisionRow(SQLModel, table=True):
    """A closed revision with what the rules decided about it, and why."""

    __tablename__ = "revision"
    __table_args__ = (
        UniqueConstraint("study_id", "revision", name="revision_once"),
        CheckConstraint("revision > 0", name="revision_counts"),
    )

    id: int | None = Field(default=None, primary_key=True)
    study_id: int = Field(foreign_key="study.id")
    revision: int
    closed_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    closed_because: str
    rules_digest: str
    held_by: str | None = None
    traces: list[Any] = Field(sa_column=Column(JSON, nullable=False))


class RunRequestRow(SQLModel, table=True):
    """An operator's wish that rules decide on a study now; gone when they have. An empty `rule` means all."""

    __tablename__ = "run_request"

    id: int | None = Field(default=None, primary_key=True)
    study_instance_uid: str = Field(max_length=64)
    rule: str = ""
    even_held: bool = False
    requested_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))


class StudyEventRow(SQLModel, table=True):
    """A change of a study's state."""

    __tablename__ = "study_event"

    id: int | None = Field(default=None, primary_key=True)
    study_id: int = Field(foreign_key="study.id", index=True)
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    from_state: str | None = None
    to_state: str
    reason: str


class JobRow(SQLModel, table=True):
    """A job. Exactly the RUNNING ones have a lease.

    `ahead_by` names the worker that reads the inputs of a QUEUED job ahead; until `begun_until` no other one may claim it, since that
    worker's model is at it already. Neither costs an attempt if the worker dies.
    """

    __tablename__ = "job"
    __table_args__ = (
        UniqueConstraint("study_instance_uid", "revision", "rule", "model_digest", name="job_once"),
        CheckConstraint(_one_of("state", JobState), name="job_state_known"),
        CheckConstraint(_one_of("priority", Priority), name="job_priority_known"),
        CheckConstraint("(state = 'RUNNING') = (lease_owner IS NOT NULL)", name="job_lease_while_running"),
        CheckConstraint("(lease_owner IS NULL) = (lease_until IS NULL)", name="job_lease_has_end"),
        CheckConstraint("attempt >= 0 AND max_attempts > 0", name="job_attempts_count"),
        CheckConstraint("ahead_by IS NULL OR state = 'QUEUED'", name="job_ahead_while_queued"),
        CheckConstraint("begun_until IS NULL OR ahead_by IS NOT NULL", name="job_begun_by_someone"),
        Index(
            "job_claimable",
            "priority",
            "next_attempt_at",
            "id",
            sqlite_where=text("state = 'QUEUED'"),
            postgresql_where=text("state = 'QUEUED'"),
        ),
        Index(
            "job_one_per_worker",
            "lease_owner",
            unique=True,
            sqlite_where=text("state = 'RUNNING'"),
            postgresql_where=text("state = 'RUNNING'"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    study_instance_uid: str = Field(max_length=64)
    revision: int
    rule: str
    model_digest: str
    model: str
    model_version: str
    state: str
    stage: str | None = None
    attempt: int = 0
    max_attempts: int
    inputs: list[Any] = Field(sa_column=Column(JSON, nullable=False))
    send_to: list[str] = Field(sa_column=Column(JSON, nullable=False))
    lease_owner: str | None = None
    lease_until: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    next_attempt_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    reason: str = ""
    timings: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    priority: str = Priority.NORMAL
    shadow: bool = False
    replaces: bool = False
    findings: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    trace: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON, nullable=True))
    progress: float | None = None
    ahead_by: str | None = None
    begun_until: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    created_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))


class JobEventRow(SQLModel, table=True):
    """A change of a job's state."""

    __tablename__ = "job_event"

    id: int | None = Field(default=None, primary_key=True)
    job_id: int = Field(foreign_key="job.id", index=True)
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    from_state: str | None = None
    to_state: str
    reason: str


class QueueTurnRow(SQLModel, table=True):
    """The one row that says whose turn it is: how many stat jobs were taken since the last other one."""

    __tablename__ = "queue_turn"
    __table_args__ = (CheckConstraint("id = 1", name="queue_turn_one_row"), CheckConstraint("stat_in_a_row >= 0", name="queue_turn_counts"))

    id: int | None = Field(default=None, primary_key=True)
    stat_in_a_row: int


class ResultRow(SQLModel, table=True):
    """A result object on disk, or a received image that a job forwards.

    `variant` tells apart what destinations of different profiles get of the same kind and number.
    """

    __tablename__ = "result"
    __table_args__ = (
        UniqueConstraint("job_id", "kind", "number", "variant", name="result_once"),
        UniqueConstraint("job_id", "sop_instance_uid", name="result_object_once"),
    )

    id: int | None = Field(default=None, primary_key=True)
    job_id: int = Field(foreign_key="job.id")
    kind: str
    number: int
    sop_class_uid: str
    sop_instance_uid: str = Field(index=True)
    series_instance_uid: str
    path: str
    variant: str = ""


class DeliveryRow(SQLModel, table=True):
    """One object owed to one destination; `result_id` is what was owed, or the stand-in that went instead and `went_as` names."""

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("result_id", "destination", name="delivery_once"),
        CheckConstraint(_one_of("state", DeliveryState), name="delivery_state_known"),
        CheckConstraint("(state IN ('SENT', 'COMMITTED')) = (sent_at IS NOT NULL)", name="delivery_sent_has_time"),
        CheckConstraint(
            "state NOT IN ('SENT', 'COMMITTED') OR status = 0 OR status = 273 OR (status >= 45056 AND status < 49152)",
            name="delivery_sent_was_accepted",
        ),
        CheckConstraint("(state = 'COMMITTED') = (committed_at IS NOT NULL)", name="delivery_committed_has_time"),
        CheckConstraint("(state = 'HELD') = (held_reason IS NOT NULL)", name="delivery_held_has_reason"),
        CheckConstraint(_one_of("commit_policy", CommitPolicy), name="delivery_commit_known"),
        CheckConstraint("(transaction_uid IS NULL) = (commit_asked_at IS NULL)", name="delivery_commitment_has_time"),
        CheckConstraint("attempt >= 0 AND commit_failures >= 0", name="delivery_counts"),
        Index("delivery_owed", "next_attempt_at", sqlite_where=text("state = 'OWED'"), postgresql_where=text("state = 'OWED'")),
        Index("delivery_uncommitted", "next_attempt_at", sqlite_where=_UNCOMMITTED, postgresql_where=_UNCOMMITTED),
    )

    id: int | None = Field(default=None, primary_key=True)
    job_id: int = Field(foreign_key="job.id", index=True)
    result_id: int = Field(foreign_key="result.id")
    destination: str
    state: str
    state_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    owed_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    attempt: int = 0
    next_attempt_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    status: int | None = None
    reason: str = ""
    comment: str = ""
    went_as: str = ""
    held_reason: str | None = None
    sent_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    commit_policy: str = CommitPolicy.OFF
    transaction_uid: str | None = Field(default=None, max_length=64, index=True)
    commit_asked_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    commit_failures: int = 0
    committed_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))


class DeliveryEventRow(SQLModel, table=True):
    """An attempt or a change of a delivery's state."""

    __tablename__ = "delivery_event"

    id: int | None = Field(default=None, primary_key=True)
    delivery_id: int = Field(foreign_key="delivery.id", index=True)
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    from_state: str | None = None
    to_state: str
    reason: str
