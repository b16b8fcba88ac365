"""Which rules take a study, with which series, and why.

What a rule is asked, in this order; the first that stops it is its outcome, so that an outcome says that all before it was met:

1. quarantined: the study mixes patients. Stops every rule.
2. inactive: the study closed outside the rule's schedule.
3. no-match: no instance meets `match` and `when`.
4. hold: a hold rule that got so far; `match`, `when` and the schedule are all it is asked.
5. held-back: a hold rule holds the study.
6. waits, late: the study is not complete for this rule, or the rule ignores what came after its run.
7. incomplete: the longest wait is over, and `on_incomplete` is skip or hold.
8. unfit: an input that is not optional gets no series.
9. waits, unfit: a prior is searched, or is not there and `on_missing` is wait or skip.
10. after: the rule follows a result that has not come, or did not meet `after.when`.
11. run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from dicom_node.domain.jobs import FORWARD
from dicom_node.domain.routing import (
    ConditionTrace,
    InputTrace,
    JobInput,
    Outcome,
    PriorSearch,
    RouteDecision,
    Routing,
    RuleTrace,
    Standing,
)
from dicom_node.domain.rules import SINGLE_INPUT, OnIncomplete, OnLate, OnMissing, Rule
from dicom_node.domain.studies import Study, StudyColumns
from dicom_node.routing.inputs import Choice, choose, job_input, series_trace
from dicom_node.routing.patients import mixed_patients
from dicom_node.routing.preference import Candidate
from dicom_node.routing.priors import Current, PriorChoice, choose_priors
from dicom_node.routing.rule_set import ReadyRule, RuleSet, Selection, ready
from dicom_node.routing.view import SeriesView, StudyView
from dicom_node.routing.wording import counted, listed

_IN_FORCE = Standing(due=True)
MATCH = "match"
"""Name in a trace for the `match` and `when` of a rule that no input was examined of."""


def decide(
    rules: Sequence[Rule] | RuleSet,
    study: Study | StudyView,
    standings: Mapping[str, Standing] | None = None,
    priors: Sequence[PriorSearch] = (),
    followed: Collection[str] = (),
) -> Routing:
    """Apply the rules to a closed revision.

    Every rule is decided by itself, but for hold rules: while one holds the study, no other runs. The order in which series and
    instances arrived changes no decision.

    Args:
        rules: A tuple is made ready once as long as the same tuple is given, a `RuleSet` never again.
        study: What has arrived, own results left out; a `StudyView` of it where several sets of rules are asked.
        standings: By the name of the rule; a rule without one is due and complete. Hold rules ask for none.
        priors: One for each input with `prior`. Without, or while it is not finished, the rule waits: ask again when it is. One that
            is finished without a study that fits, of an input with `on_missing: wait`, waits as well, until a standing says that the
            study is not complete (the longest wait is over) and `on_incomplete` is run.
        followed: Rules whose `after` is met.

    Returns:
        A trace for every rule, in their order; the decisions. A rule without model decides with an empty `model`: it only sends the
        result that it follows, or forwards images.
    """
    rule_set, view = ready(rules), study if isinstance(study, StudyView) else StudyView(study)
    view.forget_answers()
    if fault := mixed_patients(view):
        traces = tuple(RuleTrace(r.rule.name, Outcome.QUARANTINED, fault, ()) for r in rule_set.rules)
        return Routing((), traces, None, quarantined_because=fault)
    case = _Case(rule_set, view, standings or {}, {(p.rule, p.input): p for p in priors}, followed)
    matches = [[rule_set.select(r.tests, series) for series in view.series] for r in rule_set.rules]
    held_by = next((r.rule.name for r, found in zip(rule_set.rules, matches, strict=True) if _holds(r.rule, view.study, found)), None)
    decided = [_decide(case, r, found, held_by) for r, found in zip(rule_set.rules, matches, strict=True)]
    decisions = tuple(d.decision for d in decided if d.decision is not None)
    hold_reason = next((d.hold_reason for d in decided if d.hold_reason), "")
    return Routing(decisions, tuple(d.trace for d in decided), held_by, hold_reason=hold_reason)


def decisions(rule_set: RuleSet, view: StudyView) -> Routing:
    """Decide as `decide` does on a study that is complete and has no priors, with traces only of rules that match: much faster.

    Views may be asked again by rule sets that share their tests.
    """
    if fault := mixed_patients(view):
        return Routing((), (), None, quarantined_because=fault)
    case = _Case(rule_set, view, {}, {}, ())
    matching = [r for r in rule_set.rules if any(rule_set.meets(r.tests, series) for series in view.series)]
    held_by = next((r.rule.name for r in matching if r.rule.hold and not _inactive(r.rule, view.study)), None)
    if held_by is not None:
        return Routing((), (), held_by)
    decided = [_decide(case, r, [rule_set.select(r.tests, series) for series in view.series], None) for r in matching]
    return Routing(tuple(d.decision for d in decided if d.decision is not None), tuple(d.trace for d in decided), None)


def missing_inputs(rules: Sequence[Rule] | RuleSet, study: Study) -> dict[str, str]:
    """Say for each rule that matches a study which input it lacks, empty if none; optional ones and priors are not waited for.

    This is what `complete_when.slots` asks. Hold rules, and rules that match nothing yet, are left out.
    """
    rule_set, view = ready(rules), StudyView(study)
    missing = {}
    for r in rule_set.rules:
        found = [rule_set.select(r.tests, series) for series in view.series]
        if not r.rule.hold and any(instances for instances, _ in found):
            missing[r.rule.name] = choose(rule_set, r, view, found).missing
    return missing


@dataclass(frozen=True, slots=True)
class _Case:
    """Everything that is known of a study."""

    rule_set: RuleSet
    view: StudyView
    standings: Mapping[str, Standing]
    priors: Mapping[tuple[str, str], PriorSearch]
    followed: Collection[str]


@dataclass(frozen=True, slots=True)
class _Decided:
    trace: RuleTrace
    decision: RouteDecision | None = None
    hold_reason: str = ""


@dataclass(frozen=True, slots=True)
class _PriorAnswer:
    """What became of the inputs with `prior`; an outcome other than None stops the rule."""

    choices: Mapping[str, PriorChoice]
    outcome: Outcome | None
    reason: str


def _holds(rule: Rule, study: Study | StudyColumns, found: Sequence[Selection]) -> bool:
    return rule.hold and not _inactive(rule, study) and any(instances for instances, _ in found)


def _decide(case: _Case, r: ReadyRule, found: Sequence[Selection], held_by: str | None) -> _Decided:
    rule, standing = r.rule, case.standings.get(r.rule.name, _IN_FORCE)
    stop = _stopped(rule, case.view.study, found, held_by) or (_standing_stops(rule, standing) if not rule.hold else None)
    if stop is not None:
        return _stopped_with(rule, standing, stop, _match_trace(case.view, found))
    choice = choose(case.rule_set, r, case.view, found)
    if choice.missing:
        return _Decided(RuleTrace(rule.name, Outcome.UNFIT, choice.missing, choice.traces))
    priors = _priors(case, r, choice, standing)
    traces = _in_order(rule, choice, priors)
    if priors.outcome is not None:
        return _Decided(RuleTrace(rule.name, priors.outcome, priors.reason, traces))
    inputs = _job_inputs(rule, case.view.study, choice, priors)
    if not any(i.study_instance_uid == case.view.study.study_instance_uid for i in inputs):
        return _Decided(RuleTrace(rule.name, Outcome.UNFIT, "no input got a series of the study itself", traces))
    if rule.after is not None and rule.name not in case.followed:
        return _Decided(RuleTrace(rule.name, Outcome.AFTER, _after_text(rule), traces))
    decision = RouteDecision(
        rule.name,
        rule.model,
        inputs,
        rule.send_to,
        rule.priority,
        rule.shadow,
        replaces=rule.on_late is OnLate.REPLACE and standing.ran_on > 0,
        forward_to=rule.forward_to,
        forward=_forwarded(rule, case.view, found, choice) if rule.forward_to else (),
    )
    return _Decided(RuleTrace(rule.name, Outcome.RUN, _run_text(decision, rule, priors, standing), traces), decision)


def _stopped(rule: Rule, study: Study | StudyColumns, found: Sequence[Selection], held_by: str | None) -> tuple[Outcome, str] | None:
    if inactive := _inactive(rule, study):
        return Outcome.INACTIVE, inactive
    if not any(instances for instances, _ in found):
        return Outcome.NO_MATCH, _no_match_text(found)
    if rule.hold:
        return Outcome.HOLD, "the study is kept from all models"
    if held_by:
        return Outcome.HELD_BACK, f"rule {held_by} holds the study"
    return None


def _standing_stops(rule: Rule, standing: Standing) -> tuple[Outcome, str] | None:
    if not standing.due:
        if standing.ran_on and rule.on_late is OnLate.IGNORE:
            return Outcome.LATE, f"ran on revision {standing.ran_on} and ignores what came later"
        return Outcome.WAITS, standing.reason or "the study is not complete for this rule"
    if not standing.complete and rule.complete_when.on_incomplete is not OnIncomplete.RUN:
        reason = standing.reason or "the longest wait is over"
        return (
            Outcome.INCOMPLETE,
            f"{reason}; the rule does not run on an incomplete study (on_incomplete: {rule.complete_when.on_incomplete})",
        )
    return None


def _stopped_with(rule: Rule, standing: Standing, stop: tuple[Outcome, str], traces: tuple[InputTrace, ...]) -> _Decided:
    outcome, reason = stop
    keeps = outcome is Outcome.INCOMPLETE and rule.complete_when.on_incomplete is OnIncomplete.HOLD
    hold_reason = f"rule {rule.name}: {standing.reason or 'the study is incomplete'}" if keeps else ""
    return _Decided(RuleTrace(rule.name, outcome, reason, traces), hold_reason=hold_reason)


def _inactive(rule: Rule, study: Study | StudyColumns) -> str:
    if rule.active_from is not None and study.closed_at < rule.active_from:
        return f"takes only studies that close from {rule.active_from.isoformat(' ', 'minutes')} on"
    if rule.active_until is not None and study.closed_at >= rule.active_until:
        return f"took only studies that closed before {rule.active_until.isoformat(' ', 'minutes')}"
    return ""


def _priors(case: _Case, r: ReadyRule, choice: Choice, standing: Standing) -> _PriorAnswer:
    current = Current(case.view, tuple(choice.chosen.values()))
    choices: dict[str, PriorChoice] = {}
    stops: dict[Outcome, str] = {}
    for one in r.priors:
        search = case.priors.get((r.rule.name, one.slot.name))
        found = choices[one.slot.name] = choose_priors(case.rule_set, one, r.checks, current, search)
        on_missing = one.slot.prior.on_missing if one.slot.prior else OnMissing.RUN
        reason = f"prior {one.slot.name}: {found.trace.reason}"
        if found.pending or (not found.inputs and on_missing is OnMissing.WAIT and standing.complete):
            stops.setdefault(Outcome.WAITS, reason)
        elif not found.inputs and on_missing is OnMissing.SKIP:
            stops.setdefault(Outcome.UNFIT, reason)
    outcome = next((o for o in (Outcome.UNFIT, Outcome.WAITS) if o in stops), None)
    return _PriorAnswer(choices, outcome, stops[outcome] if outcome else "")


def _in_order(rule: Rule, choice: Choice, priors: _PriorAnswer) -> tuple[InputTrace, ...]:
    traces = {trace.name: trace for trace in choice.traces} | {name: found.trace for name, found in priors.choices.items()}
    return tuple(traces[slot.name] for slot in rule.inputs)


def _job_inputs(rule: Rule, study: Study | StudyColumns, choice: Choice, priors: _PriorAnswer) -> tuple[JobInput, ...]:
    inputs: list[JobInput] = []
    for slot in rule.inputs:
        if slot.name in choice.chosen:
            inputs.append(job_input(slot.name, study.study_instance_uid, choice.chosen[slot.name]))
        elif slot.name in priors.choices:
            inputs += priors.choices[slot.name].inputs
    return tuple(inputs)


def _forwarded(rule: Rule, view: StudyView, found: Sequence[Selection], choice: Choice) -> tuple[JobInput, ...]:
    """Name what is forwarded: whole series, those of named inputs, or else every one with an instance that meets the rule's conditions."""
    series: Sequence[SeriesView]
    if rule.inputs == (SINGLE_INPUT,):
        series = [one for one, (instances, _) in zip(view.series, found, strict=True) if instances]
    else:
        series = [candidate.series for candidate in choice.chosen.values()]
    return tuple(job_input(FORWARD, view.study.study_instance_uid, Candidate(one, one.everything)) for one in series)


def _match_trace(view: StudyView, found: Sequence[Selection]) -> tuple[InputTrace, ...]:
    series = [series_trace(one, selection, "meets the rule's conditions") for one, selection in zip(view.series, found, strict=True)]
    return (InputTrace(MATCH, "", tuple(series)),)


def _no_match_text(found: Sequence[Selection]) -> str:
    """Name what the nearest series failed: the one that fails the fewest conditions."""
    nearest = min((_unmet(conditions) for _, conditions in found), key=len, default=None)
    if nearest is None:
        return "the study has no instances"
    if not nearest:
        return "each condition is met by some instance, but all of them by none"
    return f"{'the nearest series' if len(found) > 1 else 'the series'} does not meet {listed(nearest)}"


def _unmet(conditions: Sequence[ConditionTrace]) -> list[str]:
    return [c.keyword for c in conditions if not c.matched_instances]


def _run_text(decision: RouteDecision, rule: Rule, priors: _PriorAnswer, standing: Standing) -> str:
    does = []
    if rule.model:
        single = len(rule.inputs) == 1
        parts = [("" if single else f"{i.name} ") + counted(len(i.sop_instance_uids), "instance") for i in decision.inputs]
        does.append(f"runs {rule.model} on {listed(parts)}")
    elif rule.after is not None and rule.send_to:
        does.append(f"sends the result of {rule.after.model} to {listed(rule.send_to)}")
    if decision.forward:
        images = counted(sum(len(series.sop_instance_uids) for series in decision.forward), "instance")
        does.append(f"forwards {images} of {len(decision.forward)} series to {listed(rule.forward_to)}")
    text = " and ".join(does)
    without = [name for name, found in priors.choices.items() if not found.inputs]
    if without:
        text += f", without {listed(without)}"
    if standing.reason:
        text += f" ({'' if standing.complete else 'incomplete: '}{standing.reason})"
    return text


def _after_text(rule: Rule) -> str:
    if rule.after is None:
        return ""
    return f"follows the result of {rule.after.model}" + (f" where {rule.after.when}" if rule.after.when else "")
