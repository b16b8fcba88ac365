"""Routing rules as the node uses them; `config` makes them from rules.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Equals:
    """The value is this text; numbers, dates, times and ages compare as what they mean, by the VR of the element."""

    text: str


@dataclass(frozen=True, slots=True)
class Matches:
    """The value contains a match of this RE2 pattern."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Within:
    """The value lies in a range of numbers, dates, times or ages; a bound that is None is open.

    A bound is the whole of what it names: `<=2024` holds all of that year, `>2024` begins after it.

    Attributes:
        low_included: The range holds `low` itself.
        high_included: The range holds `high` itself.
    """

    low: str | None
    high: str | None
    low_included: bool = True
    high_included: bool = True


Test: TypeAlias = Equals | Matches | Within
"""What one value of an element can be asked."""


class Presence(StrEnum):
    """Whether an element must have a value, or must have none (absent and empty are one)."""

    PRESENT = "present"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of a `match`: a keyword and its alternatives; those in `none_of` start with `!` in the file.

    A condition holds when any value of the element passes one of `any_of`, and none passes one of `none_of`.
    """

    keyword: str
    any_of: tuple[Test, ...] = ()
    none_of: tuple[Test, ...] = ()
    presence: Presence | None = None


class OnIncomplete(StrEnum):
    """What a rule does with a study that is not complete after the longest wait."""

    RUN = "run"
    SKIP = "skip"
    HOLD = "hold"


class OnLate(StrEnum):
    """What a rule that has decided does with instances that come later."""

    IGNORE = "ignore"
    RUN = "run"
    REPLACE = "replace"


class OnEmpty(StrEnum):
    """What a rule does with a result that says that nothing was analysed, or that nothing was found."""

    REPORT = "report"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class CompleteWhen:
    """When a study counts as complete for a rule.

    `slots`, `expected_count` and `availability` are proofs: where one is named, silence alone completes nothing; all that are named
    must hold.

    Attributes:
        quiet: No instance of any series of the study arrived for this long; None: as `domain.waits` says for its modalities.
        max_wait: At the latest this long after the first instance that the rule has not decided on; then `on_incomplete` decides.
            None: as above.
        release: This long after the last association that brought part of it ended, whatever `quiet` says; None: not used.
        slots: All inputs of the rule are there, and the study is quiet.
        expected_count: Query source that is asked how many instances the study has; empty: not asked.
        availability: Every instance that an Instance Availability Notification announced has arrived.
        fetch_missing: Query source that missing instances are fetched from; empty: not fetched.
    """

    quiet: timedelta | None = None
    max_wait: timedelta | None = None
    release: timedelta | None = None
    slots: bool = False
    expected_count: str = ""
    availability: bool = False
    on_incomplete: OnIncomplete = OnIncomplete.RUN
    fetch_missing: str = ""

    @property
    def wants_proof(self) -> bool:
        """Silence is not enough."""
        return self.slots or bool(self.counted_at) or self.availability

    @property
    def counted_at(self) -> str:
        """Query source whose count is a proof; `fetch_missing` without another proof needs one to know what is missing."""
        return self.expected_count or ("" if self.slots or self.availability else self.fetch_missing)


class Orientation(StrEnum):
    """The plane of slices, by the axis that their normal is nearest to."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


class Preference(StrEnum):
    """Which of several series that fit an input is taken."""

    THINNEST = "thinnest"
    NEWEST = "newest"
    MOST_INSTANCES = "most_instances"


class OnMissing(StrEnum):
    """What a rule does without a prior: run without it, not run, or wait for one until `max_wait`."""

    RUN = "run"
    SKIP = "skip"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Prior:
    """An input that comes from an earlier study of the patient.

    Attributes:
        within: How long before the current study, at most.
        same: Keywords whose values must agree with the current study's.
        most: How many earlier studies are taken, newest first.
        source: Query source it may be fetched from; empty: only what the node holds.
        timeout: How long finding and fetching may take.
    """

    within: timedelta
    same: tuple[str, ...] = ()
    most: int = 1
    source: str = ""
    timeout: timedelta = timedelta(minutes=5)
    on_missing: OnMissing = OnMissing.RUN


@dataclass(frozen=True, slots=True)
class InputSlot:
    """A named input of a rule: one series (of the study, or of priors) and what it must be.

    Attributes:
        match: Beside the rule's own `match`; an input with `prior` is asked this one only.
        max_instances: A series with more does not fit; None: no limit.
        orientation: None: any.
        min_spacing_mm: Smallest distance between neighbouring slices; None: any.
        max_spacing_mm: Largest distance between neighbouring slices; None: any.
        prefer: Asked in turn while several series are equal; then most instances, lowest Series Number, Series Instance UID.
        optional: The rule runs without it.
    """

    name: str
    match: tuple[Condition, ...] = ()
    min_instances: int = 1
    max_instances: int | None = None
    orientation: Orientation | None = None
    min_spacing_mm: float | None = None
    max_spacing_mm: float | None = None
    prefer: tuple[Preference, ...] = (Preference.MOST_INSTANCES,)
    prior: Prior | None = None
    optional: bool = False


class Priority(StrEnum):
    """The order of jobs; off-peak ones wait for their hours."""

    STAT = "stat"
    NORMAL = "normal"
    OFF_PEAK = "off-peak"


class SeriesCheck(StrEnum):
    """What is looked for in a series of slices before a model gets it."""

    GAPS = "gaps"
    DUPLICATES = "duplicates"
    ORIENTATION = "orientation"


@dataclass(frozen=True, slots=True)
class After:
    """A rule that follows the result of a model.

    Attributes:
        when: CEL expression over `result`; empty: every result.
    """

    model: str
    when: str = ""


class RuleEvent(StrEnum):
    """What a rule may have told."""

    RESULT = "result"
    CRITICAL = "critical"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Notify:
    """What a rule asks for.

    Attributes:
        to: Names of receivers.
        when: With `critical`: CEL expression over `result`; empty otherwise.
    """

    event: RuleEvent
    to: tuple[str, ...]
    when: str = ""


SINGLE_INPUT = InputSlot("image")
"""The input of a rule that names none: the series with the most instances that meet its `match`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A routing rule. A hold rule has no model and keeps the study from all models, visibly.

    Attributes:
        when: CEL expression over the header of each instance, beside `match`; empty: none.
        inputs: Named series; never empty (`SINGLE_INPUT`).
        shadow: Results are kept and not sent.
        active_from: Before this moment the rule takes nothing; None: always.
        active_until: From this moment on it takes nothing; None: for ever.
        model: Empty for a hold rule, for one that only sends the result it comes `after` elsewhere, and for one that only forwards.
        forward_to: Destinations that get the received images unchanged.
        on_not_analysed: Whether a result that says why nothing was analysed is sent, or stays on the node.
        on_no_finding: The same of one that says that nothing was found.
    """

    name: str
    match: tuple[Condition, ...]
    complete_when: CompleteWhen
    hold: bool
    model: str
    send_to: tuple[str, ...]
    when: str = ""
    inputs: tuple[InputSlot, ...] = (SINGLE_INPUT,)
    checks: tuple[SeriesCheck, ...] = tuple(SeriesCheck)
    priority: Priority = Priority.NORMAL
    shadow: bool = False
    active_from: datetime | None = None
    active_until: datetime | None = None
    on_late: OnLate = OnLate.RUN
    after: After | None = None
    notify: tuple[Notify, ...] = ()
    forward_to: tuple[str, ...] = ()
    on_not_analysed: OnEmpty = OnEmpty.REPORT
    on_no_finding: OnEmpty = OnEmpty.REPORT
