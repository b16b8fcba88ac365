"""What routing decides, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of a rule's `match`: a keyword and its alternatives; `negated` ones start with `!` in the file.

    A condition holds when any value of the element equals one of `any_of`, and none equals one of `none_of`.
    """

    keyword: str
    any_of: tuple[str, ...]
    none_of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CompleteWhen:
    """When a study counts as complete.

    Attributes:
        quiet: No instance of any series of the study arrived for this long.
        max_wait: At the latest this long after the first instance of the revision.
    """

    quiet: timedelta
    max_wait: timedelta


@dataclass(frozen=True, slots=True)
class Rule:
    """A routing rule. A hold rule has no model and keeps the study from all models, visibly."""

    name: str
    match: tuple[Condition, ...]
    complete_when: CompleteWhen
    hold: bool
    model: str
    send_to: tuple[str, ...]


class Outcome(StrEnum):
    """What a rule did with a study."""

    RUN = "run"
    HOLD = "hold"
    NO_MATCH = "no-match"
    HELD_BACK = "held-back"


@dataclass(frozen=True, slots=True)
class ConditionTrace:
    """What one condition saw in one series.

    Attributes:
        matched_instances: How many of the series' instances met the condition.
        seen: The distinct values seen (at most ten), each as text; contains patient data if the keyword does.
    """

    keyword: str
    wanted: str
    seen: tuple[str, ...]
    matched_instances: int


@dataclass(frozen=True, slots=True)
class SeriesTrace:
    """How one series fared against one rule.

    Attributes:
        selected_instances: Instances that met every condition.
        reason: One sentence: chosen, or why not.
    """

    series_instance_uid: str
    instances: int
    selected_instances: int
    conditions: tuple[ConditionTrace, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class RuleTrace:
    """Why a rule did what it did."""

    rule: str
    outcome: Outcome
    reason: str
    series: tuple[SeriesTrace, ...]


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """One model run that the rules ask for."""

    rule: str
    model: str
    series_instance_uid: str
    sop_instance_uids: tuple[str, ...]
    send_to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Routing:
    """The answer of the rules for one study revision: what runs, and a trace for every rule."""

    decisions: tuple[RouteDecision, ...]
    traces: tuple[RuleTrace, ...]
    held_by: str | None
