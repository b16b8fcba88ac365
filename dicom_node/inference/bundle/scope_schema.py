"""For which images a model is meant: conditions on the header and limits of the geometry."""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from typing import Annotated, Self

from pydantic import Field, model_validator

from dicom_node.config.conditions import Match, conditions
from dicom_node.config.section import Section
from dicom_node.domain.rules import Condition
from dicom_node.inference.bundle.about_schema import Paragraph
from dicom_node.inference.bundle.codes_schema import SlotName

_Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1)]


class Plane(StrEnum):
    """The plane of slices, by the direction of their normal; oblique: near none of the three."""

    AXIAL = "axial"
    SAGITTAL = "sagittal"
    CORONAL = "coronal"
    OBLIQUE = "oblique"


class Lengths(Section):
    """A range of lengths, both ends allowed."""

    min: _Length | None = Field(None, description="Smallest one, mm.")
    max: _Length | None = Field(None, description="Largest one, mm.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_order(self.min, self.max)
        return self


class Counts(Section):
    """A range of numbers of slices, frames or pixels, both ends allowed."""

    min: _Count | None = Field(None, description="Smallest number.")
    max: _Count | None = Field(None, description="Largest number.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_order(self.min, self.max)
        return self


def _check_order(low: float | None, high: float | None) -> None:
    if low is None and high is None:
        raise ValueError("gives neither min nor max: nothing is limited")
    if low is not None and high is not None and low > high:
        raise ValueError(f"min {low:g} is more than max {high:g}: nothing fits")


class Geometry(Section):
    """Limits of the geometry of one input. All but `frames`, `rows`, `columns` and `pixel_spacing_mm` are for volumes."""

    slices: Counts | None = Field(None, description="Number of slices of a volume.")
    slice_spacing_mm: Lengths | None = Field(None, description="Distance between neighbouring slices, mm.")
    pixel_spacing_mm: Lengths | None = Field(None, description="Distance between rows and between columns, mm; both have to fit.")
    coverage_mm: Lengths | None = Field(None, description="From the outer face of the first slice to that of the last, mm.")
    orientation: tuple[Plane, ...] = Field((), description="axial, sagittal, coronal, oblique; without, any.")
    orientation_tolerance_deg: float = Field(
        15.0, gt=0, lt=45, description="How far slices may be turned from a plane and still count as it, degrees."
    )
    frames: Counts | None = Field(None, description="Number of frames of a frame set.")
    rows: Counts | None = Field(None, description="Pixels along a column; every frame has to fit.")
    columns: Counts | None = Field(None, description="Pixels along a row; every frame has to fit.")


class InputScope(Section):
    """What one input has to be."""

    match: Match = Field({}, description="DICOM keywords and what is wanted of each, as in rules.yaml; asked of the first instance.")
    geometry: Geometry = Field(default_factory=Geometry, description="Limits of the geometry.")
    consequences: dict[str, Paragraph] = Field(
        {}, description="By keyword or name of a limit: what it means for the result when it is not met; ends the sentence that says so."
    )

    @cached_property
    def _conditions(self) -> tuple[Condition, ...]:
        return conditions(self.match)

    def conditions(self) -> tuple[Condition, ...]:
        """Convert the `match`; the same objects at each call, so that what was made ready for them is used again."""
        return self._conditions


class _Scope(InputScope):
    inputs: dict[SlotName, InputScope] = Field(
        {}, description="What single inputs have to be; an input that is not named here has to meet `match` and `geometry` above."
    )

    def of(self, name: str) -> InputScope:
        """Return what an input has to be."""
        return self.inputs.get(name, self)


class IntendedUse(_Scope):
    """What the model is for. Images outside of it are not analysed, and the result says why."""

    text: Paragraph = Field(description="The intended use in words; stands in every result.")


class Protocol(_Scope):
    """How images should have been acquired. Outside of it the result carries a warning."""

    source: str = Field("", description="Where the protocol comes from.")
