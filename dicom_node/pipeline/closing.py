"""One decision: a revision, what the rules say about it, their traces, the jobs; within one transaction of the caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlmodel import Session

from dicom_node.assembly import NOBODY, Due, Waiting
from dicom_node.config import Configuration
from dicom_node.domain.jobs import Job, JobKey
from dicom_node.domain.routing import Outcome, PriorSearch, RouteDecision, Routing, Standing
from dicom_node.domain.rules import OnIncomplete, OnLate, OnMissing, Rule
from dicom_node.domain.studies import ClosedBecause, Study, StudyState
from dicom_node.inference import find_bundles
from dicom_node.jobs import queue
from dicom_node.pipeline.forwarding import forward, forward_key
from dicom_node.routing import decide
from dicom_node.storage import index, revisions
from dicom_node.storage.revisions import RuleHistory
from dicom_node.storage.tables import RevisionRow


@dataclass(frozen=True, slots=True)
class AvailableModel:
    """What routing needs to know of a model bundle."""

    version: str
    digest: str


def available_models(configuration: Configuration) -> dict[str, AvailableModel]:
    """Read which model bundles there are.

    Raises:
        ModelError: a bundle is at fault.
    """
    bundles = find_bundles(configuration.node.models_dir, configuration.bundles_dir)
    return {name: AvailableModel(bundle.manifest.version, bundle.digest) for name, bundle in bundles.items()}


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a decision is about.

    Attributes:
        due: Rules that decide now; `NOBODY` among them lets those decide that wait for nothing.
        waiting: Rules that still wait for the study.
        priors: What was found for inputs with `prior`.
        even_held: Hold rules are left out: an operator has released the study.
    """

    due: Due
    waiting: Sequence[Waiting] = ()
    priors: Sequence[PriorSearch] = ()
    even_held: bool = False


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of it.

    Attributes:
        is_new_revision: False: the rules decided later on the last one.
        still_wait: Rules that were due and wait for something else, such as a prior.
        jobs: Created now.
    """

    study: Study
    is_new_revision: bool
    routing: Routing
    state: StudyState
    reason: str
    still_wait: tuple[str, ...]
    jobs: tuple[Job, ...]


class Closing:
    """Decides by one configuration."""

    def __init__(self, configuration: Configuration, models: Mapping[str, AvailableModel]) -> None:
        """Take rules and models."""
        self._configuration = configuration
        self._rules = configuration.rules
        self._models = models

    def decide(self, session: Session, occasion: Occasion, now: datetime) -> Decided:
        """Freeze what is pending, or take the last revision; decide; write traces, state and jobs."""
        uid, because = occasion.due.study_instance_uid, occasion.due.rules[0].because
        row, last = revisions.study_row(session, uid), revisions.last_revision(session, uid)
        history = revisions.histories(session, uid)
        pending = any(a.revision is None for a in revisions.arrivals(session, uid))
        if pending or last is None:
            study = index.freeze(session, uid, now, because)
            record = revisions.new_revision(session, study, self._configuration.rules_digest)
        else:
            study = index.load_study(session, uid, last.revision, (last.closed_at, ClosedBecause(last.closed_because)))
            record = last
        is_new = record is not last
        routing = self._routing(study, occasion, history, is_new=is_new)
        spoke = self._speaking(occasion, routing, is_new=is_new)
        self._record(record, routing, spoke)
        patient = {rule.rule for rule in occasion.due.rules if rule.complete and rule.because is not ClosedBecause.MANUAL}
        still_wait = tuple(t.rule for t in routing.traces if t.rule in patient and t.outcome is Outcome.WAITS)
        state, reason = self._outcome(record, routing, {w.rule for w in occasion.waiting} | set(still_wait), because)
        index.change_study(session, row, state, now, reason)
        decisions = [d for d in routing.decisions if d.rule in spoke]
        created = [queue.create(session, self._new_job(study, decision), now) for decision in decisions if decision.model]
        created += [self._forward(session, study, decision, now) for decision in decisions if decision.forward_to]
        return Decided(study, is_new, routing, state, reason, still_wait, tuple(job for job in created if job is not None))

    def preview(self, session: Session, occasion: Occasion, now: datetime, *, is_new: bool) -> tuple[Study, Routing]:
        """Decide on the study as it is now, and write nothing.

        Args:
            session: Open transaction.
            occasion: See there.
            now: UTC.
            is_new: Pending instances would be frozen.
        """
        uid = occasion.due.study_instance_uid
        study = index.study_so_far(session, uid, now)
        return study, self._routing(study, occasion, revisions.histories(session, uid), is_new=is_new)

    def existing_job(self, session: Session, study: Study, decision: RouteDecision) -> int | None:
        """Return the job that a decision has led to already; the same key makes no second one."""
        if not decision.model:
            return queue.find(session, forward_key(study.study_instance_uid, study.revision, decision.rule))
        return queue.find(session, self._new_job(study, decision).key)

    def _routing(self, study: Study, occasion: Occasion, history: Mapping[str, RuleHistory], *, is_new: bool) -> Routing:
        rules = self._rules
        if occasion.even_held:
            rules = tuple(rule for rule in rules if not rule.hold)
        if occasion.due.rules[0].because is ClosedBecause.MANUAL:
            rules = tuple(map(_impatient, rules))
        return decide(rules, study, self._standings(occasion, history, is_new=is_new), occasion.priors)

    def _standings(self, occasion: Occasion, history: Mapping[str, RuleHistory], *, is_new: bool) -> dict[str, Standing]:
        due = {rule.rule: rule for rule in occasion.due.rules}
        waiting = {w.rule: w.reason for w in occasion.waiting}
        standings = {}
        for rule in self._rules:
            if rule.hold or rule.after is not None:
                continue
            ran_on = history[rule.name].ran_on if rule.name in history else 0
            if rule.name in due:
                standing = Standing(due=True, complete=due[rule.name].complete, reason=due[rule.name].reason, ran_on=ran_on)
            elif rule.name in waiting:
                standing = Standing(due=False, complete=False, reason=waiting[rule.name], ran_on=ran_on)
            elif not is_new:
                standing = Standing(due=False, reason="has decided on this revision", ran_on=ran_on)
            elif ran_on and rule.on_late is OnLate.IGNORE:
                standing = Standing(due=False, reason=f"ran on revision {ran_on}", ran_on=ran_on)
            else:
                standing = Standing(due=True, reason=occasion.due.rules[0].reason, ran_on=ran_on)
            standings[rule.name] = standing
        return standings

    def _speaking(self, occasion: Occasion, routing: Routing, *, is_new: bool) -> set[str]:
        """Name the rules whose traces count: all on a new revision, on the last one those that had not decided on it."""
        if is_new:
            return {trace.rule for trace in routing.traces}
        ends = routing.quarantined_because or routing.held_by
        holding = {rule.name for rule in self._rules if rule.hold}
        return self._deciding(occasion) | ({w.rule for w in occasion.waiting} | holding if ends else set())

    def _deciding(self, occasion: Occasion) -> set[str]:
        return {rule.rule for rule in occasion.due.rules} - {NOBODY}

    def _record(self, record: RevisionRow, routing: Routing, spoke: set[str]) -> None:
        revisions.replace_traces(record, [trace for trace in routing.traces if trace.rule in spoke])
        record.held_by = routing.held_by
        record.rules_digest = self._configuration.rules_digest

    def _outcome(self, record: RevisionRow, routing: Routing, still: set[str], because: ClosedBecause) -> tuple[StudyState, str]:
        if routing.quarantined_because:
            return StudyState.QUARANTINED, routing.quarantined_because
        if routing.held_by:
            return StudyState.HELD, f"held by rule {routing.held_by}"
        text = f"revision {record.revision} closed: {because}"
        if still:
            return StudyState.RECEIVING, f"{text}; still waiting: {_names(still)}"
        if kept := self._kept_incomplete(record):
            return StudyState.HELD, kept
        if not any(trace["outcome"] in (Outcome.RUN, Outcome.HOLD, Outcome.LATE) for trace in record.traces):
            text += "; no rule takes it, `studies show` says why"
        return StudyState.CLOSED, text

    def _kept_incomplete(self, record: RevisionRow) -> str:
        """Say which rule keeps the study because something is missing; its trace says so until it decides otherwise."""
        holding = {r.name for r in self._rules if not r.hold and r.complete_when.on_incomplete is OnIncomplete.HOLD}
        for trace in record.traces:
            if trace["rule"] in holding and trace["outcome"] in (Outcome.INCOMPLETE, Outcome.HOLD):
                return f"incomplete for rule {trace['rule']}: {trace['reason']}"
        return ""

    def _forward(self, session: Session, study: Study, decision: RouteDecision, now: datetime) -> Job | None:
        key = forward_key(study.study_instance_uid, study.revision, decision.rule)
        return forward(session, self._configuration, key, decision, now)

    def _new_job(self, study: Study, decision: RouteDecision) -> queue.NewJob:
        model = self._models[decision.model]
        key = JobKey(study.study_instance_uid, study.revision, decision.rule, model.digest)
        return queue.NewJob(key, decision, model.version, self._configuration.workers.max_attempts)


def _impatient(rule: Rule) -> Rule:
    """Let a rule run without a prior that it would wait for."""
    if not any(slot.prior and slot.prior.on_missing is OnMissing.WAIT for slot in rule.inputs):
        return rule
    inputs = (replace(slot, prior=replace(slot.prior, on_missing=OnMissing.RUN)) if slot.prior else slot for slot in rule.inputs)
    return replace(rule, inputs=tuple(inputs))


def _names(rules: set[str]) -> str:
    return ", ".join(sorted(rule or "default" for rule in rules))
