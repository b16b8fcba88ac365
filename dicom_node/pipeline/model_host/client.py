"""The worker's view of its model host: runs go in, events come out, and limits are kept from outside.

Nothing here waits for the host: a model may hold its interpreter for ever. A thread sends, a thread receives, and whoever calls `events`
learns what happened since, a death included. A host is forked when a run or a model wants one, and again after each death.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic

from dicom_node.errors import DicomNodeError, ModelStoppedError, OutOfMemoryError
from dicom_node.pipeline.model_host.channel import Channel, ChannelClosed
from dicom_node.pipeline.model_host.host_process import HostProcess, nursery
from dicom_node.pipeline.model_host.messages import (
    Began,
    Command,
    Concluded,
    Drop,
    Ended,
    Event,
    Evicted,
    Failed,
    HostSettings,
    HostStage,
    Infer,
    Load,
    Loaded,
    LoadFailed,
    ModelChoice,
    Prepare,
)

_EXIT_WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What one run may take.

    Attributes:
        time_s: In the model's three stages together; time spent waiting for the run before is not counted.
        memory_bytes: Beside what the loaded models take; None is no limit.
    """

    time_s: float
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Stopped:
    """A run ended with its host.

    Attributes:
        by_model: The model is to blame; False if somebody else killed the process.
    """

    run_id: int
    error: DicomNodeError
    by_model: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """A run was in a host that ended because of another run; it may be prepared again."""

    run_id: int


HostEvent = Event | Stopped | Lost
_Incoming = queue.SimpleQueue[Event | ChannelClosed]


@dataclass(slots=True)
class _Inside:
    """A run in the host, its clock running while a stage is."""

    limits: RunLimits
    stage: HostStage | None = None
    used_s: float = 0.0
    since_s: float = 0.0

    def spent_s(self, now: float) -> float:
        return self.used_s + (now - self.since_s if self.stage else 0.0)


@dataclass(slots=True)
class _Life:
    """One host process with its threads."""

    process: HostProcess
    outgoing: queue.SimpleQueue[Command | None] = field(default_factory=queue.SimpleQueue)
    incoming: _Incoming = field(default_factory=queue.SimpleQueue)

    def start(self, wake: Callable[[], None]) -> None:
        ends = (self.process.channel, self.incoming, wake)
        threading.Thread(target=_send_all, args=(*ends, self.outgoing), daemon=True, name="to-host").start()
        threading.Thread(target=_receive_all, args=ends, daemon=True, name="from-host").start()

    def end(self) -> None:
        self.outgoing.put(None)
        self.process.close()


class ModelHost:
    """The host of one worker. Used from one thread."""

    def __init__(self, settings: HostSettings, wake: Callable[[], None]) -> None:
        """Start nothing yet.

        Args:
            settings: How it works.
            wake: Called from another thread when `events` has something to tell.
        """
        self._settings = settings
        self._wake = wake
        self._life: _Life | None = None
        self._runs: dict[int, _Inside] = {}
        self._loading: list[ModelChoice] = []
        self._base_bytes: int | None = None

    @property
    def run_ids(self) -> frozenset[int]:
        """Runs that are in the host."""
        return frozenset(self._runs)

    @property
    def pid(self) -> int | None:
        """Process id of the host; None if there is none now."""
        return self._life.process.pid if self._life else None

    def load(self, model: ModelChoice) -> None:
        """Load a model ahead of its first run; `Loaded` or `LoadFailed` follows.

        Raises:
            ModelStoppedError: no process can be started.
        """
        self._loading.append(model)
        self._send(Load(model))

    def prepare(self, order: Prepare, limits: RunLimits) -> None:
        """Put a run in.

        Raises:
            ModelStoppedError: no process can be started.
        """
        self._runs[order.run_id] = _Inside(limits)
        self._limit_memory()
        self._send(order)

    def infer(self, run_ids: Sequence[int]) -> None:
        """Infer prepared runs together; the engine takes one such call at a time."""
        self._send(Infer(tuple(run_ids)))

    def drop(self, run_id: int) -> None:
        """Take a run out that nobody wants any more; a host that is working on it ends."""
        inside = self._runs.pop(run_id, None)
        if inside is None:
            return
        if inside.stage is None:
            self._send(Drop(run_id))
        else:
            self._end()

    def events(self) -> list[HostEvent]:
        """Tell what happened since the last call, then keep the limits."""
        return [*self._received(), *self._lost_with_the_last_host(), *self._keep_time()]

    def _received(self) -> Iterator[HostEvent]:
        while self._life is not None:
            try:
                event = self._life.incoming.get_nowait()
            except queue.Empty:
                break
            if isinstance(event, ChannelClosed):
                yield from self._died()
            else:
                self._note(event)
                yield event

    def seconds_to_limit(self) -> float:
        """Say how long no limit is reached if nothing happens; infinite if nothing runs."""
        now = monotonic()
        return min((max(0.0, r.limits.time_s - r.spent_s(now)) for r in self._runs.values() if r.stage), default=float("inf"))

    def restart(self) -> None:
        """End the host, since it cannot be trusted any more; what was in it is told as lost."""
        self._end()

    def close(self) -> None:
        """End the host for good."""
        self._runs.clear()
        self._end()

    def _send(self, command: Command) -> None:
        if self._life is None:
            life = _Life(nursery().fork_host(self._settings))
            life.start(self._wake)
            self._life, self._base_bytes = life, None
        self._life.outgoing.put(command)

    def _note(self, event: Event) -> None:
        match event:
            case Began(run_id=run_id, stage=stage) if run_id in self._runs:
                inside = self._runs[run_id]
                inside.stage, inside.since_s = stage, monotonic()
            case Ended(run_id=run_id) if run_id in self._runs:
                inside = self._runs[run_id]
                inside.used_s, inside.stage = inside.spent_s(monotonic()), None
            case Concluded(run_id=run_id) | Failed(run_id=run_id):
                self._runs.pop(run_id, None)
                self._limit_memory()
            case Loaded(model=model) | LoadFailed(model=model):
                self._loading = [m for m in self._loading if m != model]
                self._measure()
            case Evicted():
                self._measure()

    def _measure(self) -> None:
        """Take what the process has now for what its models take; what runs leave behind later counts against runs."""
        if self._life is not None:
            self._base_bytes = self._life.process.data_bytes()
            self._limit_memory()

    def _limit_memory(self) -> None:
        """Let the kernel refuse what goes beyond the models and the limits of the runs inside; nothing is held to it while it loads."""
        if self._life is None or self._base_bytes is None:
            return
        limits = [run.limits.memory_bytes for run in self._runs.values()]
        known = [limit for limit in limits if limit is not None]
        self._life.process.limit_data(self._base_bytes + sum(known) if known and len(known) == len(limits) else None)

    def _keep_time(self) -> Iterator[HostEvent]:
        now = monotonic()
        for run_id, run in list(self._runs.items()):
            if run.stage is not None and run.spent_s(now) > run.limits.time_s:
                del self._runs[run_id]
                self._end()
                reason = f"the model took longer than {run.limits.time_s:g} s and was stopped"
                yield Stopped(run_id, ModelStoppedError(reason, hint=_TIME_HINT), by_model=True)
                yield from self._lost_with_the_last_host()
                return

    def _died(self) -> Iterator[HostEvent]:
        """Blame the run that was at work: the one being inferred before the others, since the engine is what crashes."""
        status = self._life.process.wait_exit(_EXIT_WAIT_S) if self._life else None
        self._end()
        order = {stage: place for place, stage in enumerate((HostStage.INFER, HostStage.LOAD, HostStage.CONCLUDE, HostStage.PREPARE))}
        working = sorted((order[run.stage], run_id) for run_id, run in self._runs.items() if run.stage is not None)
        error, by_model = ModelStoppedError(_end_in_words(status)), status != -signal.SIGKILL
        if working:
            _place, run_id = working[0]
            del self._runs[run_id]
            yield Stopped(run_id, error, by_model)
        elif self._loading:
            yield LoadFailed(self._loading[0], error)
        self._loading.clear()
        yield from self._lost_with_the_last_host()

    def _lost_with_the_last_host(self) -> Iterator[HostEvent]:
        if self._life is None:
            lost, self._runs = list(self._runs), {}
            for run_id in lost:
                yield Lost(run_id)

    def _end(self) -> None:
        if self._life is not None:
            self._life.end()
        self._life, self._base_bytes = None, None


_TIME_HINT = "resources.time_limit in model.yaml, or workers.time_limit in node.yaml, says how long it may take"


def _end_in_words(status: int | None) -> str:
    if status is None:
        return "the model's process ended"
    if status >= 0:
        return f"the model ended its process with exit status {status}"
    try:
        name = f" ({signal.Signals(-status).name})"
    except ValueError:
        name = ""
    return f"the model's process was killed by signal {-status}{name}"


def _send_all(channel: Channel, incoming: _Incoming, wake: Callable[[], None], outgoing: queue.SimpleQueue[Command | None]) -> None:
    """Send until told to stop; a host that is gone is noticed by the thread that receives."""
    while (command := outgoing.get()) is not None:
        try:
            channel.send(command)
        except ChannelClosed:
            return
        except OSError as error:
            if isinstance(command, Prepare):
                fault = OutOfMemoryError(f"no memory to hand the images to the model: {error.strerror}")
                incoming.put(Failed(command.run_id, fault))
                wake()
        del command  # and with it a volume


def _receive_all(channel: Channel, incoming: _Incoming, wake: Callable[[], None]) -> None:
    while True:
        try:
            incoming.put(channel.receive())
            wake()
        except ChannelClosed as closed:
            incoming.put(closed)
            wake()
            return
