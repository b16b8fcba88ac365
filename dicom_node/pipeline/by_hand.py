"""Decisions that an operator asks for: what is decided, and what would come of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from dicom_node.assembly import NOBODY, Due, DueRule, Waiting
from dicom_node.config import Configuration
from dicom_node.domain.routing import Routing
from dicom_node.domain.studies import ClosedBecause, Study
from dicom_node.pipeline.closing import AvailableModel, Closing, Occasion
from dicom_node.storage import fetches, queries, revisions

REASON = "run by hand"


@dataclass(frozen=True, slots=True)
class Preview:
    """What a decision now would be.

    Attributes:
        study: As it is now.
        is_new_revision: Pending instances would be closed into it.
        rules: Those that would decide.
        jobs: By rule that would run: the job that exists already for this revision; None: a new one.
    """

    study: Study
    is_new_revision: bool
    rules: tuple[str, ...]
    routing: Routing
    jobs: Mapping[str, int | None]

    @property
    def changes_something(self) -> bool:
        """A revision, a job or a decision would come of it that is not there yet."""
        return self.is_new_revision or None in self.jobs.values() or len(self.jobs) < len(self.rules)


def due_by_hand(configuration: Configuration, study_instance_uid: str, rule: str, awaited: Collection[str]) -> Due:
    """Name the rules that decide: the one that is asked for, or those that wait, or all.

    Args:
        configuration: With the rules.
        study_instance_uid: Of the study.
        rule: Empty: none in particular.
        awaited: Rules that wait for the study.
    """
    every = [r.name for r in configuration.rules if not r.hold and r.after is None] or [NOBODY]
    rules = [rule] if rule else sorted(awaited) or every
    return Due(study_instance_uid, tuple(DueRule(name, ClosedBecause.MANUAL, complete=True, reason=REASON) for name in rules))


def preview(  # noqa: PLR0913 - what an operator says
    session: Session,
    configuration: Configuration,
    models: Mapping[str, AvailableModel],
    summary: queries.StudySummary,
    now: datetime,
    *,
    rule: str = "",
    even_held: bool = False,
) -> Preview:
    """Say what would come of deciding now; nothing is written."""
    uid, closing = summary.study_instance_uid, Closing(configuration, models)
    waits = {w["rule"]: w for w in summary.waits}
    due = due_by_hand(configuration, uid, rule, waits)
    deciding = tuple(r.rule for r in due.rules)
    waiting: Sequence[Waiting] = [
        Waiting(name, w["reason"], datetime.fromisoformat(w["until"])) for name, w in waits.items() if name not in deciding
    ]
    is_new = any(arrived.revision is None for arrived in revisions.arrivals(session, uid))
    occasion = Occasion(due, waiting, fetches.prior_searches(session, uid), even_held=even_held)
    study, routing = closing.preview(session, occasion, now, is_new=is_new)
    jobs = {d.rule: closing.existing_job(session, study, d) for d in routing.decisions if is_new or d.rule in deciding}
    return Preview(study, is_new, deciding, routing, jobs)
