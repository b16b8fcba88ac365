"""The models of one host: loaded when wanted, closed when another one needs the room."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter

from dicom_node.pipeline.model_host.messages import Event, Evicted, HostSettings, Loaded, ModelChoice
from dicom_node.pipeline.model_host.opening import OpenedModel, open_choice
from dicom_node.pipeline.model_host.warm_set import WarmModel, choose_to_evict

_PAGE_BYTES = 4096


@dataclass(slots=True)
class _Entry:
    choice: ModelChoice
    opened: OpenedModel
    memory_bytes: int
    last_used_s: float
    runs: int = 0


class LoadedModels:
    """Loading and closing happen in the thread that prepares: the device goes on meanwhile. Any thread may hold and let go."""

    def __init__(self, settings: HostSettings, tell: Callable[[Event], None]) -> None:
        """Begin with none."""
        self._settings = settings
        self._tell = tell
        self._entries: dict[ModelChoice, _Entry] = {}
        self._lock = threading.Lock()

    def load(self, choice: ModelChoice) -> OpenedModel:
        """Return a model, loading it first if it is not there; others may have to go.

        Raises:
            ModelError: it cannot be loaded.
        """
        with self._lock:
            entry = self._entries.get(choice)
        if entry is not None:
            return entry.opened
        self._evict(_weight_bytes(choice.folder))
        begin, before = perf_counter(), _resident_bytes()
        opened = open_choice(choice, self._settings)
        memory = max(opened.declared_bytes, _resident_bytes() - before, 0)
        with self._lock:
            self._entries[choice] = _Entry(choice, opened, memory, monotonic())
            count = len(self._entries)
        self._tell(Loaded(choice, perf_counter() - begin, memory, count, opened.across_jobs, opened.opened))
        self._evict(0)
        return opened

    def hold(self, choice: ModelChoice) -> None:
        """A run of the model is under way."""
        with self._lock:
            if choice in self._entries:
                self._entries[choice].runs += 1

    def let_go(self, choice: ModelChoice, *, for_good: bool = False) -> None:
        """A run of the model is over; for good, if the model is to be loaded anew for the next one."""
        with self._lock:
            entry = self._entries.get(choice)
            if entry is None:
                return
            entry.runs -= 1
            entry.last_used_s = monotonic()
            if not for_good or entry.runs > 0:
                return
            del self._entries[choice]
        entry.opened.model.close()

    def _evict(self, wanted_bytes: int) -> None:
        now = monotonic()
        with self._lock:
            warm = [WarmModel(str(n), e.memory_bytes, e.last_used_s, e.runs > 0) for n, e in enumerate(self._entries.values())]
            newest = max((w.last_used_s for w in warm), default=0.0)
            if not wanted_bytes:  # the one that has just come stays, however large
                warm = [w if w.last_used_s < newest else WarmModel(w.key, w.memory_bytes, w.last_used_s, in_use=True) for w in warm]
            keys = list(self._entries)
            gone = [self._entries.pop(keys[int(k)]) for k in choose_to_evict(warm, wanted_bytes, self._settings.model_memory_bytes)]
        for entry in gone:
            entry.opened.model.close()
            self._tell(Evicted(entry.choice.name, entry.memory_bytes, now - entry.last_used_s))


def _weight_bytes(folder: Path) -> int:
    """Size of a bundle's files, a first guess at what it will take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE_BYTES
