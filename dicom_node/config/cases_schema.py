"""Schema of rules.test.yaml: studies described by their tags, and what the rules must make of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from dicom_node.config.conditions import keyword_problem
from dicom_node.config.section import Section
from dicom_node.config.values import Name
from dicom_node.domain.routing import Outcome
from dicom_node.domain.rules import Orientation, Priority

Value: TypeAlias = str | int | float | list[str | int | float]


def _check_header(value: dict[str, Value]) -> dict[str, Value]:
    if problems := [problem for keyword in value if (problem := keyword_problem(keyword))]:
        raise ValueError("; ".join(problems))
    return value


CaseHeader = Annotated[dict[str, Value], AfterValidator(_check_header)]
"""Elements by DICOM keyword; a list is a multi-valued element, an empty text or list an empty element."""


class Completeness(StrEnum):
    """How complete a case's study is when the rules decide."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    """The longest wait is over, and `complete_when` is not met."""
    LATE = "late"
    """Every rule has run on revision 1, and more came after that."""


class SeriesCase(Section):
    """One series of a case."""

    name: str = Field("", description="What `inputs` call it; default: its number, from 1.")
    instances: int = Field(1, ge=1, description="How many instances.")
    header: CaseHeader = Field({}, description="Header elements of each instance, over those of the study.")
    orientation: Orientation | None = Field(None, description="Lay the instances out as parallel slices: `axial`, `coronal`, `sagittal`.")
    spacing_mm: float = Field(1.0, gt=0, description="Distance between neighbouring slices, with `orientation`.")
    missing: tuple[int, ...] = Field((), description="Numbers of slices that are not there, from 1, with `orientation`: gaps.")

    @model_validator(mode="after")
    def _check_missing(self) -> SeriesCase:
        if self.missing and self.orientation is None:
            raise ValueError("missing slices need an orientation")
        if beyond := [number for number in self.missing if not 1 <= number <= self.instances]:
            raise ValueError(f"there is no slice {beyond[0]} of {self.instances}")
        if len(set(self.missing)) == self.instances:
            raise ValueError("every slice is missing: leave the series out")
        return self


def _check_some(value: tuple[SeriesCase, ...]) -> tuple[SeriesCase, ...]:
    if not value:
        raise ValueError("a study has at least one series")
    return value


SeriesCases = Annotated[tuple[SeriesCase, ...], AfterValidator(_check_some)]
"""At least one; pydantic's own least length would complain of faulty series as of missing ones."""


class PriorCase(Section):
    """An earlier study of the patient."""

    name: str = Field("", description="What `inputs` call it before the slash; default: `prior-` and its number, from 1.")
    days_before: float = Field(ge=0, description="How long before the case's study, days.")
    header: CaseHeader = Field({}, description="Header elements of every instance, over those of the case's study.")
    series: SeriesCases = Field(description="Its series, at least one.")


class WantedRule(Section):
    """What one rule must do; what is not named is not compared."""

    outcome: Outcome = Field(Outcome.RUN, description="What the rule does with the study.")
    model: str | None = Field(None, description="Model that runs.")
    inputs: dict[Name, str | list[str] | None] = Field(
        {}, description="Name of the series that each input gets; of a prior `PRIOR/SERIES`; null: none."
    )
    send_to: tuple[str, ...] | None = Field(None, description="Destinations, in any order.")
    forward_to: tuple[str, ...] | None = Field(None, description="Destinations that get the received images, in any order.")
    priority: Priority | None = Field(None, description="Priority of the job.")
    shadow: bool | None = Field(None, description="Whether results are kept and not sent.")
    replaces: bool | None = Field(None, description="Whether results take the place of those of the earlier run.")


class RuleCase(Section):
    """A study, and what the rules must make of it."""

    name: str = Field(min_length=1, description="Shown in the list of results.")
    senders: tuple[str, ...] = Field((), description="AE titles that sent it: CallingAET.")
    called: tuple[str, ...] = Field((), description="Titles of the node that it was sent to: CalledAET.")
    header: CaseHeader = Field({}, description="Header elements of every instance.")
    series: SeriesCases = Field(description="Its series, at least one.")
    priors: tuple[PriorCase, ...] = Field((), description="Earlier studies of the patient that the node holds.")
    completeness: Completeness = Field(Completeness.COMPLETE, description="`complete`, `incomplete` or `late`.")
    runs: tuple[str, ...] | None = Field(None, description="Every rule that runs; default: those of `rules` with outcome run.")
    rules: dict[Name, WantedRule] = Field({}, description="What single rules must do.")
    held_by: str | None = Field(None, description="Hold rule that keeps the study.")
    quarantined: bool = Field(default=False, description="The study mixes patients: nothing runs.")

    @property
    def wanted_runs(self) -> tuple[str, ...]:
        """Every rule that must run."""
        if self.runs is not None:
            return self.runs
        return tuple(name for name, rule in self.rules.items() if rule.outcome is Outcome.RUN)


class CasesFile(Section):
    """The whole of rules.test.yaml."""

    cases: tuple[RuleCase, ...] = Field(description="Studies and what the rules must make of them.")


def series_names(series: tuple[SeriesCase, ...]) -> tuple[str, ...]:
    """Name the series of a study, those without a name by their number."""
    return tuple(s.name or str(number) for number, s in enumerate(series, start=1))


def prior_names(case: RuleCase) -> tuple[str, ...]:
    """Name the earlier studies of a case."""
    return tuple(prior.name or f"prior-{number}" for number, prior in enumerate(case.priors, start=1))
