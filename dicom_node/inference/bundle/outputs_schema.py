"""What comes out of a model, with the codes under which results say it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dicom_node.config.section import Section
from dicom_node.inference.bundle.codes_schema import CodeEntry, Identifier, Label
from dicom_node.inference.bundle.units import UnitEntry

_Index = Annotated[int, Field(ge=0)]
_Byte = Annotated[int, Field(ge=0, le=255)]
_OUTPUT = "Network output, as after postprocess; empty: the first one."


class _Entry(Section):
    id: Identifier = Field(description="Short stable name, no other output has it.")
    label: Label = Field(description="What people call it, at most 64 characters.")


class SegmentEntry(_Entry):
    """One segment of the images."""

    output: str = Field("", description=_OUTPUT)
    channel: _Index | None = Field(None, description="Channel of the output that is its mask, from 0. This or label_value.")
    label_value: Annotated[int, Field(ge=1)] | None = Field(None, description="Its value in a label map. This or channel.")
    category: CodeEntry = Field(description="Segmented Property Category, for example organ.")
    property_type: CodeEntry = Field(description="Segmented Property Type, for example lung.")
    site: CodeEntry | None = Field(None, description="Anatomic region, if it is not the property itself.")
    color_rgb: tuple[_Byte, _Byte, _Byte] = Field(description="Recommended display colour: red, green, blue, 0 to 255.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.channel is not None and self.label_value is not None:
            raise ValueError("channel and label_value are given, a mask is one or the other")
        return self


class MeasurementEntry(_Entry):
    """One number. Measurements are shown in the order of the file."""

    concept: CodeEntry = Field(description="What is measured.")
    unit: UnitEntry = Field(description="Unit, a UCUM code.")
    of: str = Field(
        "",
        description="Quantity of `segment` (volume_ml, mean, std, min, max, count, diameter_mm, percentile_0 to percentile_100), or a "
        "network output. Empty for Python steps.",
    )
    index: _Index | None = Field(None, description="Which number of the network output, from 0; without, it has one.")
    segment: str = Field("", description="id of the segment that it describes; empty: what the whole result is about.")
    reference_range: str = Field("", description="What is usual, as text with its source.")
    derivation: CodeEntry | None = Field(None, description="How the value sums up many, for example mean.")


class FindingEntry(_Entry):
    """Something that is looked for: detected with a place, or a class of the whole image."""

    concept: CodeEntry = Field(description="What is found.")
    site: CodeEntry | None = Field(None, description="Where in the body.")
    output: str = Field("", description=_OUTPUT)
    class_index: _Index = Field(0, description="Class of the boxes or class scores, from 0.")
    threshold: float = Field(0.5, ge=0, le=1, description="A score of this or more is a finding.")


class EvaluationEntry(_Entry):
    """A question with one of several answers."""

    concept: CodeEntry = Field(description="What is asked, for example breast density.")
    classes: tuple[CodeEntry, ...] = Field(min_length=2, description="The answers, in the order of the network's classes.")
    output: str = Field("", description=_OUTPUT)


class MapEntry(_Entry):
    """A number for each voxel."""

    quantity: CodeEntry = Field(description="What is mapped.")
    unit: UnitEntry = Field(description="Unit, a UCUM code.")
    output: str = Field("", description=_OUTPUT)
    channel: _Index = Field(0, description="Channel of the output, from 0.")


class OutputsSection(Section):
    """All that a result can hold."""

    finding: CodeEntry = Field(description="What the result is about, for example lung.")
    finding_site: CodeEntry | None = Field(None, description="Where, if it is not the finding itself.")
    segments: tuple[SegmentEntry, ...] = Field((), description="Regions of the images.")
    measurements: tuple[MeasurementEntry, ...] = Field((), description="Numbers, in the order shown.")
    findings: tuple[FindingEntry, ...] = Field((), description="What is looked for.")
    evaluations: tuple[EvaluationEntry, ...] = Field((), description="Questions with coded answers.")
    maps: tuple[MapEntry, ...] = Field((), description="A number for each voxel.")
    template: Literal["measurement-report"] = Field(
        "measurement-report", description="Template of the report: measurement-report (TID 1500)."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.segments or self.measurements or self.findings or self.evaluations or self.maps):
            raise ValueError("nothing comes out: name segments, measurements, findings, evaluations or maps")
        return self

    def entries(self) -> dict[str, tuple[_Entry, ...]]:
        """All outputs by the name of their list."""
        return {name: getattr(self, name) for name in ("segments", "measurements", "findings", "evaluations", "maps")}
