"""The models of one host: loaded when wanted, closed when another one needs the room, replaced when another engine should serve."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter

from dicom_node.inference.gate.subject import Engine
from dicom_node.pipeline.model_host.messages import Event, Evicted, HostSettings, Loaded, ModelChoice
from dicom_node.pipeline.model_host.opening import OpenedModel, look_again, open_choice
from dicom_node.pipeline.model_host.warm_set import WarmModel, choose_to_evict

_PAGE_BYTES = 4096


@dataclass(slots=True)
class _Entry:
    choice: ModelChoice
    opened: OpenedModel
    memory_bytes: int
    device_bytes: int
    last_used_s: float
    runs: int = 0


class LoadedModels:
    """Loading happens in the thread that prepares: the device goes on meanwhile. Any thread may let go, and close what has to go."""

    def __init__(self, settings: HostSettings, tell: Callable[[Event], None]) -> None:
        """Begin with none."""
        self._settings = settings
        self._tell = tell
        self._entries: dict[ModelChoice, _Entry] = {}
        self._leaving: list[_Entry] = []
        self._lock = threading.Lock()

    def load(self, choice: ModelChoice) -> OpenedModel:
        """Return a model, loading it first if it is not there; others may have to go.

        Where records say by now that another engine should serve, that one takes its place; runs under way end on the one they have.

        Raises:
            ModelError: it cannot be loaded.
        """
        with self._lock:
            entry = self._entries.get(choice)
        if entry is None:
            return self._added(choice, lambda: open_choice(choice, self._settings))
        if choice.on_cpu:
            return entry.opened
        begin, before = perf_counter(), _resident_bytes()
        another = look_again(entry.opened)
        if another is None:
            return entry.opened
        if another.model is entry.opened.model:
            entry.opened = another
            return another
        self._take_out(entry)
        return self._keep(choice, another, perf_counter() - begin, _resident_bytes() - before)

    def take(self, choice: ModelChoice) -> OpenedModel:
        """Return a model for a run, which has to let go of it; see `load`."""
        while True:
            opened = self.load(choice)
            with self._lock:
                entry = self._entries.get(choice)
                if entry is not None and entry.opened is opened:
                    entry.runs += 1
                    return opened

    def elsewhere(self, choice: ModelChoice, opened: OpenedModel, why: str) -> OpenedModel:
        """Load a model, for a run that holds it, on the next engine, because the one that served is not there any more.

        Raises:
            ModelError: no other engine may serve it.
        """
        lost: Mapping[Engine, str] = {Engine(opened.opened.backend, opened.opened.precision): why}
        with self._lock:
            entry = self._entries.get(choice)
        if entry is not None and entry.opened.model is opened.model:
            self._take_out(entry)
            entry = None
        another = entry.opened if entry else self._added(choice, lambda: open_choice(choice, self._settings, dict(lost)))
        with self._lock:
            self._entries[choice].runs += 1
        self.let_go(opened)
        return another

    def let_go(self, opened: OpenedModel, *, for_good: bool = False) -> None:
        """A run of the model is over; for good, if the model is to be loaded anew for the next one."""
        with self._lock:
            entry = next((e for e in (*self._entries.values(), *self._leaving) if e.opened.model is opened.model), None)
            if entry is None:
                return
            entry.runs -= 1
            entry.last_used_s = monotonic()
        if for_good and self._entries.get(entry.choice) is entry:
            self._take_out(entry)
        elif entry in self._leaving:
            self._close_left()

    def _added(self, choice: ModelChoice, open_it: Callable[[], OpenedModel]) -> OpenedModel:
        self._evict(_weight_bytes(choice.folder), 0 if choice.on_cpu else choice.device_bytes)
        begin, before = perf_counter(), _resident_bytes()
        opened = open_it()
        return self._keep(choice, opened, perf_counter() - begin, _resident_bytes() - before)

    def _keep(self, choice: ModelChoice, opened: OpenedModel, seconds: float, resident_bytes: int) -> OpenedModel:
        on_device = opened.opened.place.startswith("cuda")
        device = opened.declared_bytes if on_device else 0
        memory = max(0 if on_device else opened.declared_bytes, resident_bytes, 0)
        with self._lock:
            self._entries[choice] = _Entry(choice, opened, memory, device, monotonic())
            count = len(self._entries)
        self._tell(Loaded(choice, seconds, memory + device, count, opened.across_jobs, opened.opened))
        self._evict(0, 0)
        return opened

    def _take_out(self, entry: _Entry) -> None:
        """Give a model to no further run; it is closed when those that have it have ended."""
        with self._lock:
            if self._entries.get(entry.choice) is entry:
                del self._entries[entry.choice]
                self._leaving.append(entry)
        self._close_left()

    def _close_left(self) -> None:
        with self._lock:
            gone = [entry for entry in self._leaving if entry.runs <= 0]
            self._leaving = [entry for entry in self._leaving if entry.runs > 0]
        for entry in gone:
            entry.opened.model.close()

    def _evict(self, wanted_bytes: int, wanted_device_bytes: int) -> None:
        now, settings = monotonic(), self._settings
        with self._lock:
            entries = dict(self._entries)
            newest = max((e.last_used_s for e in entries.values()), default=0.0)
            stays = newest if not (wanted_bytes or wanted_device_bytes) else float("inf")  # the one that has just come stays, however large
            keys = list(entries)
            chosen: set[int] = set()
            for of_device, wanted, budget in (
                (False, wanted_bytes, settings.model_memory_bytes),
                (True, wanted_device_bytes, settings.device_memory_bytes),
            ):
                if of_device and not budget:
                    continue
                warm = [
                    WarmModel(
                        str(n),
                        entry.device_bytes if of_device else entry.memory_bytes,
                        entry.last_used_s,
                        in_use=entry.runs > 0 or entry.last_used_s >= stays or (of_device and not entry.device_bytes),
                    )
                    for n, entry in enumerate(entries.values())
                    if n not in chosen
                ]
                chosen |= {int(key) for key in choose_to_evict(warm, wanted, budget)}
            gone = [self._entries.pop(keys[n]) for n in sorted(chosen)]
        for entry in gone:
            entry.opened.model.close()
            self._tell(Evicted(entry.choice.name, entry.memory_bytes + entry.device_bytes, now - entry.last_used_s))


def _weight_bytes(folder: Path) -> int:
    """Size of a bundle's files, a first guess at what it will take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE_BYTES
