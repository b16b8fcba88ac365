"""What a model says to the gate: its engines in order of preference, how far they may differ, its cases, its clearances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from dicom_node.inference.gate.agreement import Tolerance
from dicom_node.inference.network import Network, Shape, ShapeRange


@dataclass(frozen=True, slots=True)
class Engine:
    """A back end with a precision."""

    backend: str
    precision: str

    def __str__(self) -> str:
        """Name it, as `tensorrt fp16`."""
        return f"{self.backend} {self.precision}"


@dataclass(frozen=True, slots=True)
class Clearance:
    """Permission to be sold in a region; it holds to the end of its last day."""

    region: str
    number: str
    expires: date


@dataclass(frozen=True, slots=True)
class Expected:
    """A number that has to come out, in its unit, give or take `within`."""

    value: float
    within: float


@dataclass(frozen=True, slots=True)
class ExpectedSegment:
    """A segment that has to come out.

    Attributes:
        volume_ml: None: it may have any.
        mask: File in the bundle with the mask that it has to overlap; empty: none.
        dice: Least overlap with the mask.
    """

    volume_ml: Expected | None = None
    mask: str = ""
    dice: float = 0.0


@dataclass(frozen=True, slots=True)
class ExpectedFindings:
    """How many findings of one output have to come out, and how sure of them the model has to be."""

    least: int
    most: int
    score: Expected | None = None


@dataclass(frozen=True, slots=True)
class Expectations:
    """What the reference has to give; whatever is not named may be anything.

    Attributes:
        measurements: By id.
        segments: By id.
        findings: By the id of their output.
        evaluations: Code value by id.
        not_analysed: Whether the model has to refuse the input.
    """

    measurements: Mapping[str, Expected] = field(default_factory=dict)
    segments: Mapping[str, ExpectedSegment] = field(default_factory=dict)
    findings: Mapping[str, ExpectedFindings] = field(default_factory=dict)
    evaluations: Mapping[str, str] = field(default_factory=dict)
    not_analysed: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """Where the images of one input of a case come from: a generator, or a file or DICOM folder in the bundle.

    Attributes:
        attributes: Header elements by keyword; beside a DICOM folder they replace its own.
    """

    generator: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    file: str = ""
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """A verification case.

    Attributes:
        inputs: By the name of the model's input.
    """

    name: str
    inputs: Mapping[str, Recipe]
    expected: Expectations


@dataclass(frozen=True, slots=True)
class Declaration:
    """All of it.

    Attributes:
        networks: By name; the first is the one that the others serve. Empty for a model of steps alone.
        reference: What every other engine is compared with; on the CPU, so that each node has it.
        engines: In order of preference.
        cpu_fallback: Whether the reference may serve when no preferred engine may.
        clearances: Empty unless the model is cleared.
        profiles: Shapes by input name.
        window: Shape of a sliding window; empty if there is none.
    """

    name: str
    version: str
    networks: Mapping[str, Network]
    reference: Engine
    engines: tuple[Engine, ...]
    tolerance: Tolerance = Tolerance()
    cpu_fallback: bool = True
    clearances: tuple[Clearance, ...] = ()
    cases: tuple[Case, ...] = ()
    profiles: Mapping[str, ShapeRange] = field(default_factory=dict)
    window: Shape = ()
    keep_fp32: tuple[str, ...] | None = None
