"""The `complete_when` of a rule."""

from __future__ import annotations

from pydantic import Field, model_validator

from dicom_node.config.section import Section
from dicom_node.config.values import Duration
from dicom_node.domain.rules import CompleteWhen, OnIncomplete
from dicom_node.domain.waits import Wait


class WaitSection(Section):
    """What holds for studies of one modality where a rule leaves it open."""

    quiet: Duration | None = Field(None, description="No instance of the study arrived for this long.")
    max_wait: Duration | None = Field(None, description="At the latest this long after the first instance.")

    def over(self, default: Wait) -> Wait:
        """Convert to the domain's type.

        Args:
            default: For what is left open here too.
        """
        quiet = default.quiet if self.quiet is None else self.quiet
        return Wait(quiet, max(quiet, default.max_wait) if self.max_wait is None else self.max_wait)

    @model_validator(mode="after")
    def _check_order(self) -> WaitSection:
        if self.quiet is not None and self.max_wait is not None and self.max_wait < self.quiet:
            raise ValueError("max_wait is shorter than quiet: the study would never be quiet long enough")
        return self


class CompleteWhenSection(Section):
    """When a study counts as complete for a rule."""

    quiet: Duration | None = Field(None, description="No instance of the study arrived for this long; default by modality.")
    max_wait: Duration | None = Field(None, description="At the latest this long after the first instance; default by modality.")
    release: Duration | None = Field(None, description="This long after the last association that brought part of it ended.")
    slots: bool = Field(default=False, description="All inputs are there, and the study is quiet.")
    expected_count: str = Field("", description="Query source that is asked how many instances the study has.")
    availability: bool = Field(default=False, description="All instances of its Instance Availability Notification have arrived.")
    on_incomplete: OnIncomplete = Field(OnIncomplete.RUN, description="After `max_wait`: `run` all the same, `skip`, or `hold`.")
    fetch_missing: str = Field("", description="Query source that missing instances are fetched from.")

    @model_validator(mode="after")
    def _check_order(self) -> CompleteWhenSection:
        if self.quiet is not None and self.max_wait is not None and self.max_wait < self.quiet:
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
