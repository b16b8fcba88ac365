"""The completeness state machine.

Rules:
1. Quiet is measured from the last instance of any series of the study.
2. max_wait is measured from the first instance of the revision, and closes the study whatever still arrives.
3. A study leaves exactly once per revision; the next instance opens the next revision.
4. No clock here: `now` comes in. The order in which arrivals are told does not matter, only their times.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dicom_node.domain.instances import Attributes
from dicom_node.domain.matching import meets
from dicom_node.domain.rules import CompleteWhen, Rule
from dicom_node.domain.studies import ClosedBecause


@dataclass(slots=True)
class _Waiting:
    first_at: datetime
    last_at: datetime
    condition: CompleteWhen | None

    def deadline(self) -> tuple[datetime, ClosedBecause] | None:
        if self.condition is None:
            return None
        quiet, limit = self.last_at + self.condition.quiet, self.first_at + self.condition.max_wait
        return (quiet, ClosedBecause.QUIET) if quiet <= limit else (limit, ClosedBecause.MAX_WAIT)


class Assembly:
    """Studies that wait for completion."""

    def __init__(self) -> None:
        """Start with none."""
        self._waiting: dict[str, _Waiting] = {}

    def received(self, study_instance_uid: str, at: datetime) -> None:
        """Tell that an instance of a study arrived."""
        waiting = self._waiting.setdefault(study_instance_uid, _Waiting(at, at, None))
        waiting.first_at = min(waiting.first_at, at)
        waiting.last_at = max(waiting.last_at, at)

    def set_condition(self, study_instance_uid: str, condition: CompleteWhen) -> None:
        """Set when a waiting study is complete; a study without a condition waits."""
        if study_instance_uid in self._waiting:
            self._waiting[study_instance_uid].condition = condition

    def due(self, now: datetime) -> list[tuple[str, ClosedBecause]]:
        """Return the studies that are complete, the longest due first; they wait no longer."""
        deadlines = [(found, uid) for uid, waiting in self._waiting.items() if (found := waiting.deadline()) and found[0] <= now]
        for _, uid in deadlines:
            del self._waiting[uid]
        return [(uid, because) for (_, because), uid in sorted(deadlines)]

    def next_deadline(self) -> datetime | None:
        """Return when the next study may be complete, or None."""
        return min((found[0] for waiting in self._waiting.values() if (found := waiting.deadline())), default=None)


def combined_condition(rules: Iterable[Rule], headers: Sequence[Attributes], default: CompleteWhen) -> CompleteWhen:
    """Combine the conditions of the rules that may take a study: the longest quiet and the longest wait.

    Args:
        rules: All rules; hold rules wait for nothing.
        headers: One header per series that has arrived so far.
        default: For a study that no rule may take so far.
    """
    takers = [r.complete_when for r in rules if not r.hold and any(_may_take(r, header) for header in headers)]
    if not takers:
        return default
    return CompleteWhen(max(c.quiet for c in takers), max(c.max_wait for c in takers))


def _may_take(rule: Rule, header: Attributes) -> bool:
    return all(meets(c, header) for c in rule.match if c.keyword in header)
