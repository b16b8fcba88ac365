"""The `complete_when` of a rule."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from dicom_node.config.section import Section
from dicom_node.config.values import Duration
from dicom_node.domain.rules import CompleteWhen, OnIncomplete


class CompleteWhenSection(Section):
    """When a study counts as complete for a rule."""

    quiet: Duration = Field(timedelta(seconds=60), description="No instance of the study arrived for this long.")
    max_wait: Duration = Field(timedelta(minutes=30), description="At the latest this long after the first instance.")
    release: Duration | None = Field(None, description="This long after the last association that brought part of it ended.")
    slots: bool = Field(default=False, description="All inputs are there, and the study is quiet.")
    expected_count: str = Field("", description="Query source that is asked how many instances the study has.")
    availability: bool = Field(default=False, description="All instances of its Instance Availability Notification have arrived.")
    on_incomplete: OnIncomplete = Field(OnIncomplete.RUN, description="After `max_wait`: `run` all the same, `skip`, or `hold`.")
    fetch_missing: str = Field("", description="Query source that missing instances are fetched from.")

    @model_validator(mode="after")
    def _check_order(self) -> CompleteWhenSection:
        if self.max_wait < self.quiet:
            raise ValueError("max_wait is shorter than quiet: the study would never be quiet long enough")
        return self

    def to_complete_when(self) -> CompleteWhen:
        """Convert to the domain's type."""
        return CompleteWhen(
            self.quiet,
            self.max_wait,
            self.release,
            self.slots,
            self.expected_count,
            self.availability,
            self.on_incomplete,
            self.fetch_missing,
        )
