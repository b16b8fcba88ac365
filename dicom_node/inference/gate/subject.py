"""What the gate takes from a bundle: its networks, the engines it prefers, how far they may differ, and what makes a model of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dicom_node.inference.bundle import ModelBundle
from dicom_node.inference.gate.agreement import Tolerance
from dicom_node.inference.model import Model
from dicom_node.inference.network import Network, Shape, ShapeRange
from dicom_node.inference.session import Session

Build = Callable[[ModelBundle, Mapping[str, Session]], Model]
"""Makes a model from its active sessions, by the names of its networks; the model closes them."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A back end with a precision."""

    backend: str
    precision: str

    def __str__(self) -> str:
        """Name it, as `tensorrt fp16`."""
        return f"{self.backend} {self.precision}"


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A model before the gate.

    Attributes:
        networks: By name; `network` is the first. Empty for a model that is steps or a program alone.
        reference: What every other engine is compared with; on the CPU, so that each node has it.
        engines: In order of preference.
        profiles: Shapes by input name.
        window: Shape of a sliding window; empty if there is none.
    """

    bundle: ModelBundle
    networks: Mapping[str, Network]
    reference: Engine
    engines: tuple[Engine, ...]
    build: Build
    tolerance: Tolerance = Tolerance()
    profiles: Mapping[str, ShapeRange] = field(default_factory=dict)
    window: Shape = ()

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.bundle.manifest.name

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} {self.bundle.manifest.version}"
