"""The process that runs models: three stages, each with a thread, so that a run is prepared while the one before is inferred.

It takes commands from its worker, tells it what begins and ends, and knows no database, no file of a study and no limit: the worker watches
from outside, because what runs here may hang in any way.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, perf_counter

from dicom_node.domain.inference_trace import TracedStep
from dicom_node.errors import DicomNodeError, EngineUnavailableError, OutOfMemoryError
from dicom_node.inference import Model, StepRecorder
from dicom_node.inference.model import Prepared
from dicom_node.inference.session import Tensors
from dicom_node.ops.logs import get_logger
from dicom_node.pipeline.model_host.batches import infer_together
from dicom_node.pipeline.model_host.channel import Channel, ChannelClosed
from dicom_node.pipeline.model_host.faults import fault_of
from dicom_node.pipeline.model_host.loaded_models import LoadedModels
from dicom_node.pipeline.model_host.messages import (
    Began,
    Concluded,
    Drop,
    Ended,
    Event,
    Failed,
    HostSettings,
    HostStage,
    Infer,
    Load,
    LoadFailed,
    Prepare,
    Progressed,
)
from dicom_node.pipeline.model_host.opening import OpenedModel
from dicom_node.pipeline.result_files import program_output
from dicom_node.storage import InstanceFiles

_PROGRESS_EVERY_S = 0.25


@dataclass(slots=True)
class _Run:
    order: Prepare
    recorder: StepRecorder
    opened: OpenedModel | None = None
    prepared: Prepared | None = None
    remarks: list[str] = field(default_factory=list)
    shrunk: bool = False
    told_at_s: float = 0.0

    @property
    def model(self) -> Model:
        if self.opened is None:
            raise RuntimeError("not prepared")
        return self.opened.model


class Host:
    """Serves one worker until the channel closes."""

    def __init__(self, channel: Channel, settings: HostSettings) -> None:
        """Load nothing yet."""
        self._channel = channel
        self._files = InstanceFiles(settings.data_dir)
        self._models = LoadedModels(settings, self._tell)
        self._runs: dict[int, _Run] = {}
        self._lock = threading.Lock()
        self._preparing, self._device, self._concluding = (
            ThreadPoolExecutor(1, thread_name_prefix=str(stage)) for stage in (HostStage.PREPARE, HostStage.INFER, HostStage.CONCLUDE)
        )

    def serve(self) -> None:
        """Take commands until nobody sends any."""
        while True:
            try:
                command = self._channel.receive()
            except ChannelClosed:
                return
            match command:
                case Load():
                    self._preparing.submit(self._load, command)
                case Prepare():
                    with self._lock:
                        self._runs[command.run_id] = run = _Run(command, StepRecorder())
                    run.recorder.on_progress = self._progress_of(run)
                    self._preparing.submit(self._prepare, run)
                case Infer():
                    with self._lock:
                        runs = [self._runs[n] for n in command.run_ids if n in self._runs]
                    self._device.submit(self._infer, runs)
                case Drop():
                    self._forget(command.run_id)

    def _load(self, command: Load) -> None:
        try:
            self._models.load(command.model)
        except Exception as error:  # noqa: BLE001 - whatever a bundle's own code raises; told, and logged by the worker
            self._tell(LoadFailed(command.model, fault_of(error)))

    def _prepare(self, run: _Run) -> None:
        with self._failing([run]):
            with self._stage(run, HostStage.LOAD):
                run.opened = self._models.take(run.order.model)
            if run.opened.runs_program:
                run.recorder.output_file = program_output(self._files, run.order.run_id)
            with self._stage(run, HostStage.PREPARE):
                run.prepared = run.model.prepare(run.order.inputs, run.recorder)

    def _infer(self, runs: Sequence[_Run]) -> None:
        with self._failing(runs):
            for run in runs:
                self._tell(Began(run.order.run_id, HostStage.INFER))
            begin = perf_counter()
            outputs = self._outputs(runs)
            seconds = perf_counter() - begin
            for run, tensors in zip(runs, outputs, strict=True):
                run.recorder.steps.append(TracedStep("infer", (f"runs={len(runs)}",) if len(runs) > 1 else (), seconds))
                self._tell(Ended(run.order.run_id, HostStage.INFER, seconds))
                self._concluding.submit(self._conclude, run, tensors)

    def _outputs(self, runs: Sequence[_Run]) -> list[Tensors]:
        """Infer: in smaller pieces if memory runs out and the model can, on the next engine if the one that serves is gone."""
        model = runs[0].model
        prepared = [run.prepared for run in runs if run.prepared is not None]
        if any(run.model is not model for run in runs):  # another engine began to serve between them
            return [output for run in runs for output in self._outputs([run])]
        try:
            return infer_together(model, prepared)
        except EngineUnavailableError as error:  # a server's own memory that ran out is told like this too
            return [self._elsewhere(run, error) for run in runs]
        except Exception as error:
            if not isinstance(fault_of(error), OutOfMemoryError) or not model.shrink():
                raise
            error.__traceback__ = None  # its frames hold the arrays that were too many
        for run in runs:
            run.shrunk = True
            run.remarks.append("memory ran out; inferred again in smaller pieces")
        return self._in_smaller_pieces(model, prepared)

    def _in_smaller_pieces(self, model: Model, prepared: Sequence[Prepared]) -> list[Tensors]:
        """Infer one by one, in ever smaller pieces, until it goes."""
        while True:
            gc.collect()
            try:
                return [model.infer(item) for item in prepared]
            except Exception as error:
                if not isinstance(fault_of(error), OutOfMemoryError) or not model.shrink():
                    raise
                error.__traceback__ = None

    def _elsewhere(self, run: _Run, fault: DicomNodeError) -> Tensors:
        """Run on the next engine that may serve; the one that did is tried again after a while."""
        if run.opened is None:
            raise fault
        was = run.opened.opened
        run.opened = self._models.elsewhere(run.order.model, run.opened, f"it failed while it served: {fault}")
        get_logger().warning("engine_gone", model=run.order.model.name, backend=was.backend, reason=str(fault))
        run.prepared = run.model.prepare(run.order.inputs, run.recorder)
        return run.model.infer(run.prepared)

    def _conclude(self, run: _Run, outputs: Tensors) -> None:
        with self._failing([run]):
            with self._stage(run, HostStage.CONCLUDE):
                if run.prepared is None or run.opened is None:
                    raise RuntimeError("not prepared")
                result = run.model.conclude(run.prepared, outputs, run.order.started_at)
            self._tell(Concluded(run.order.run_id, result, tuple(run.recorder.steps), run.opened.opened, tuple(run.remarks)))
            self._forget(run.order.run_id)

    @contextmanager
    def _stage(self, run: _Run, stage: HostStage) -> Iterator[None]:
        self._tell(Began(run.order.run_id, stage))
        begin = perf_counter()
        yield
        self._tell(Ended(run.order.run_id, stage, perf_counter() - begin))

    @contextmanager
    def _failing(self, runs: Sequence[_Run]) -> Iterator[None]:
        """Turn whatever is raised into the end of these runs; a model's code may raise anything, `SystemExit` too."""
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - a defect of a model must not end the host's thread
            fault: DicomNodeError = fault_of(error)
            for run in runs:
                self._forget(run.order.run_id)
                self._tell(Failed(run.order.run_id, fault, tuple(run.recorder.steps), run.opened.opened if run.opened else None))

    def _forget(self, run_id: int) -> None:
        with self._lock:
            run = self._runs.pop(run_id, None)
        if run is not None and run.opened is not None:
            self._models.let_go(run.opened, for_good=run.shrunk)  # the next run shall have pieces of the usual size
            run.prepared = None

    def _progress_of(self, run: _Run) -> Callable[[float], None]:
        def tell(fraction: float) -> None:
            now = monotonic()
            if now - run.told_at_s >= _PROGRESS_EVERY_S:
                run.told_at_s = now
                self._tell(Progressed(run.order.run_id, min(1.0, max(0.0, fraction))))

        return tell

    def _tell(self, event: Event) -> None:
        try:
            self._channel.send(event)
        except ChannelClosed:
            get_logger().debug("worker_gone")


def run(channel: Channel, settings: HostSettings) -> None:
    """Serve a worker; returns when it is gone."""
    Host(channel, settings).serve()
