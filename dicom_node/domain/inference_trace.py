"""What one run of a model did: written once, beside its results, for whoever must explain them later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class TracedInput:
    """One input of a run.

    Attributes:
        instances: SHA-256 of the data set as received, hexadecimal, by SOP Instance UID, in the order in which the model saw them.
    """

    name: str
    study_instance_uid: str
    series_instance_uid: str
    instances: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TracedStep:
    """One step of a run.

    Attributes:
        name: As in the manifest, for example `resample`.
        parameters: As applied, defaults filled in, `name=value`.
        seconds: Wall clock.
    """

    name: str
    parameters: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class InferenceTrace:
    """The record of one run; holds UIDs and figures, no patient's name, number or date.

    Attributes:
        device: Name of the GPU, or of the CPU.
        fallback: Why another back end, precision or device than the preferred one ran; empty if the preferred one did.
        verified: Digest of the gate's record that let this back end and precision serve; empty for a reference without a record.
        versions: Of the node and the libraries that computed, by name.
    """

    inputs: tuple[TracedInput, ...]
    steps: tuple[TracedStep, ...]
    backend: str
    precision: str
    device: str
    fallback: str
    verified: str
    versions: Mapping[str, str]
    started_at: datetime

    def as_json(self) -> dict[str, Any]:
        """Write it as JSON has it; the moment as ISO 8601."""
        return {**asdict(self), "started_at": self.started_at.isoformat()}
