"""Jobs and deliveries: their identity, states and events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from dicom_node.domain.routing import JobInput
from dicom_node.domain.rules import Priority

NOT_ANALYSED = "not analysed: "
"""How the reason of a run begins whose model did not analyse its images; what follows may quote their header."""
FORWARD = "forward"
"""Stands for the model, and its digest, of a job that sends received images on."""
IMAGE = "IMAGE"
"""Kind of what such a job sends; its file is the received one."""


class JobState(StrEnum):
    """States of a job; the allowed changes stand in `dicom_node.jobs.states`."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DELIVERING = "DELIVERING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class JobStage(StrEnum):
    """What a running job is doing now."""

    READING = "reading"
    PREPARING = "preparing"
    INFERRING = "inferring"
    WRITING = "writing"


class DeliveryState(StrEnum):
    """States of the delivery of one object to one destination.

    OWED will be tried by itself; HELD waits for an operator's release; SENT was accepted; COMMITTED is the destination's word that
    it keeps it; REFUSED was answered for good; DEAD was given up after too many attempts or too long.
    """

    OWED = "OWED"
    HELD = "HELD"
    SENT = "SENT"
    COMMITTED = "COMMITTED"
    REFUSED = "REFUSED"
    DEAD = "DEAD"


class CommitPolicy(StrEnum):
    """Whether a destination is asked to confirm that it keeps what it accepted.

    WAIT asks and shows the answer; REQUIRE also keeps the job DELIVERING until everything is committed.
    """

    OFF = "off"
    WAIT = "wait"
    REQUIRE = "require"


@dataclass(frozen=True, slots=True)
class JobKey:
    """What makes a job unique; result UIDs derive from it, so that a retry sends the same SOP instances."""

    study_instance_uid: str
    revision: int
    rule: str
    model_digest: str

    @property
    def forwards(self) -> bool:
        """Whether the job sends received images on, and has no model."""
        return self.model_digest == FORWARD


@dataclass(frozen=True, slots=True)
class Job:
    """One run of one model on one study revision.

    Attributes:
        inputs: The first is the one that results refer to; never empty.
        shadow: Results are kept and not sent.
        replaces: Results take the place of those of the rule's earlier run on the study.
        attempt: Number of the attempt now running or last run; 0 before the first.
        lease_owner: Worker that holds the job while RUNNING.
        reason: Why it waits, failed or was cancelled; no patient data.
        progress: Share of the stage that is done, 0 to 1; None if nobody says.
        ahead_by: Worker that reads the inputs of a QUEUED job ahead; any other may still take the job.
    """

    id: int
    key: JobKey
    model: str
    model_version: str
    state: JobState
    stage: JobStage | None
    attempt: int
    max_attempts: int
    inputs: tuple[JobInput, ...]
    send_to: tuple[str, ...]
    priority: Priority
    shadow: bool
    replaces: bool
    lease_owner: str | None
    lease_until: datetime | None
    next_attempt_at: datetime
    reason: str
    created_at: datetime
    progress: float | None = None
    ahead_by: str | None = None


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One change of a job's state, written in the transaction that made the change."""

    job_id: int
    at: datetime
    from_state: JobState | None
    to_state: JobState
    reason: str


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A result object on disk, ready to be sent.

    Attributes:
        kind: SR, SEG, SC ..., or IMAGE.
        number: Counts the objects of one kind from 1.
        variant: Which need of destinations it answers, for example `sr:comp3d:en`; empty where all get the same.
    """

    kind: str
    number: int
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    path: Path
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One result object owed to one destination.

    Attributes:
        state_at: Since when it is in its state.
        owed_at: Since when it is owed; an operator's retry begins anew.
        status: Last C-STORE status, or None when no response came.
        reason: Last outcome in words; no patient data.
        comment: What the destination said with the status.
        went_as: What stood in for an object that the destination does not take; empty when the object itself went.
        held_reason: Why it is HELD.
        transaction_uid: Of the commitment that was asked for and is not answered, or was answered last.
        commit_failures: How often the destination said that it does not keep the object.
    """

    id: int
    job_id: int
    study_instance_uid: str
    destination: str
    result: StoredResult
    state: DeliveryState
    state_at: datetime
    owed_at: datetime
    attempt: int
    next_attempt_at: datetime
    status: int | None
    reason: str
    comment: str
    went_as: str
    held_reason: str | None
    sent_at: datetime | None
    commit_policy: CommitPolicy
    transaction_uid: str | None
    commit_asked_at: datetime | None
    commit_failures: int
    committed_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeliveryEvent:
    """An attempt or a change of a delivery, written in the transaction that made the change."""

    at: datetime
    from_state: DeliveryState | None
    to_state: DeliveryState
    reason: str
