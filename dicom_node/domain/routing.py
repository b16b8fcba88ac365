"""What routing decides, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dicom_node.domain.rules import Priority
from dicom_node.domain.studies import Study


class Outcome(StrEnum):
    """What a rule did with a study."""

    RUN = "run"
    HOLD = "hold"
    NO_MATCH = "no-match"
    HELD_BACK = "held-back"
    WAITS = "waits"
    """The study is not complete for this rule yet."""
    INCOMPLETE = "incomplete"
    """The longest wait is over and the rule does not run on what there is."""
    UNFIT = "unfit"
    """An input is missing or no series fits it."""
    LATE = "late"
    """The rule has run and ignores what came later."""
    INACTIVE = "inactive"
    """Outside the time for which the rule is scheduled."""
    AFTER = "after"
    """The rule waits for the result of a model."""
    QUARANTINED = "quarantined"
    """The study mixes patients."""


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
    """How one series fared against one input of a rule.

    Attributes:
        selected_instances: Instances that met every condition.
        reason: One sentence: chosen, or why not.
        study_instance_uid: Of a prior; empty for the study itself.
        series_number: As people know the series; None if it has none.
    """

    series_instance_uid: str
    instances: int
    selected_instances: int
    conditions: tuple[ConditionTrace, ...]
    reason: str
    study_instance_uid: str = ""
    series_number: int | None = None


@dataclass(frozen=True, slots=True)
class InputTrace:
    """Which series an input got, and how the others lost."""

    name: str
    reason: str
    series: tuple[SeriesTrace, ...]


@dataclass(frozen=True, slots=True)
class RuleTrace:
    """Why a rule did what it did."""

    rule: str
    outcome: Outcome
    reason: str
    inputs: tuple[InputTrace, ...]


@dataclass(frozen=True, slots=True)
class JobInput:
    """The instances that a job gets for one input.

    Attributes:
        study_instance_uid: The study's own, or a prior's.
    """

    name: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """One model run that the rules ask for, or received images that they send on, or both.

    Attributes:
        model: Empty: no run.
        inputs: The first is the one that results refer to; never empty.
        shadow: Results are kept and not sent.
        replaces: Results take the place of those of the rule's earlier run on the study.
        forward_to: Destinations that get received images unchanged.
        forward: Those images, by series.
    """

    rule: str
    model: str
    inputs: tuple[JobInput, ...]
    send_to: tuple[str, ...]
    priority: Priority = Priority.NORMAL
    shadow: bool = False
    replaces: bool = False
    forward_to: tuple[str, ...] = ()
    forward: tuple[JobInput, ...] = ()


@dataclass(frozen=True, slots=True)
class Routing:
    """The answer of the rules for one study revision: what runs, and a trace for every rule.

    Attributes:
        quarantined_because: Why nothing may run at all; empty otherwise.
        hold_reason: Which rule keeps an incomplete study, and what is missing; empty otherwise.
    """

    decisions: tuple[RouteDecision, ...]
    traces: tuple[RuleTrace, ...]
    held_by: str | None
    quarantined_because: str = ""
    hold_reason: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a rule stands with a study at the moment of a decision; rules without one are due and complete.

    Attributes:
        due: Decide now; otherwise the trace says `waits` with `reason`, or `late` if `ran_on` and the rule ignores late instances.
        complete: The conditions of `complete_when` are met; False after the longest wait.
        reason: What completed it, what it waits for, or what is missing; no patient data.
        ran_on: Last revision that the rule has run on; 0: none.
    """

    due: bool
    complete: bool = True
    reason: str = ""
    ran_on: int = 0


@dataclass(frozen=True, slots=True)
class PriorSearch:
    """What was found for an input with `prior`.

    Attributes:
        studies: Newest first; only those that the node holds.
        finished: Nothing more will come: found and fetched, not found, or out of time.
        reason: How it went; no patient data.
    """

    rule: str
    input: str
    studies: tuple[Study, ...]
    finished: bool
    reason: str
