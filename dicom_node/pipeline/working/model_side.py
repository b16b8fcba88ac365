"""The runs that are in the model host: what it tells becomes their phases and outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from dicom_node.errors import DeviceLostError, ModelInputError, OutOfMemoryError, VolumeError
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.pipeline.model_host.client import HostEvent, Lost, ModelHost, Stopped
from dicom_node.pipeline.model_host.messages import (
    Began,
    Concluded,
    Ended,
    Evicted,
    Failed,
    HostSettings,
    HostStage,
    Loaded,
    LoadFailed,
    ModelChoice,
    OpenedWith,
    Prepare,
    Progressed,
)
from dicom_node.pipeline.working.engine_keeper import EngineKeeper
from dicom_node.pipeline.working.not_analysed import not_analysed
from dicom_node.pipeline.working.run import Fault, Phase, Run

_WITHOUT_DEVICE = timedelta(minutes=10)
_DEVICE_LOST = "the device was lost a short while ago"
_TOO_LARGE = "the device had too little memory for it a short while ago"
_AFTER_STAGE = {HostStage.PREPARE: Phase.PREPARED, HostStage.INFER: Phase.CONCLUDING}


class ModelSide:
    """Holds the host and the runs inside.

    Attributes:
        alone: Something died: the next run goes in with nothing beside it, until one has ended well.
    """

    def __init__(self, settings: HostSettings, wake: Callable[[], None], *, verifies: bool = False) -> None:
        """Start no process yet.

        Args:
            settings: Of the host.
            wake: Called when the host told something.
            verifies: Have engines verified that are here and of which nothing is known.
        """
        self._host = ModelHost(settings, wake)
        self._keeper = EngineKeeper(settings, self.load) if verifies else None
        self._runs: dict[int, Run] = {}
        self._across_jobs: dict[ModelChoice, int] = {}
        self._cpu_until: datetime | None = None
        self._too_large_until: dict[str, datetime] = {}
        self._log: Logger = get_logger()
        self.alone = False

    @property
    def device_is_free(self) -> bool:
        """Whether no run is being inferred."""
        return not any(run.phase is Phase.INFERRING for run in self._runs.values())

    def on_cpu(self, model_digest: str) -> str:
        """Say why a model shall leave the device alone now, where its bundle allows the CPU; empty if it need not."""
        now = datetime.now(UTC)
        if self._cpu_until is not None and now < self._cpu_until:
            return _DEVICE_LOST
        return _TOO_LARGE if now < self._too_large_until.get(model_digest, now) else ""

    @property
    def host_pid(self) -> int | None:
        """Process id of the host; None if there is none now."""
        return self._host.pid

    def load(self, choice: ModelChoice) -> None:
        """Load a model ahead of its first run."""
        self._host.load(choice)

    def across_jobs(self, choice: ModelChoice) -> int:
        """Say how many jobs of a model one inference may take; 1 until it is loaded."""
        return self._across_jobs.get(choice, 1)

    def put(self, run: Run) -> None:
        """Let a run be prepared.

        Raises:
            ModelStoppedError: no process can be started.
        """
        if run.read is None:
            raise RuntimeError("nothing was read")
        run.entered_at = run.entered_at or datetime.now(UTC)
        run.phase, run.shared = Phase.PREPARING, bool(self._runs)
        for other in self._runs.values():
            other.shared = True
        self._runs[run.job.id] = run
        order = Prepare(run.job.id, run.read.choice, run.read.images.inputs, run.entered_at)
        self._host.prepare(order, run.read.limits)

    def infer(self, runs: Sequence[Run]) -> None:
        """Let prepared runs of one model be inferred together."""
        for run in runs:
            run.phase = Phase.INFERRING
        self._host.infer([run.job.id for run in runs])

    def drop(self, run: Run) -> None:
        """Take a run out; if the model is at it, its process ends now. Another run of the same job stays."""
        if self._runs.get(run.job.id) is run:
            del self._runs[run.job.id]
            self._host.drop(run.job.id)

    def take_events(self) -> None:
        """Take over what the host told since the last call, and what its limits and its death mean."""
        for event in self._host.events():
            self._take(event)
        if self._keeper is not None:
            self._keeper.look()

    def seconds_to_limit(self) -> float:
        """Say when a limit may be reached, seconds from now."""
        return self._host.seconds_to_limit()

    def close(self) -> None:
        """End the host."""
        if self._keeper is not None:
            self._keeper.close()
        self._host.close()

    def _take(self, event: HostEvent) -> None:
        match event:
            case Loaded():
                self._across_jobs[event.model] = event.across_jobs
                self._log_loaded(event)
                if self._keeper is not None:
                    self._keeper.want(event.model, event.opened.unverified)
            case LoadFailed():
                self._log.error("model_unusable", model=event.model.name, reason=str(event.error))
            case Evicted():
                self._log.info("model_evicted", model=event.name, memory_mib=event.memory_bytes >> 20, idle_s=round(event.idle_s, 1))
            case _:
                run = self._runs.get(event.run_id)
                if run is not None:
                    self._take_for(run, event)

    def _take_for(self, run: Run, event: HostEvent) -> None:
        match event:
            case Began(stage=HostStage.INFER):
                run.progress = None
            case Ended(stage=stage, seconds=seconds):
                run.timings[f"{stage}_s"] = run.timings.get(f"{stage}_s", 0.0) + seconds
                run.phase = _AFTER_STAGE.get(stage, run.phase)
            case Progressed(fraction=fraction):
                run.progress = fraction
            case Concluded():
                del self._runs[run.job.id]
                for remark in event.remarks:
                    self._log.warning("model_remark", job=run.job.id, model=run.job.model, remark=remark)
                run.end(event)
            case Failed():
                del self._runs[run.job.id]
                self._failed(run, event)
            case Stopped():
                del self._runs[run.job.id]
                self.alone = True
                self._log.error("model_stopped", job=run.job.id, model=run.job.model, reason=str(event.error))
                run.end(Fault(event.error, retryable=True, by_model=event.by_model))
            case Lost():
                del self._runs[run.job.id]
                run.phase, run.begun, run.progress = Phase.READ, False, None

    def _failed(self, run: Run, event: Failed) -> None:
        error = event.error
        if isinstance(error, OutOfMemoryError):
            self.alone = True
            self._host.restart()  # what a failed allocation left half done, nobody knows
            if run.shared:
                self._log.warning("model_alone", job=run.job.id, model=run.job.model, reason="memory ran out beside another run")
                run.phase, run.begun = Phase.READ, False
                return
            if event.opened is not None and event.opened.place.startswith("cuda"):
                self._too_large_for_the_device(run, error, event.opened)
                return
            run.end(Fault(_with_limit(error, run), retryable=True, by_model=True, opened=event.opened))
        elif isinstance(error, DeviceLostError):
            self._cpu_until = datetime.now(UTC) + _WITHOUT_DEVICE
            self._host.restart()
            self._log.error("device_lost", job=run.job.id, model=run.job.model, reason=str(error), until=self._cpu_until.isoformat())
            run.end(Fault(error, retryable=True, opened=event.opened))
        elif isinstance(error, ModelInputError | VolumeError) and run.read is not None:
            run.end(not_analysed(run, run.read, [_sentence(error)], event.steps, event.opened))
        else:
            run.end(Fault(error, retryable=error.retryable, opened=event.opened))

    def _too_large_for_the_device(self, run: Run, error: OutOfMemoryError, opened: OpenedWith) -> None:
        """Run once more on the CPU, where the bundle allows it."""
        words = f"{opened.device} has too little memory for the model, in the smallest pieces that it can take too"
        if run.read is None or not run.read.bundle.manifest.engines.cpu_fallback:
            hint = "engines.cpu_fallback of model.yaml would let it run on the CPU; a larger batch or window needs more memory"
            run.end(Fault(OutOfMemoryError(f"{words}: {error}", hint=hint), retryable=True, by_model=True, opened=opened))
            return
        self._too_large_until[run.read.choice.digest] = datetime.now(UTC) + _WITHOUT_DEVICE
        self._log.warning("model_on_cpu", job=run.job.id, model=run.job.model, reason=words)
        run.read = replace(run.read, choice=replace(run.read.choice, on_cpu=_TOO_LARGE))
        run.phase, run.begun = Phase.READ, False

    def _log_loaded(self, event: Loaded) -> None:
        self._log.info(
            "model_loaded",
            model=event.model.name,
            seconds=round(event.seconds, 3),
            memory_mib=event.memory_bytes >> 20,
            loaded=event.loaded,
            backend=event.opened.backend,
            precision=event.opened.precision,
            device=event.opened.device,
        )
        if event.opened.fallback:
            self._log.warning("model_fallback", model=event.model.name, reason=event.opened.fallback)


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _with_limit(error: OutOfMemoryError, run: Run) -> OutOfMemoryError:
    limit = run.read.limits.memory_bytes if run.read else None
    if limit is None:
        return error
    hint = "resources.memory in model.yaml, or workers.memory_limit in node.yaml, says how much it may take"
    return OutOfMemoryError(f"the model needed more than the {_size(limit)} that it may take: {error}", hint=hint)


def _size(size_bytes: int) -> str:
    gib = size_bytes / (1 << 30)
    return f"{gib:.3g} GiB" if gib >= 1 else f"{size_bytes / (1 << 20):.4g} MiB"
