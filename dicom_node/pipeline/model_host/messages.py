"""What worker and model host say to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from dicom_node.domain.inference_trace import TracedStep
from dicom_node.domain.results import InferenceResult
from dicom_node.errors import DicomNodeError
from dicom_node.inference import Inputs
from dicom_node.inference.gate.subject import Engine


class HostStage(StrEnum):
    """What the host does for one run.

    Each has a thread of its own and takes one run at a time; models are loaded in the thread that prepares.
    """

    LOAD = "load"
    PREPARE = "prepare"
    INFER = "infer"
    CONCLUDE = "conclude"


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which model runs, and where.

    Attributes:
        digest: Of the bundle that the job was made for; another one is refused.
        on_cpu: Why the device is to be left alone, for example because it was lost; empty if it is not.
        device_bytes: What its manifest says it takes of a GPU; 0 if it says nothing.
    """

    name: str
    folder: Path
    digest: str
    on_cpu: str = ""
    device_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """Load a model before anybody waits for it."""

    model: ModelChoice


@dataclass(frozen=True, slots=True, eq=False)
class Prepare:
    """Prepare a run; nothing is inferred until `Infer` names it.

    Attributes:
        run_id: Number of the job.
        started_at: When the analysis began, UTC.
    """

    run_id: int
    model: ModelChoice
    inputs: Inputs
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Infer:
    """Infer prepared runs, several of one model in one call of its engine, and conclude each."""

    run_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget a run that is not being inferred."""

    run_id: int


Command = Load | Prepare | Infer | Drop


@dataclass(frozen=True, slots=True)
class OpenedWith:
    """How a model was opened; for the trace.

    Attributes:
        device: Name of the GPU or of the CPU.
        fallback: Why it is not the preferred engine, precision or device; empty if it is.
        verified: Digest of the record that lets this engine and precision serve; empty for the reference.
        versions: Of the libraries that compute, by name.
        place: `cpu`, `cuda:N`, or the address of a server.
        unverified: Engines that are here and preferred, and that no record speaks for or against.
    """

    backend: str
    precision: str
    device: str
    fallback: str
    verified: str
    versions: Mapping[str, str]
    place: str = "cpu"
    unverified: tuple[Engine, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model is loaded.

    Attributes:
        memory_bytes: What it counts for among the models that stay loaded.
        loaded: How many are loaded now.
        across_jobs: Runs of different jobs that one inference may take.
    """

    model: ModelChoice
    seconds: float
    memory_bytes: int
    loaded: int
    across_jobs: int
    opened: OpenedWith


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """A model could not be loaded; runs that wait for it fail by themselves."""

    model: ModelChoice
    error: DicomNodeError


@dataclass(frozen=True, slots=True)
class Evicted:
    """A model was closed to make room for another.

    Attributes:
        idle_s: How long ago its last run ended, seconds.
    """

    name: str
    memory_bytes: int
    idle_s: float


@dataclass(frozen=True, slots=True)
class Began:
    """A stage of a run began."""

    run_id: int
    stage: HostStage


@dataclass(frozen=True, slots=True)
class Ended:
    """A stage of a run ended well.

    Attributes:
        seconds: Wall clock.
    """

    run_id: int
    stage: HostStage
    seconds: float


@dataclass(frozen=True, slots=True)
class Progressed:
    """How much of the inference of a run is done, 0 to 1."""

    run_id: int
    fraction: float


@dataclass(frozen=True, slots=True, eq=False)
class Concluded:
    """A run came to a result.

    Attributes:
        remarks: What the host did beside what was asked, such as smaller patches; for trace and log.
    """

    run_id: int
    result: InferenceResult
    steps: tuple[TracedStep, ...]
    opened: OpenedWith
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """A run came to none.

    Attributes:
        error: `ModelInputError` and `VolumeError` say that such a study is not analysed, and why.
        steps: Those that were taken.
    """

    run_id: int
    error: DicomNodeError
    steps: tuple[TracedStep, ...] = ()
    opened: OpenedWith | None = None


Event = Loaded | LoadFailed | Evicted | Began | Ended | Progressed | Concluded | Failed


@dataclass(frozen=True, slots=True)
class HostSettings:
    """How a host works; fixed for its life.

    Attributes:
        threads: Threads of an engine on the CPU; 0 takes all cores.
        model_memory_bytes: Models that stay loaded take this much together, at most; the one in use always stays.
        device: `auto`, `cpu`, or the GPU that is this host's, as `cuda:N`.
        device_memory_bytes: What models that stay loaded may take of its GPU together, by what they declare; 0 is no limit.
        data_dir: Folder of the node, where built engines and records lie.
        log_level: DEBUG, INFO, WARNING or ERROR.
        log_json: JSON lines in place of key=value.
    """

    name: str
    threads: int
    model_memory_bytes: int
    data_dir: Path
    log_level: str = "INFO"
    log_json: bool = False
    device: str = "auto"
    device_memory_bytes: int = 0
