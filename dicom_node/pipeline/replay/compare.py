"""What would change for a study under other rules, and the count of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from dicom_node.domain.routing import RouteDecision, Routing


class ChangeKind(StrEnum):
    """How a rule's decision on a study differs."""

    NEW = "new"
    LOST = "lost"
    OTHER_MODEL = "other model"
    OTHER_DESTINATION = "other destination"
    OTHER_SERIES = "other series"
    OTHER_INSTANCES = "other instances"
    OTHER_PRIORITY = "other priority"
    SHADOW = "shadow"
    """It is sent and would not be, or the other way round."""
    HELD = "held"
    """The hold rule would keep it."""
    RELEASED = "released"
    """The hold rule keeps it and would not."""


Change: TypeAlias = tuple[str, ChangeKind]
"""A rule, and how its decision differs."""


def changes(before: Routing, after: Routing) -> Iterator[Change]:
    """List what differs between two decisions on one study."""
    old, new = ({decision.rule: decision for decision in routing.decisions} for routing in (before, after))
    for rule, decision in new.items():
        if rule not in old:
            yield rule, ChangeKind.NEW
        else:
            yield from ((rule, kind) for kind in _of_decision(old[rule], decision))
    yield from ((rule, ChangeKind.LOST) for rule in old if rule not in new)
    if before.held_by != after.held_by:
        if before.held_by:
            yield before.held_by, ChangeKind.RELEASED
        if after.held_by:
            yield after.held_by, ChangeKind.HELD


def _of_decision(old: RouteDecision, new: RouteDecision) -> Iterator[ChangeKind]:
    if old.model != new.model:
        yield ChangeKind.OTHER_MODEL
    if set(old.send_to) != set(new.send_to) or set(old.forward_to) != set(new.forward_to):
        yield ChangeKind.OTHER_DESTINATION
    both_forward = bool(old.forward and new.forward)
    taken = [(*decision.inputs, *(decision.forward if both_forward else ())) for decision in (old, new)]
    if taken[0] != taken[1]:
        series = [[(i.name, i.series_instance_uid) for i in inputs] for inputs in taken]
        yield ChangeKind.OTHER_SERIES if series[0] != series[1] else ChangeKind.OTHER_INSTANCES
    if old.priority != new.priority:
        yield ChangeKind.OTHER_PRIORITY
    if old.shadow != new.shadow:
        yield ChangeKind.SHADOW


@dataclass(slots=True)
class Tally:
    """Counts over many studies.

    Attributes:
        studies: How many were decided on.
        changed: How many of them have a change.
        runs_before: By rule: studies that it runs on now.
        runs_after: The same under the other rules.
        changes: How often each change occurs.
        examples: Study Instance UIDs for each change, newest first; at most `most_examples`.
        by_other_rules: Studies whose last decision was made by other rules than those in force.
        unlike_then: Studies on which the rules in force, asked today, run otherwise than what was run then.
        unlike_examples: Study Instance UIDs of such.
    """

    most_examples: int
    studies: int = 0
    changed: int = 0
    by_other_rules: int = 0
    unlike_then: int = 0
    runs_before: Counter[str] = field(default_factory=Counter)
    runs_after: Counter[str] = field(default_factory=Counter)
    changes: Counter[Change] = field(default_factory=Counter)
    examples: dict[Change, list[str]] = field(default_factory=dict)
    unlike_examples: list[str] = field(default_factory=list)

    def add(self, study_instance_uid: str, before: Routing, after: Routing) -> None:
        """Count one study."""
        self.studies += 1
        self.runs_before.update(decision.rule for decision in before.decisions)
        self.runs_after.update(decision.rule for decision in after.decisions)
        found = list(changes(before, after))
        self.changed += bool(found)
        for change in found:
            self.changes[change] += 1
            self._exemplify(self.examples.setdefault(change, []), [study_instance_uid])

    def add_then(self, study_instance_uid: str, *, same_rules: bool, same_runs: bool) -> None:
        """Count how a study was decided when it arrived."""
        self.by_other_rules += not same_rules
        if not same_runs:
            self.unlike_then += 1
            self._exemplify(self.unlike_examples, [study_instance_uid])

    def merge(self, other: Tally) -> None:
        """Add the counts of older studies."""
        self.studies += other.studies
        self.changed += other.changed
        self.by_other_rules += other.by_other_rules
        self.unlike_then += other.unlike_then
        self.runs_before.update(other.runs_before)
        self.runs_after.update(other.runs_after)
        self.changes.update(other.changes)
        for change, uids in other.examples.items():
            self._exemplify(self.examples.setdefault(change, []), uids)
        self._exemplify(self.unlike_examples, other.unlike_examples)

    def _exemplify(self, known: list[str], uids: Iterable[str]) -> None:
        known.extend(uids)
        del known[self.most_examples :]
