"""How far the build of an engine is, in a small file that any process may read while it goes on."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from time import monotonic

from dicom_node.inference.network import BuildProgress

_SHORTEST_INTERVAL_S = 0.2


class BuildStatus(StrEnum):
    """Where a build stands."""

    BUILDING = "building"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class BuildState:
    """What the file says.

    Attributes:
        phase: In the builder's words.
        fraction: 0 to 1.
        message: Why it failed; empty otherwise.
        key: The engine's name in the cache, whose lock tells whether somebody still builds.
    """

    status: BuildStatus
    phase: str
    fraction: float
    message: str
    key: str

    @classmethod
    def read(cls, path: Path) -> BuildState | None:
        """Read a file; None when there is none."""
        try:
            found: Mapping[str, object] = json.loads(path.read_text("utf-8"))
            return cls(**{**found, "status": BuildStatus(str(found["status"]))})  # type: ignore[arg-type]
        except (OSError, ValueError, KeyError, TypeError):
            return None


class BuildStateWriter:
    """Keeps the file up to date; a phase is written at most five times a second, an end always."""

    def __init__(self, path: Path, key: str) -> None:
        """Name the file and the engine; the first write makes the file."""
        self._path = path
        self._key = key
        self._written_at = -_SHORTEST_INTERVAL_S
        self._last = BuildProgress("", 0.0)

    def progress(self, progress: BuildProgress) -> None:
        """Note how far it is."""
        self._last = progress
        if monotonic() - self._written_at >= _SHORTEST_INTERVAL_S:
            self._written_at = monotonic()
            self._write(BuildStatus.BUILDING, "")

    def end(self, status: BuildStatus, message: str = "") -> None:
        """Note how it ended."""
        self._write(status, message)

    def _write(self, status: BuildStatus, message: str) -> None:
        fraction = 1.0 if status is BuildStatus.DONE else self._last.fraction
        state = BuildState(status, self._last.phase, fraction, message, self._key)
        partial = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        partial.write_text(json.dumps(asdict(state)), "utf-8")
        partial.rename(self._path)
