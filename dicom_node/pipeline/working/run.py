"""A job on its way through the worker."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto

from dicom_node.domain.jobs import Job, JobStage
from dicom_node.errors import DicomNodeError
from dicom_node.inference import ModelBundle
from dicom_node.pipeline.model_host.client import RunLimits
from dicom_node.pipeline.model_host.messages import Concluded, ModelChoice, OpenedWith
from dicom_node.pipeline.working.job_images import JobImages


class Phase(Enum):
    """Where a run is; the order is the order of the way."""

    WAITING = auto()
    READING = auto()
    READ = auto()
    PREPARING = auto()
    PREPARED = auto()
    INFERRING = auto()
    CONCLUDING = auto()
    OVER = auto()
    """There is a result or a reason why there is none."""
    WRITING = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Fault:
    """Why a run came to no result.

    Attributes:
        retryable: Another attempt may succeed, for any cause outside of the model.
        by_model: The model hung, crashed or failed: attempts are counted by `workers.model_attempts`.
        opened: How the model was opened, if it was.
    """

    error: DicomNodeError
    retryable: bool
    by_model: bool = False
    opened: OpenedWith | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ReadJob:
    """What was read for a job.

    Attributes:
        seconds: How long reading and decoding took.
    """

    bundle: ModelBundle
    choice: ModelChoice
    limits: RunLimits
    images: JobImages
    seconds: float


@dataclass(slots=True, eq=False)
class Run:
    """One job, and all that the worker holds of it.

    Attributes:
        job: As claimed; of a run that is only ahead, as it was found waiting.
        claimed: This worker has the job's lease.
        begun: Its inference was begun before the claim.
        entered_at: When its analysis began, UTC.
        shared: Another run was in the host with it, so that memory it lacked may not be its own fault.
    """

    job: Job
    phase: Phase = Phase.WAITING
    claimed: bool = False
    begun: bool = False
    reading: Future[ReadJob] | None = None
    read: ReadJob | None = None
    outcome: Concluded | Fault | None = None
    entered_at: datetime | None = None
    shared: bool = False
    progress: float | None = None
    writing: Future[None] | None = None
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def in_host(self) -> bool:
        """Whether the model host has it."""
        return Phase.PREPARING.value <= self.phase.value <= Phase.CONCLUDING.value

    @property
    def past_inference(self) -> bool:
        """Whether it needs the device no more."""
        return self.phase.value > Phase.INFERRING.value

    @property
    def stage(self) -> JobStage:
        """What an operator sees."""
        if self.phase.value <= Phase.READ.value:
            return JobStage.READING
        if self.phase.value <= Phase.PREPARED.value:
            return JobStage.PREPARING
        return JobStage.WRITING if self.phase.value >= Phase.OVER.value else JobStage.INFERRING

    def end(self, outcome: Concluded | Fault) -> None:
        """Note what it came to."""
        self.outcome, self.phase, self.progress = outcome, Phase.OVER, None
