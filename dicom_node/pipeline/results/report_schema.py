"""What stands in `result.json`; docs/result.schema.json is made from these classes."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dicom_node.sr_writer.content import Outcome

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
Pixel = tuple[float, float]
Millimetres = tuple[float, float, float]


class Part(BaseModel):
    """A part of the file; it holds what is named here and nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Coded(Part):
    """A code of a coding scheme, as DICOM has it."""

    value: str = Field(description="Code Value.")
    scheme: str = Field(description="Coding Scheme Designator, for example SCT or UCUM.")
    meaning: str = Field(description="Code Meaning.")


class Model(Part):
    """The model that ran."""

    name: str = Field(description="Name of its bundle.")
    title: str = Field(description="Name for people.")
    version: str = Field(description="Version of the bundle.")
    manufacturer: str = Field(description="Who made it.")
    device_uid: str = Field(description="Device UID (0018,1002) of this exact model.")
    weights_sha256: str = Field(description="SHA-256 of the network file.")
    manifest_digest: str = Field(description="Digest over the whole bundle.")
    stage: str = Field(description="research, validation, submitted or cleared.")
    parameters: tuple[str, ...] = Field(description="What was set, as name=value.")


class Engine(Part):
    """What computed it."""

    backend: str = Field(description="For example onnxruntime.")
    precision: str = Field(description="For example fp32.")
    device: str = Field(description="Name of the GPU, or of the CPU.")
    fallback: str = Field(description="Why it is not the preferred engine, precision or device; empty if it is.")
    verified: str = Field(description="Digest of the gate's record that lets it serve; empty for the reference.")


class JobPart(Part):
    """The job of the node."""

    id: int = Field(description="Number of the job on this node.")
    rule: str = Field(description="Rule that made it.")
    revision: int = Field(description="Revision of the study that it is about, from 1.")
    shadow: bool = Field(description="The results were kept and not sent.")


class MeasurementPart(Part):
    """One figure."""

    label: str = Field(description="How people call it.")
    code: Coded = Field(description="What was measured.")
    value: float | None = Field(description="As in the report, four decimals; null if it could not be measured.")
    unit: Coded = Field(description="UCUM.")
    derivation: Coded | None = Field(description="How the value sums up many; null if it does not.")
    reference_range: str = Field(description="As text; empty if none is established.")
    tracking_id: str = Field(description="Tracking Identifier of what it describes.")
    tracking_uid: str = Field(description="Tracking UID of what it describes.")
    site: Coded | None = Field(description="Finding site; null if none is named.")
    segment: int = Field(description="Number of the segment that it describes; 0 if none.")


class AnswerPart(Part):
    """One coded answer."""

    label: str = Field(description="How people call the question.")
    code: Coded = Field(description="The question.")
    value: Coded = Field(description="The answer.")
    certainty_percent: float | None = Field(description="0 to 100, two decimals; null if the model gives none.")


class OutlinePart(Part):
    """A point or line on one frame."""

    sop_instance_uid: str = Field(description="Instance of the frame.")
    frame_number: int | None = Field(description="From 1; null if the instance has one frame.")
    kind: str = Field(description="POINT or POLYLINE, closed if the last point repeats the first.")
    points_px: tuple[Pixel, ...] = Field(description="(column, row); (0, 0) is the top left corner of the top left pixel.")


class PlacePart(Part):
    """Where something is."""

    text: str = Field(description="In words, in the language of the report.")
    segment: int = Field(description="Number of the segment; 0 if it is none.")
    outlines: tuple[OutlinePart, ...] = Field(description="On frames.")
    frame_of_reference_uid: str = Field(description="Of the polygons; empty if there are none.")
    polygons_lps_mm: tuple[tuple[Millimetres, ...], ...] = Field(description="The same lines in the patient, closed, one per slice.")


class FindingPart(Part):
    """Something that was detected, or a class."""

    label: str = Field(description="How people call it.")
    code: Coded = Field(description="What it is.")
    site: Coded | None = Field(description="Finding site; null if none is named.")
    tracking_id: str = Field(description="Tracking Identifier, the same in every object.")
    tracking_uid: str = Field(description="Tracking UID, the same in every object.")
    certainty_percent: float | None = Field(description="0 to 100, two decimals; null if the model gives none.")
    place: PlacePart | None = Field(description="Where it is; null for a class of the whole images.")
    images: tuple[str, ...] = Field(description="SOP Instance UIDs that it is about, if it has no place.")
    measurements: tuple[MeasurementPart, ...] = Field(description="Its figures.")
    answers: tuple[AnswerPart, ...] = Field(description="Its answers.")


class SegmentPart(Part):
    """A region of the images."""

    number: int = Field(description="Segment Number in the segmentation beside that report; 0 if it is in none.")
    id: str = Field(description="Name in the model's manifest.")
    label: str = Field(description="How people call it.")
    category: Coded = Field(description="Segmented Property Category.")
    property_type: Coded = Field(description="Segmented Property Type.")
    anatomic_site: Coded | None = Field(description="Anatomic Region; null if none is named.")
    color_rgb: tuple[int, int, int] = Field(description="Display colour, 0 to 255 each.")
    marked_pixels: int = Field(description="How many pixels or voxels it holds.")
    volume_ml: float | None = Field(description="Volume, mL, four decimals; null for images that are no volume.")
    tracking_uid: str = Field(description="Tracking UID, the same in every object.")


class MapPart(Part):
    """A number for each voxel."""

    id: str = Field(description="Name in the model's manifest.")
    label: str = Field(description="How people call it.")
    quantity: Coded = Field(description="What is mapped.")
    unit: Coded = Field(description="UCUM.")


class InputPart(Part):
    """One input of the model."""

    name: str = Field(description="As in the model's manifest.")
    study_instance_uid: str = Field(description="Another one than the result's if it is a prior.")
    series_instance_uid: str = Field(description="Series it came from.")
    sop_instance_uids: tuple[str, ...] = Field(description="Instances, in the order in which the model saw them.")


class ObjectPart(Part):
    """One result object beside this file."""

    kind: str = Field(description="SR, SEG, SC, PM, PR, KO, DOC or RTSTRUCT.")
    number: int = Field(description="Counts the objects of one kind and form, from 1.")
    variant: str = Field(description="Form of the object (docs/profiles.md).")
    sop_class_uid: str = Field(description="SOP Class UID.")
    sop_instance_uid: str = Field(description="SOP Instance UID.")
    series_instance_uid: str = Field(description="Series Instance UID.")
    file: str = Field(description="Name of the file in this folder.")


class ResultReport(Part):
    """The result of one job for programs. It names nobody: no patient's name, number, date or accession number."""

    format: Literal[1] = Field(1, description="Version of this format; a change that readers must know of counts it up.")
    job: JobPart = Field(description="The job.")
    study_instance_uid: str = Field(description="Study that the result is about; what ties it to the images.")
    model: Model = Field(description="The model.")
    engine: Engine = Field(description="What computed it.")
    started_at: datetime = Field(description="When the analysis began, UTC.")
    language: str = Field(description="RFC 5646 tag of the texts: that of the first destination's report.")
    title: str = Field(description="Title of the report.")
    outcome: Outcome = Field(description="found, no finding, or not analysed.")
    reasons: tuple[str, ...] = Field(description="Why nothing was analysed, or that nothing was found; empty if something was found.")
    stage_banner: str = Field(description="What must be read first: whether the result may serve diagnosis.")
    warnings: tuple[str, ...] = Field(description="What must be read beside the figures.")
    intended_use: str = Field(description="What the model is for.")
    remarks: tuple[str, ...] = Field(description="Reference ranges, earlier results that this one replaces, how objects were written.")
    measurements: tuple[MeasurementPart, ...] = Field(description="Figures of the whole result and of segments.")
    answers: tuple[AnswerPart, ...] = Field(description="Answers about the whole result; the first may be the outcome, coded.")
    findings: tuple[FindingPart, ...] = Field(description="What was detected, with places.")
    segments: tuple[SegmentPart, ...] = Field(description="Regions, the empty ones too.")
    maps: tuple[MapPart, ...] = Field(description="Parametric maps.")
    inputs: tuple[InputPart, ...] = Field(description="What the model saw.")
    predecessors: tuple[str, ...] = Field(description="SOP Instance UIDs of the reports that this one replaces.")
    objects: tuple[ObjectPart, ...] = Field(description="Result objects; more may come when a destination wants another form.")
    software: dict[str, str] = Field(description="Versions of the node and the libraries that computed, by name.")
    timings_s: dict[str, float] = Field(description="Seconds of each stage.")


def result_json_schema() -> dict[str, Any]:
    """Make the JSON Schema (draft 2020-12) of `result.json`."""
    return {"$schema": _DRAFT, **ResultReport.model_json_schema(mode="serialization"), "title": "result.json of dicom-node"}
