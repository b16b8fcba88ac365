"""Schema of rules.yaml, and its conversion to domain rules."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field, field_validator, model_validator

from dicom_node.config.complete_schema import CompleteWhenSection, WaitSection
from dicom_node.config.conditions import Match, Wanted, conditions
from dicom_node.config.inputs_schema import InputSection
from dicom_node.config.notices_schema import NotifySection
from dicom_node.config.section import Section
from dicom_node.config.values import Name
from dicom_node.config.when import AfterWhen, When
from dicom_node.domain.rules import SINGLE_INPUT, After, OnEmpty, OnLate, Priority, Rule, SeriesCheck
from dicom_node.domain.waits import DEFAULT_WAITS, OTHER_MODALITIES, Wait

_MODALITY = re.compile(r"[A-Z][A-Z0-9_ ]{0,15}")


def _check_modality(value: str) -> str:
    if value != OTHER_MODALITIES and not _MODALITY.fullmatch(value):
        raise ValueError(f"{value!r} is no modality: they are written in capitals, such as CT, and all others are `{OTHER_MODALITIES}`")
    return value


Modality = Annotated[str, AfterValidator(_check_modality)]
"""A value of Modality (0008,0060), or `other` for those that have no entry of their own."""


class ScheduleSection(Section):
    """When a rule is in force."""

    active_from: AwareDatetime | None = Field(None, description="Takes no study that closes before this moment.")
    active_until: AwareDatetime | None = Field(None, description="Takes no study that closes from this moment on.")


class AfterSection(Section):
    """The result that a rule follows."""

    model: str = Field(description="Model whose results the rule follows.")
    when: AfterWhen = Field("", description="CEL expression over `result`; empty: every result.")


class RuleSection(Section):
    """One rule."""

    name: Name = Field(description="Name in lists, traces and job keys.")
    match: Match = Field(description="DICOM keywords and what is wanted of each: values, ranges, patterns, presence.")
    when: When = Field("", description="CEL expression over the header of each instance, beside `match`.")
    complete_when: CompleteWhenSection = Field(default_factory=CompleteWhenSection, description="When the study is complete.")
    hold: bool = Field(default=False, description="Keep matching studies from all models.")
    inputs: dict[Name, InputSection] = Field({}, description="Named series; without, the one with the most matching instances.")
    checks: tuple[SeriesCheck, ...] = Field(
        tuple(SeriesCheck), description="`gaps`, `duplicates`, `orientation`: what a series must not have."
    )
    model: str = Field("", description="Name of the model bundle to run.")
    send_to: tuple[str, ...] = Field((), description="Names of destinations.")
    forward_to: tuple[str, ...] = Field((), description="Names of destinations that get the received images, unchanged.")
    priority: Priority = Field(Priority.NORMAL, description="`stat`, `normal` or `off-peak`.")
    shadow: bool = Field(default=False, description="Run and keep the results, send nothing.")
    schedule: ScheduleSection = Field(default_factory=ScheduleSection, description="When the rule is in force.")
    on_late: OnLate = Field(OnLate.RUN, description="When instances come after the run: `ignore`, `run` again, or `replace` the report.")
    after: AfterSection | None = Field(None, description="Follow a model's result.")
    on_not_analysed: OnEmpty = Field(
        OnEmpty.REPORT, description="A result that says why nothing was analysed: `report` it, or `keep` it here."
    )
    on_no_finding: OnEmpty = Field(OnEmpty.REPORT, description="A result that says that nothing was found: `report` it, or `keep` it here.")
    notify: tuple[NotifySection, ...] = Field((), description="Whom to tell of results, critical findings and failures.")

    @field_validator("match")
    @classmethod
    def _check_not_empty(cls, value: dict[str, Wanted]) -> dict[str, Wanted]:
        if not value:
            raise ValueError("an empty match would take every study; name at least one keyword")
        return value

    @model_validator(mode="after")
    def _check_purpose(self) -> RuleSection:
        if self.hold and OnEmpty.KEEP in (self.on_not_analysed, self.on_no_finding):
            raise ValueError("a hold rule has no results: leave on_not_analysed and on_no_finding out")
        if self.hold and (self.model or self.send_to or self.forward_to):
            raise ValueError("a hold rule keeps studies from all models: leave model, send_to and forward_to out")
        if not self.hold and not self.model and not self.forward_to and not (self.after and self.send_to):
            raise ValueError("model is missing (or forward_to, or hold: true, to keep matching studies from all models)")
        if self.forward_to and self.shadow:
            raise ValueError("a shadow rule sends nothing: leave forward_to out, or give it a rule of its own")
        if self.send_to and not self.model and not self.after:
            raise ValueError("send_to without model: there are no results to send; forward_to sends the received images")
        return self

    @model_validator(mode="after")
    def _check_first_input(self) -> RuleSection:
        first = next(iter(self.inputs), None)
        if first is not None and (self.inputs[first].prior or self.inputs[first].optional):
            what = "comes from an earlier study" if self.inputs[first].prior else "is optional"
            raise ValueError(f"input {first!r} stands first, which is the one that results refer to, and {what}: put another one first")
        if both := [name for name, section in self.inputs.items() if section.prior and section.optional]:
            raise ValueError(f"input {both[0]!r} has prior and optional: leave optional out, prior.on_missing says what happens without it")
        return self

    def to_rule(self) -> Rule:
        """Convert to the domain's rule."""
        return Rule(
            name=self.name,
            match=conditions(self.match),
            complete_when=self.complete_when.to_complete_when(),
            hold=self.hold,
            model=self.model,
            send_to=self.send_to,
            when=self.when,
            inputs=tuple(section.to_slot(name) for name, section in self.inputs.items()) or (SINGLE_INPUT,),
            checks=self.checks,
            priority=self.priority,
            shadow=self.shadow,
            active_from=self.schedule.active_from,
            active_until=self.schedule.active_until,
            on_late=self.on_late,
            after=After(self.after.model, self.after.when) if self.after else None,
            notify=tuple(section.to_notify() for section in self.notify),
            forward_to=self.forward_to,
            on_not_analysed=self.on_not_analysed,
            on_no_finding=self.on_no_finding,
        )


class RulesFile(Section):
    """The whole of rules.yaml."""

    defaults: dict[Modality, WaitSection] = Field(
        {}, description="`quiet` and `max_wait` by modality, for rules that leave them open and studies that no rule may take; `other`."
    )
    rules: tuple[RuleSection, ...] = Field(description="All rules; hold rules first. Every rule that matches fires.")

    def waits(self) -> dict[str, Wait]:
        """Return what `defaults` says, by modality."""
        usual = DEFAULT_WAITS[OTHER_MODALITIES]
        return {modality: section.over(DEFAULT_WAITS.get(modality, usual)) for modality, section in self.defaults.items()}
