"""Schema of rules.yaml, and its conversion to domain rules."""

from __future__ import annotations

import difflib
from datetime import timedelta
from functools import lru_cache

from pydantic import Field, field_validator, model_validator
from pydicom._dicom_dict import DicomDictionary

from dicom_node.config.section import Section
from dicom_node.config.values import Duration, Name
from dicom_node.domain.rules import CompleteWhen, Condition, Equals, Rule

ASSOCIATION_KEYWORDS = ("CallingAET", "CalledAET")
"""What a rule may ask for beside DICOM keywords: who sent, and under which of the node's titles."""


class CompleteWhenSection(Section):
    """When a study counts as complete for a rule."""

    quiet: Duration = Field(timedelta(seconds=60), description="No instance of the study arrived for this long.")
    max_wait: Duration = Field(timedelta(minutes=30), description="At the latest this long after the first instance.")

    @model_validator(mode="after")
    def _check_order(self) -> CompleteWhenSection:
        if self.max_wait < self.quiet:
            raise ValueError("max_wait is shorter than quiet: the study would never be quiet long enough")
        return self


class RuleSection(Section):
    """One rule."""

    name: Name = Field(description="Name in lists, traces and job keys.")
    match: dict[str, str | int | float | list[str | int | float]] = Field(
        description="DICOM keywords and the values wanted; `!VALUE` excludes."
    )
    complete_when: CompleteWhenSection = Field(default_factory=CompleteWhenSection, description="When the study is complete.")
    hold: bool = Field(default=False, description="Keep matching studies from all models.")
    model: str = Field("", description="Name of the model bundle to run.")
    send_to: tuple[str, ...] = Field((), description="Names of destinations.")

    @field_validator("match")
    @classmethod
    def _check_keywords(cls, value: dict[str, object]) -> dict[str, object]:
        if not value:
            raise ValueError("an empty match would take every study; name at least one keyword")
        problems = [problem for keyword in value if (problem := keyword_problem(keyword))]
        if problems:
            raise ValueError("; ".join(problems))
        return value

    @model_validator(mode="after")
    def _check_purpose(self) -> RuleSection:
        if self.hold and (self.model or self.send_to):
            raise ValueError("a hold rule keeps studies from all models: leave model and send_to out")
        if not self.hold and not self.model:
            raise ValueError("model is missing (or hold: true, to keep matching studies from all models)")
        return self

    def to_rule(self) -> Rule:
        """Convert to the domain's rule."""
        conditions = tuple(_condition(keyword, wanted) for keyword, wanted in self.match.items())
        complete = CompleteWhen(self.complete_when.quiet, self.complete_when.max_wait)
        return Rule(self.name, conditions, complete, self.hold, self.model, self.send_to)


class RulesFile(Section):
    """The whole of rules.yaml."""

    rules: tuple[RuleSection, ...] = Field(description="All rules; hold rules first. Every rule that matches fires.")


def keyword_problem(keyword: str) -> str:
    """Say what is wrong with a match keyword, with the nearest known ones; empty if nothing is."""
    if keyword in ASSOCIATION_KEYWORDS or keyword in _keywords():
        return ""
    by_case = {k.lower(): k for k in (*_keywords(), *ASSOCIATION_KEYWORDS)}
    near = difflib.get_close_matches(keyword.lower(), by_case, n=1, cutoff=0.7)
    return f"{keyword!r} is no DICOM keyword" + (f", did you mean {by_case[near[0]]!r}?" if near else "")


@lru_cache(maxsize=1)
def _keywords() -> frozenset[str]:
    return frozenset(entry[4] for entry in DicomDictionary.values() if entry[4])


def _condition(keyword: str, wanted: str | float | list[str | int | float]) -> Condition:
    texts = [str(w).strip() for w in (wanted if isinstance(wanted, list) else [wanted])]
    return Condition(
        keyword,
        tuple(Equals(t) for t in texts if not t.startswith("!")),
        tuple(Equals(t[1:].strip()) for t in texts if t.startswith("!")),
    )
