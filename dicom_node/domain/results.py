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
        segment: `id` of the segment that it describes; empty if it describes the finding of the whole result.
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
    segment: str = ""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A qualitative answer: a concept with a coded value, for example breast density: heterogeneously dense.

    Attributes:
        score: Of the class that was chosen, 0 to 1; None if the model gives none.
    """

    id: str
    label: str
    concept: Code
    value: Code
    score: float | None = None


class RegionKind(StrEnum):
    """Shape of a region; named as the Graphic Types of SCOORD and SCOORD3D."""

    POINT = "POINT"
    POLYLINE = "POLYLINE"
    """Closed if the last point repeats the first; a box has five."""


@dataclass(frozen=True, slots=True)
class ImageRegion:
    """A place on one frame.

    Attributes:
        frame_number: From 1.
        points_px: (column, row) pairs; (0, 0) is the top left corner of the top left pixel, its centre is (0.5, 0.5).
    Source: PS3.3 C.18.6.1.
    """

    sop_instance_uid: str
    frame_number: int
    kind: RegionKind
    points_px: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class BoxRegion:
    """A box in the patient, its edges along the axes of the source volume.

    Attributes:
        corners_lps_mm: The eight corners; the first four on the box's first slice, in the order in which a closed line joins them.
        slice_range: First and last slice of the source volume that it touches, from 0, both included.
        outline_px: The box on each of these slices, (column, row) pairs as in `ImageRegion`, four corners.
    """

    frame_of_reference_uid: str
    corners_lps_mm: tuple[tuple[float, float, float], ...]
    slice_range: tuple[int, int]
    outline_px: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something found, with its place if it has one: a detection, or a class of the whole image.

    Attributes:
        id: `id` of the output in the model's manifest; several findings may come from one.
        number: Counts the findings of one output from 1, highest score first; with `id` the Tracking Identifier.
        score: Probability or confidence, 0 to 1; None if the model gives none.
        region: None says the whole image or study.
        measurements: Of this finding alone, such as its diameter.
    """

    id: str
    number: int
    label: str
    concept: Code
    score: float | None
    site: Code | None
    region: ImageRegion | BoxRegion | None
    measurements: tuple[Measurement, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ParametricMap:
    """A number for each voxel of the source grid.

    Attributes:
        values: Shape (slice, row, column) as the source, float32, in `unit`.
        quantity: What is mapped, for example a saliency or a diffusion coefficient.
    """

    id: str
    label: str
    values: NDArray[np.float32]
    quantity: Code
    unit: Code


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A region of the source grid.

    Attributes:
        mask: Shape (slice, row, column) as the volume, bool; of a frame set (frame, row, column), all frames of one size.
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
        findings: Detections and classes; an empty tuple of a model that detects says that nothing was found.
        not_analysed: Why the study was not analysed, one sentence each; measurements, segments and findings are empty then.
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
    findings: tuple[Finding, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    maps: tuple[ParametricMap, ...] = ()
    not_analysed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A report whose place a new one takes.

    Attributes:
        revision: Revision of the study that it was about.
        variant: Its form, as results on record name it; empty if its run had one form only.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    revision: int
    variant: str = ""
