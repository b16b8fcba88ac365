"""Which series each input of a rule gets, and why the others did not get the place.

A series fills at most one input of a rule. Inputs choose in the order they are declared in, each the series it prefers, as long as
every later input that is not optional can still be filled; so a rule fails only if no assignment fits it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dicom_node.domain.routing import ConditionTrace, InputTrace, JobInput, SeriesTrace
from dicom_node.domain.rules import InputSlot, SeriesCheck
from dicom_node.routing.preference import Candidate, by_preference, why_not
from dicom_node.routing.rule_set import ReadyInput, ReadyRule, RuleSet, Selection
from dicom_node.routing.series_checks import series_fault
from dicom_node.routing.slices import Slices, slices_of
from dicom_node.routing.view import SeriesView, StudyView
from dicom_node.routing.wording import counted, listed, mm


@dataclass(frozen=True, slots=True)
class Examined:
    """One series of a prior against one input.

    Attributes:
        fault: Why it does not fit; empty if it does.
    """

    candidate: Candidate
    conditions: tuple[ConditionTrace, ...]
    fault: str

    def trace(self, reason: str, study_instance_uid: str) -> SeriesTrace:
        """Make the trace of it."""
        series = self.candidate.series
        return SeriesTrace(series.uid, series.count, self.candidate.count, self.conditions, reason, study_instance_uid, series.number_shown)


@dataclass(frozen=True, slots=True)
class Choice:
    """The inputs of the current study.

    Attributes:
        chosen: By the name of the input.
        missing: The first input that must be filled and cannot, with the reason; empty if there is none.
    """

    chosen: Mapping[str, Candidate]
    traces: tuple[InputTrace, ...]
    missing: str


def examine(rule_set: RuleSet, ready: ReadyInput, checks: Sequence[SeriesCheck], series: SeriesView) -> Examined:
    """Ask a series everything that an input wants of it, besides being the preferred one."""
    instances, conditions = rule_set.select(ready.tests, series)
    candidate = Candidate(series, instances)
    unmet = [c.keyword for c in conditions if not c.matched_instances]
    return Examined(candidate, conditions, _fault(ready.slot, checks, candidate) if instances else unmet_text(unmet))


def choose(rule_set: RuleSet, ready: ReadyRule, view: StudyView, met: Sequence[Selection]) -> Choice:
    """Choose a series for each input of a rule that comes from the study itself.

    Args:
        rule_set: The set that the rule is of.
        ready: The rule.
        view: The study.
        met: For each series what met `match` and `when` of the rule.
    """
    selections = [met if i.tests == ready.tests else [rule_set.select(i.tests, one) for one in view.series] for i in ready.own]
    key = (ready.kind, *(instances for found in selections for instances, _ in found))
    verdict = view.remembered.get(key)
    if not isinstance(verdict, _Verdict):
        candidates = [[Candidate(one, s[0]) for one, s in zip(view.series, found, strict=True)] for found in selections]
        verdict = view.remembered[key] = _judge(ready, candidates)
    traces = []
    for i, found, reason, reasons in zip(ready.own, selections, verdict.input_reasons, verdict.series_reasons, strict=True):
        series = [series_trace(one, s, told) for one, s, told in zip(view.series, found, reasons, strict=True)]
        traces.append(InputTrace(i.slot.name, reason, tuple(series)))
    return Choice(verdict.chosen, tuple(traces), verdict.missing)


def series_trace(series: SeriesView, selection: Selection, reason: str) -> SeriesTrace:
    """Make the trace of a series of the study itself; without an instance that met all conditions they are the reason."""
    instances, conditions = selection
    told = reason if instances else unmet_text([c.keyword for c in conditions if not c.matched_instances])
    return SeriesTrace(series.uid, series.count, instances.bit_count(), conditions, told, "", series.number_shown)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What a kind of rule makes of given instances, whatever conditions selected them.

    Attributes:
        chosen: By the name of the input.
        series_reasons: For each input and series; empty where no instance was given.
    """

    chosen: Mapping[str, Candidate]
    missing: str
    input_reasons: tuple[str, ...]
    series_reasons: tuple[tuple[str, ...], ...]


def _judge(ready: ReadyRule, candidates: Sequence[Sequence[Candidate]]) -> _Verdict:
    slots = [i.slot for i in ready.own]
    faults = [[_fault(slot, ready.checks, c) for c in found] for slot, found in zip(slots, candidates, strict=True)]
    fitting = [
        by_preference(slot, [c for c, fault in zip(found, wrong, strict=True) if c.instances and not fault])
        for slot, found, wrong in zip(slots, candidates, faults, strict=True)
    ]
    places = assign([[c.series.uid for c in fit] for fit in fitting], [not slot.optional for slot in slots])
    serves = {uid: slot.name for slot, uid in zip(slots, places, strict=True) if uid is not None}
    chosen: dict[str, Candidate] = {}
    input_reasons, series_reasons, missing = [], [], ""
    for slot, found, wrong, fit, uid in zip(slots, candidates, faults, fitting, places, strict=True):
        winner = next((c for c in fit if c.series.uid == uid), None)
        reason = _input_reason(found, wrong, winner)
        if winner is not None:
            chosen[slot.name] = winner
        elif slot.optional:
            reason += "; optional, left out"
        else:
            missing = missing or f"input {slot.name}: {reason}"
        input_reasons.append(reason)
        series_reasons.append(tuple(f or _series_reason(slot, c, winner, serves) for c, f in zip(found, wrong, strict=True)))
    return _Verdict(chosen, missing, tuple(input_reasons), tuple(series_reasons))


def job_input(name: str, study_instance_uid: str, candidate: Candidate) -> JobInput:
    """Name the instances that a job gets."""
    return JobInput(name, study_instance_uid, candidate.series.uid, candidate.series.sop_instance_uids(candidate.instances))


def assign(candidates: Sequence[Sequence[str]], required: Sequence[bool]) -> list[str | None]:
    """Give each input one of its candidates, none twice.

    An input gets the first of its candidates with which all required inputs behind it can still be filled. If not all required ones
    can be filled, as many of them as possible are, earlier ones first.

    Args:
        candidates: Series Instance UIDs of each input, the preferred one first.
        required: Whether each input must be filled.
    """
    if len(candidates) == 1:
        return [candidates[0][0] if candidates[0] else None]
    needed: list[int] = []
    for number, must in enumerate(required):
        if must and _can_fill([candidates[n] for n in (*needed, number)], frozenset()):
            needed.append(number)
    taken: set[str] = set()
    places: list[str | None] = []
    for number, own in enumerate(candidates):
        rest = [candidates[n] for n in needed if n > number]
        free = (uid for uid in own if uid not in taken and _can_fill(rest, frozenset({*taken, uid})))
        place = next(free, None) if number in needed or not required[number] else None
        places.append(place)
        if place is not None:
            taken.add(place)
    return places


def _can_fill(inputs: Sequence[Sequence[str]], taken: frozenset[str]) -> bool:
    """Say whether all inputs can get a candidate of their own (augmenting paths)."""
    holder: dict[str, int] = {}

    def place(number: int, tried: set[str]) -> bool:
        for uid in inputs[number]:
            if uid in taken or uid in tried:
                continue
            tried.add(uid)
            if uid not in holder or place(holder[uid], tried):
                holder[uid] = number
                return True
        return False

    return all(place(number, set()) for number in range(len(inputs)))


def _fault(slot: InputSlot, checks: Sequence[SeriesCheck], candidate: Candidate) -> str:
    count = candidate.count
    if not count:
        return ""
    if count < slot.min_instances:
        return f"too few instances: {count} of at least {slot.min_instances}"
    if slot.max_instances is not None and count > slot.max_instances:
        return f"too many instances: {count} of at most {slot.max_instances}"
    key = ("fault", candidate.instances, slot.orientation, slot.min_spacing_mm, slot.max_spacing_mm, checks)
    remembered = candidate.series.remembered
    if key not in remembered:
        remembered[key] = _slices_fault(slot, checks, slices_of(candidate.series, candidate.instances))
    return str(remembered[key])


def unmet_text(failed: Sequence[str]) -> str:
    """Say that no instance of a series meets all conditions, with those that none of them meets."""
    return f"not met: {listed(failed)}" if failed else "no single instance meets every condition"


def _slices_fault(slot: InputSlot, checks: Sequence[SeriesCheck], slices: Slices) -> str:
    return _orientation_fault(slot, slices) or _spacing_fault(slot, slices) or series_fault(slices, checks)


def _orientation_fault(slot: InputSlot, slices: Slices) -> str:
    if slot.orientation is None:
        return ""
    if not slices.planes:
        return f"orientation unknown, {slot.orientation} wanted: no Image Orientation and Position (Patient)"
    for plane in slices.planes:
        if plane.orientation is None:
            return f"oblique by {plane.degrees:.0f} degrees, {slot.orientation} wanted"
        if plane.orientation is not slot.orientation:
            return f"{plane.orientation} slices, {slot.orientation} wanted"
    return ""


def _spacing_fault(slot: InputSlot, slices: Slices) -> str:
    low, high = slot.min_spacing_mm, slot.max_spacing_mm
    if low is None and high is None:
        return ""
    spacing = slices.spacing_mm
    if spacing is None:
        return "slice spacing unknown: no positions, Spacing Between Slices or Slice Thickness"
    rounded = round(spacing, 3)  # positions are written in decimals
    if low is not None and rounded < low:
        return f"slices too near: {mm(spacing)} mm of at least {low:g} mm, from {slices.spacing_source}"
    if high is not None and rounded > high:
        return f"slices too far apart: {mm(spacing)} mm of at most {high:g} mm, from {slices.spacing_source}"
    return ""


def _input_reason(found: Sequence[Candidate], faults: Sequence[str], winner: Candidate | None) -> str:
    if winner is not None:
        return f"series {winner.series.uid} with {counted(winner.count, 'instance')}"
    selected = [(c.count, fault) for c, fault in zip(found, faults, strict=True) if c.instances]
    if not selected:
        return "no series meets its conditions"
    if any(not fault for _, fault in selected):
        return "every series that fits it serves another input"
    nearest = max(selected, key=lambda s: s[0])
    return f"no series fits, the nearest has a fault: {nearest[1]}"


def _series_reason(slot: InputSlot, candidate: Candidate, winner: Candidate | None, serves: Mapping[str, str]) -> str:
    if not candidate.instances:
        return ""
    if winner is not None and candidate.series is winner.series:
        return chosen_reason(slot, candidate)
    other = serves.get(candidate.series.uid)
    if winner is None or (other and by_preference(slot, [candidate, winner])[0] is candidate):
        return f"serves input {other}"
    return why_not(slot, candidate, winner)


def chosen_reason(slot: InputSlot, candidate: Candidate) -> str:
    """Say what was asked of the geometry of a series that was chosen."""
    asked = slot.orientation is not None or slot.min_spacing_mm is not None or slot.max_spacing_mm is not None
    slices = slices_of(candidate.series, candidate.instances) if asked else None
    if slices is None or slices.spacing_mm is None:
        return "chosen"
    plane = f"{slices.planes[0].orientation} slices, " if slices.planes and slices.planes[0].orientation else ""
    return f"chosen: {plane}{mm(slices.spacing_mm)} mm apart by {slices.spacing_source}"
