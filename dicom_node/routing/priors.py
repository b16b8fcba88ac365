"""Which earlier studies an input with `prior` gets.

A study of another patient is never taken, whoever sent it as an answer; the current study is not to blame for it and is not
quarantined: the input is without that study, and `on_missing` says what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time

from dicom_node.domain.routing import InputTrace, JobInput, PriorSearch, SeriesTrace
from dicom_node.domain.rules import Prior, SeriesCheck
from dicom_node.routing.inputs import chosen_reason, examine, job_input
from dicom_node.routing.patients import other_patient
from dicom_node.routing.preference import Candidate, by_preference, why_not
from dicom_node.routing.rule_set import ReadyInput, RuleSet
from dicom_node.routing.view import StudyView
from dicom_node.routing.wording import counted, listed


@dataclass(frozen=True, slots=True)
class Current:
    """The study that priors accompany.

    Attributes:
        chosen: What its own inputs got; `same` is asked of them, without any of the whole study.
    """

    view: StudyView
    chosen: Sequence[Candidate]

    def values(self, keyword: str) -> set[str]:
        """Return the values that a prior must share."""
        if not self.chosen:
            return self.view.values(keyword) - {""}
        return {v for c in self.chosen for v in _values(c, keyword)}


@dataclass(frozen=True, slots=True)
class PriorChoice:
    """What an input with `prior` got, newest first.

    Attributes:
        pending: The search is not over; nothing was chosen yet.
    """

    inputs: tuple[JobInput, ...]
    trace: InputTrace
    pending: bool


def choose_priors(
    rule_set: RuleSet, ready: ReadyInput, checks: Sequence[SeriesCheck], current: Current, search: PriorSearch | None
) -> PriorChoice:
    """Choose up to `most` earlier studies, newest first, and of each the preferred series that fits."""
    name, prior = ready.slot.name, ready.slot.prior
    if prior is None:
        raise ValueError(f"input {name} has no prior")
    if search is None or not search.finished:
        reason = search.reason if search and search.reason else "earlier studies have not been looked for yet"
        return PriorChoice((), InputTrace(name, reason, ()), pending=True)
    inputs: list[JobInput] = []
    traces: list[SeriesTrace] = []
    views = [StudyView(study) for study in search.studies]
    for view in sorted(views, key=lambda v: (moment_of(v) or datetime.min, v.study.study_instance_uid), reverse=True):  # noqa: DTZ901 - DA and TM have no zone
        refused = _study_fault(prior, current.view, view)
        if not refused and len(inputs) == prior.most:
            refused = f"not needed: {counted(prior.most, 'newer study was', 'newer studies were')} taken"
        chosen, found = _choose_series(rule_set, ready, checks, current, (view, refused))
        traces += found
        if chosen is not None:
            inputs.append(job_input(name, view.study.study_instance_uid, chosen))
    reason = f"{counted(len(inputs), 'earlier study', 'earlier studies')}" if inputs else _nothing(search, traces)
    return PriorChoice(tuple(inputs), InputTrace(name, reason, tuple(traces)), pending=False)


def moment_of(view: StudyView) -> datetime | None:
    """Return Study Date and Time; without a time the start of the day, None without a date."""
    days = [day for text in view.values("StudyDate") if (day := _date(text))]
    if not days:
        return None
    clocks = [clock for text in view.values("StudyTime") if (clock := _time(text))]
    return datetime.combine(min(days), min(clocks, default=time.min))


def _choose_series(
    rule_set: RuleSet, ready: ReadyInput, checks: Sequence[SeriesCheck], current: Current, prior: tuple[StudyView, str]
) -> tuple[Candidate | None, list[SeriesTrace]]:
    view, refused = prior
    uid, same = view.study.study_instance_uid, ready.slot.prior.same if ready.slot.prior else ()
    found = [examine(rule_set, ready, checks, series) for series in view.series]
    if refused:
        return None, [e.trace(refused, uid) for e in found]
    faults = [e.fault or _differing(same, current, e.candidate) for e in found]
    fitting = by_preference(ready.slot, [e.candidate for e, fault in zip(found, faults, strict=True) if not fault])
    winner = fitting[0] if fitting else None
    traces = []
    for e, fault in zip(found, faults, strict=True):
        if winner is not None and e.candidate.series is winner.series:
            reason = chosen_reason(ready.slot, winner)
        else:
            reason = fault or (why_not(ready.slot, e.candidate, winner) if winner else "")
        traces.append(e.trace(reason, uid))
    return winner, traces


def _study_fault(prior: Prior, current: StudyView, view: StudyView) -> str:
    if view.study.study_instance_uid == current.study.study_instance_uid:
        return "it is the current study itself"
    if reason := other_patient(current, view):
        return reason
    now, then = moment_of(current), moment_of(view)
    if now is None or then is None:
        return f"{'the current study' if now is None else 'it'} has no Study Date"
    if not (current.values("StudyTime") - {""} and view.values("StudyTime") - {""}):
        now, then = (datetime.combine(moment.date(), time.min) for moment in (now, then))
    if then > now:
        return "it is later than the current study"
    if now - then > prior.within:
        return f"too old: {counted((now - then).days, 'day')} before the current study, {counted(prior.within.days, 'day')} allowed"
    return ""


def _differing(same: Sequence[str], current: Current, candidate: Candidate) -> str:
    """Say which keywords do not agree; one without a value agrees with nothing."""
    differing = [keyword for keyword in same if not current.values(keyword) & _values(candidate, keyword)]
    return f"differs from the current study in {listed(differing)}" if differing else ""


def _values(candidate: Candidate, keyword: str) -> set[str]:
    found = candidate.series.values(keyword, candidate.instances)
    return {text for values in found for value in values if (text := value.strip(" \0"))}


def _nothing(search: PriorSearch, traces: Sequence[SeriesTrace]) -> str:
    if not search.studies:
        return search.reason or "no earlier study was found"
    reasons = list(dict.fromkeys(trace.reason for trace in traces))
    return f"none of {counted(len(search.studies), 'earlier study', 'earlier studies')} fits" + (f": {reasons[0]}" if reasons else "")


def _date(text: str) -> date | None:
    digits = text.replace(".", "")  # ACR-NEMA wrote 1993.08.22
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:])) if len(digits) == 8 and digits.isdecimal() else None
    except ValueError:
        return None


def _time(text: str) -> time | None:
    digits = text.replace(":", "").partition(".")[0]
    if len(digits) not in {2, 4, 6} or not digits.isdecimal():
        return None
    try:
        return time(int(digits[:2]), int(digits[2:4] or 0), min(int(digits[4:] or 0), 59))
    except ValueError:
        return None
