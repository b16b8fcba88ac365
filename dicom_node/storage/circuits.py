"""Which destinations cannot be reached now, told by the sender to whoever asks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

_NAME = "circuits.json"


@dataclass(frozen=True, slots=True)
class OpenCircuit:
    """A destination that is asked by C-ECHO before anything is sent.

    Attributes:
        failures: Associations that failed in a row.
        probe_at: Of the next C-ECHO.
    """

    failures: int
    probe_at: datetime
    reason: str


def write_circuits(run: Path, circuits: Mapping[str, OpenCircuit]) -> None:
    """Replace what is told; lost with the run folder, as it is with a restart of the sender."""
    content = {name: [c.failures, c.probe_at.isoformat(), c.reason] for name, c in circuits.items()}
    partial = run / f".{_NAME}"
    partial.write_text(json.dumps(content), "utf-8")
    partial.rename(run / _NAME)


def read_circuits(run: Path) -> dict[str, OpenCircuit]:
    """Read what the sender told last; nothing if it told nothing."""
    try:
        content = json.loads((run / _NAME).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    return {name: OpenCircuit(failures, datetime.fromisoformat(at), reason) for name, (failures, at, reason) in content.items()}
