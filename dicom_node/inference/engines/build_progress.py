"""How far a TensorRT build is, from the nested phases that its builder tells."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dicom_node.inference.network import BuildProgress


class PhaseTree:
    """Adds up nested phases: a running phase fills the step of its parent that it belongs to. Safe in several threads."""

    def __init__(self, on_progress: Callable[[BuildProgress], None] | None) -> None:
        """Take whom to tell; None tells nobody."""
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._phases: dict[str, _Phase] = {}
        self._fraction = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Note that a phase began."""
        with self._lock:
            self._phases[name] = _Phase(parent, max(steps, 1))
            self._tell(name)

    def step(self, name: str, step: int) -> None:
        """Note that a step of a phase ended; `step` counts from 0."""
        with self._lock:
            if name in self._phases:
                self._phases[name].done = step + 1
                self._tell(name)

    def finish(self, name: str) -> None:
        """Note that a phase ended, also when it was stopped half way."""
        with self._lock:
            self._phases.pop(name, None)

    def complete(self, name: str) -> None:
        """Note that the whole build succeeded; the builder itself ends short of its last step."""
        with self._lock:
            self._fraction = 1.0
            self._tell(name)

    def _tell(self, name: str) -> None:
        roots = [self._filled(key) for key, phase in self._phases.items() if phase.parent is None]
        self._fraction = max(self._fraction, *roots, 0.0)
        if self._on_progress is not None:
            self._on_progress(BuildProgress(name, self._fraction))

    def _filled(self, name: str) -> float:
        phase = self._phases[name]
        inner = max((self._filled(key) for key, child in self._phases.items() if child.parent == name), default=0.0)
        return min(1.0, (phase.done + inner) / phase.steps)


class _Phase:
    __slots__ = ("done", "parent", "steps")

    def __init__(self, parent: str | None, steps: int) -> None:
        self.parent, self.steps, self.done = parent, steps, 0
