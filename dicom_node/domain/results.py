"""What a model found, in named fields; result objects are built from these and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept: Code Value, Coding Scheme Designator, Code Meaning. Source: PS3.3 section 8."""

    value: str
    scheme: str
    meaning: str


class Stage(StrEnum):
    """How far a model has come; only `cleared` may be marked as a product."""

    RESEARCH = "research"
    VALIDATION = "validation"
    SUBMITTED = "submitted"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What identifies the model that made a result.

    Attributes:
        title: Human-readable name, for example `Chest CT densitometry`.
        weights_sha256: Digest of the network file, hexadecimal.
        manifest_digest: Digest over the whole bundle, hexadecimal; part of the job key.
        device_uid: Device UID (0018,1002) of this exact model; new for every change of the bundle.
        backend: Engine that ran it, for example `onnxruntime`.
        precision: For example `fp32`.
        stage: Research models are marked as such in every object.
    """

    name: str
    title: str
    version: str
    manufacturer: str
    weights_sha256: str
    manifest_digest: str
    device_uid: str
    backend: str
    precision: str
    stage: Stage
    intended_use: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number with its unit.

    Attributes:
        id: Short stable name, for example `laa_950`.
        label: How people call it, for example `%LAA-950`.
        unit: UCUM code, for example `mL`, `%`, `[hnsf'U]`.
        reference_range: As text with its source's wording, empty if none is established.
        derivation: How the value sums up many, for example mean.
    """

    id: str
    label: str
    concept: Code
    value: float
    unit: Code
    reference_range: str
    derivation: Code | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A region of the source grid.

    Attributes:
        mask: Shape (slice, row, column) as the volume, bool.
        category: Segmented Property Category, for example organ.
        property_type: Segmented Property Type, for example lung.
        color_rgb: Recommended display colour, 0-255 each.
    """

    id: str
    label: str
    mask: NDArray[np.bool_]
    category: Code
    property_type: Code
    anatomic_site: Code | None
    color_rgb: tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Highlight:
    """A region shown in pictures, beside the segments.

    Attributes:
        mask: Shape (slice, row, column) as the volume, bool.
        color_rgb: 0-255 each.
    """

    label: str
    mask: NDArray[np.bool_]
    color_rgb: tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class InferenceResult:
    """All that one run found.

    Attributes:
        finding: What the measurements are about, for example lung.
        finding_site: Where, if it is not the finding itself.
        measurements: In the order in which they are shown.
        segments: The measurements describe the first segment together with the others.
        warnings: Sentences that must stand beside the result, such as a study outside the acquisition protocol; no patient data.
        parameters: What was set, as `name=value`.
        started_at: When the analysis began, UTC.
        compute_s: Time in the model itself, seconds, reading and writing excluded.
    """

    model: ModelIdentity
    finding: Code
    finding_site: Code | None
    measurements: tuple[Measurement, ...]
    segments: tuple[Segment, ...]
    highlights: tuple[Highlight, ...]
    warnings: tuple[str, ...]
    parameters: tuple[str, ...]
    started_at: datetime
    compute_s: float


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A report whose place a new one takes.

    Attributes:
        revision: Revision of the study that it was about.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    revision: int
