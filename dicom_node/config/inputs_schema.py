"""The `inputs` of a rule."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, field_validator, model_validator

from dicom_node.config.conditions import Match, conditions
from dicom_node.config.keywords import keyword_problem
from dicom_node.config.section import Section
from dicom_node.config.several_faults import several_faults
from dicom_node.config.values import Duration
from dicom_node.domain.rules import InputSlot, OnMissing, Orientation, Preference, Prior


class PriorSection(Section):
    """An input from an earlier study of the patient."""

    within: Duration = Field(description="How long before the current study, at most.")
    same: tuple[str, ...] = Field((), description="Keywords whose values must agree with the current study's.")
    max: int = Field(1, ge=1, le=20, description="How many earlier studies, newest first.")
    source: str = Field("", description="Query source it may be fetched from; empty: only what the node holds.")
    timeout: Duration = Field(timedelta(minutes=5), description="How long finding and fetching may take.")
    on_missing: OnMissing = Field(OnMissing.RUN, description="Without one: `run`, `skip`, or `wait` until `complete_when.max_wait`.")

    @field_validator("same")
    @classmethod
    def _check_keywords(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if faults := [((number,), problem) for number, keyword in enumerate(value) if (problem := keyword_problem(keyword))]:
            raise several_faults("same", faults, value)
        return value

    def to_prior(self) -> Prior:
        """Convert to the domain's type."""
        return Prior(self.within, self.same, self.max, self.source, self.timeout, self.on_missing)


class InputSection(Section):
    """One named input."""

    match: Match = Field({}, description="Conditions beside the rule's own `match`; with `prior`, these only.")
    min_instances: int = Field(1, ge=1, description="A series with fewer does not fit.")
    max_instances: int | None = Field(None, ge=1, description="A series with more does not fit.")
    orientation: Orientation | None = Field(None, description="`axial`, `coronal` or `sagittal` slices.")
    min_spacing_mm: float | None = Field(None, gt=0, description="Smallest distance between neighbouring slices.")
    max_spacing_mm: float | None = Field(None, gt=0, description="Largest distance between neighbouring slices.")
    prefer: tuple[Preference, ...] = Field(
        (Preference.MOST_INSTANCES,), description="Which of several series that fit: `thinnest`, `newest`, `most_instances`, asked in turn."
    )
    prior: PriorSection | None = Field(None, description="Take it from an earlier study of the patient.")
    optional: bool = Field(default=False, description="Run without it if nothing fits.")

    @model_validator(mode="after")
    def _check_bounds(self) -> InputSection:
        if self.max_instances is not None and self.max_instances < self.min_instances:
            raise ValueError("max_instances is less than min_instances: no series fits")
        if None not in (self.min_spacing_mm, self.max_spacing_mm) and (self.max_spacing_mm or 0) < (self.min_spacing_mm or 0):
            raise ValueError("max_spacing_mm is less than min_spacing_mm: no series fits")
        return self

    def to_slot(self, name: str) -> InputSlot:
        """Convert to the domain's type."""
        return InputSlot(
            name,
            conditions(self.match),
            self.min_instances,
            self.max_instances,
            self.orientation,
            self.min_spacing_mm,
            self.max_spacing_mm,
            self.prefer,
            self.prior.to_prior() if self.prior else None,
            self.optional,
        )
