"""Cases that a model has to pass: images, and what must come out."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from dicom_node.config.section import Section
from dicom_node.inference.bundle.codes_schema import Identifier, SlotName

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Within = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1)]


class Recipe(Section):
    """Images of a case: made by a generator, or a file of the bundle."""

    generator: str = Field("", description="Name of a generator. This or file.")
    parameters: dict[str, Any] = Field({}, description="Parameters of the generator.")
    file: str = Field("", description="Volume (.npz, .nii, .nii.gz) or folder of DICOM files, relative to the bundle. This or generator.")
    attributes: dict[str, str | tuple[str, ...]] = Field({}, description="Header elements that the images are said to have, by keyword.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.generator) == bool(self.file):
            raise ValueError("give generator or file, one of the two")
        if self.file and self.parameters:
            raise ValueError("parameters are for a generator, the images come from a file")
        return self


class ExpectedNumber(Section):
    """A number that must come out."""

    value: _Finite = Field(description="In the unit of the measurement.")
    within: _Within = Field(description="Largest difference, in the same unit.")


class ExpectedSegment(Section):
    """A segment that must come out."""

    volume_ml: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(None, description="Its volume, mL.")
    within: _Within | None = Field(None, description="Largest difference of the volume, mL.")
    mask: str = Field("", description="File of the bundle with the true mask (.npz, .nii, .nii.gz).")
    dice: _Share | None = Field(None, description="Least Dice with that mask, 0 to 1.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.volume_ml is None) != (self.within is None):
            raise ValueError("volume_ml and within belong together")
        if bool(self.mask) != (self.dice is not None):
            raise ValueError("mask and dice belong together")
        if self.volume_ml is None and not self.mask:
            raise ValueError("nothing is expected: give volume_ml and within, or mask and dice")
        return self


class ExpectedFinding(Section):
    """A finding that must come out."""

    id: Identifier = Field(description="id of the finding in `outputs`.")
    center_mm: tuple[_Finite, _Finite, _Finite] | None = Field(None, description="Centre in the patient: left, posterior, superior, mm.")
    center_px: tuple[_Finite, _Finite] | None = Field(None, description="Centre on the image: column and row.")
    within: _Within | None = Field(None, description="Largest distance of the centre, mm or pixels.")
    score: _Share | None = Field(None, description="Least score.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.center_mm is not None and self.center_px is not None:
            raise ValueError("center_mm and center_px are given, a finding has one place")
        if (self.center_mm is None and self.center_px is None) != (self.within is None):
            raise ValueError("a centre and within belong together")
        return self


class Expectation(Section):
    """What must come out of a case; findings of an id that is named are all listed."""

    measurements: dict[Identifier, ExpectedNumber] = Field({}, description="Numbers by id.")
    segments: dict[Identifier, ExpectedSegment] = Field({}, description="Segments by id.")
    findings: tuple[ExpectedFinding, ...] | None = Field(
        None, description="All findings; an empty list: none. Without, they are not looked at."
    )
    evaluations: dict[Identifier, str] = Field({}, description="Answers by id: the code value of one of its classes.")
    not_analysed: str = Field("", description="The model must refuse the images, with this text in the reason.")
    warning: str = Field("", description="One of the warnings must hold this text.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("nothing is expected")
        if self.not_analysed and (self.measurements or self.segments or self.findings or self.evaluations):
            raise ValueError("not_analysed stands alone: nothing comes out of images that are refused")
        return self


class Case(Section):
    """One case."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")] = Field(description="Name in records, no other case has it.")
    inputs: dict[SlotName, Recipe] = Field(min_length=1, description="Images by the name of the input.")
    expect: Expectation = Field(description="What must come out.")


class VerificationSection(Section):
    """Cases that an engine has to pass before it serves."""

    cases: tuple[Case, ...] = Field((), description="Cases, each with its images and what must come out.")
