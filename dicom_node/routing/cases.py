"""Judging the cases of rules.test.yaml: the study that a case describes, and how the decision differs from what it wants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dicom_node.config.cases_schema import CaseHeader, Completeness, RuleCase, SeriesCase, WantedRule, prior_names, series_names
from dicom_node.domain.instances import Attributes
from dicom_node.domain.routing import Outcome, PriorSearch, RouteDecision, Routing, Standing
from dicom_node.domain.rules import OnLate, Orientation, Rule
from dicom_node.domain.studies import ClosedBecause, Series, Study, StudyInstance
from dicom_node.routing.decide import decide

CASE_CLOSED_AT = datetime(2024, 1, 2, 12, tzinfo=UTC)
"""When the study of a case closes, unless its header has a Study Date; schedules are asked then."""

_DIRECTIONS = {
    Orientation.AXIAL: ("1", "0", "0", "0", "1", "0"),
    Orientation.CORONAL: ("1", "0", "0", "0", "0", "-1"),
    Orientation.SAGITTAL: ("0", "1", "0", "0", "0", "-1"),
}
_AXES = {Orientation.AXIAL: 2, Orientation.CORONAL: 1, Orientation.SAGITTAL: 0}
_STUDY = "1"


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that is not as the case wants it."""

    field: str
    wanted: str
    got: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a case went.

    Attributes:
        differences: None if all is as wanted.
        names: Of the case's series, by the UIDs that the routing shows.
    """

    differences: tuple[Difference, ...]
    routing: Routing
    names: Mapping[str, str]


def judge(rules: Sequence[Rule], case: RuleCase) -> Verdict:
    """Decide on the study of a case, and compare."""
    study = _study(case)
    priors = _priors(case, study)
    routing = decide(rules, study, _standings(case, rules), tuple(_searches(rules, priors)))
    names = dict(_names(case))
    return Verdict(tuple(_differences(case, routing, names)), routing, names)


def _differences(case: RuleCase, routing: Routing, names: Mapping[str, str]) -> Iterator[Difference]:
    runs = [decision.rule for decision in routing.decisions]
    if sorted(runs) != sorted(case.wanted_runs):
        yield Difference("runs", _list(case.wanted_runs), _list(runs))
    if routing.held_by != case.held_by:
        yield Difference("held_by", case.held_by or "none", routing.held_by or "none")
    if bool(routing.quarantined_because) != case.quarantined:
        yield Difference("quarantined", _word(case.quarantined), _word(bool(routing.quarantined_because)))
    outcomes = {trace.rule: trace.outcome for trace in routing.traces}
    for name, wanted in case.rules.items():
        if outcomes[name] is not wanted.outcome:
            yield Difference(f"{name}.outcome", str(wanted.outcome), str(outcomes[name]))
        for decision in (d for d in routing.decisions if d.rule == name and wanted.outcome is Outcome.RUN):
            yield from _of_decision(wanted, decision, names)


def _of_decision(wanted: WantedRule, decision: RouteDecision, names: Mapping[str, str]) -> Iterator[Difference]:
    pairs = {
        "model": (wanted.model, decision.model),
        "send_to": (None if wanted.send_to is None else _list(sorted(wanted.send_to)), _list(sorted(decision.send_to))),
        "forward_to": (None if wanted.forward_to is None else _list(sorted(wanted.forward_to)), _list(sorted(decision.forward_to))),
        "priority": (wanted.priority, decision.priority),
        "shadow": (wanted.shadow, decision.shadow),
        "replaces": (wanted.replaces, decision.replaces),
    }
    for field, (want, got) in pairs.items():
        if want is not None and want != got:
            yield Difference(f"{decision.rule}.{field}", _word(want), _word(got))
    taken: dict[str, list[str]] = {}
    for job_input in decision.inputs:
        key = f"{job_input.study_instance_uid}/{job_input.series_instance_uid}"
        taken.setdefault(job_input.name, []).append(names[key])
    for slot, text in wanted.inputs.items():
        series = [text] if isinstance(text, str) else text or []
        if sorted(series) != sorted(taken.get(slot, [])):
            yield Difference(f"{decision.rule}.inputs.{slot}", _list(series), _list(taken.get(slot, [])))


def _study(case: RuleCase) -> Study:
    revision = 2 if case.completeness is Completeness.LATE else 1
    because = ClosedBecause.MAX_WAIT if case.completeness is Completeness.INCOMPLETE else ClosedBecause.QUIET
    header = _common(case)
    closed_at = _study_date(header) or CASE_CLOSED_AT
    series = tuple(_series(_STUDY, number, one, header) for number, one in enumerate(case.series, start=1))
    return Study(_STUDY, revision, closed_at, because, case.senders, series, case.called)


def _common(case: RuleCase) -> Attributes:
    """Make what all series share; a study without Patient ID and date has no priors, so one that the case has priors for gets them."""
    given = _attributes(case.header)
    if not case.priors:
        return given
    return {"PatientID": ("CASE",), "StudyDate": (f"{CASE_CLOSED_AT:%Y%m%d}",), "StudyTime": (f"{CASE_CLOSED_AT:%H%M%S}",), **given}


def _priors(case: RuleCase, study: Study) -> list[Study]:
    """Make the earlier studies, newest first."""
    found = []
    for number, prior in enumerate(case.priors, start=1):
        at = study.closed_at - timedelta(days=prior.days_before)
        uid = f"{_STUDY}.{number}"
        header = {**_common(case), "StudyDate": (f"{at:%Y%m%d}",), "StudyTime": (f"{at:%H%M%S}",), **_attributes(prior.header)}
        series = tuple(_series(uid, position, one, header) for position, one in enumerate(prior.series, start=1))
        found.append(Study(uid, 1, at, ClosedBecause.QUIET, case.senders, series, case.called))
    return sorted(found, key=lambda one: one.closed_at, reverse=True)


def _searches(rules: Sequence[Rule], priors: Sequence[Study]) -> Iterator[PriorSearch]:
    """Answer every input that looks for priors with all that the case has: which of them it takes is the decision's."""
    for rule in rules:
        for slot in rule.inputs:
            if slot.prior is not None:
                yield PriorSearch(rule.name, slot.name, tuple(priors), finished=True, reason=f"the case has {len(priors)}")


def _standings(case: RuleCase, rules: Sequence[Rule]) -> dict[str, Standing] | None:
    if case.completeness is Completeness.INCOMPLETE:
        return {rule.name: Standing(due=True, complete=False, reason="the case says so") for rule in rules}
    if case.completeness is Completeness.LATE:
        return {rule.name: Standing(due=rule.on_late is not OnLate.IGNORE, ran_on=1) for rule in rules}
    return None


def _series(study_uid: str, number: int, case: SeriesCase, above: Attributes) -> Series:
    uid = f"{study_uid}.{number}.0"
    header = {"SeriesNumber": (str(number),), **above, **_attributes(case.header)}
    instances = []
    for position in range(1, case.instances + 1):
        if position not in case.missing:
            own = {"InstanceNumber": (str(position),), **_geometry(case, position), **header}
            instances.append(StudyInstance(f"{uid}.{position}", _first(own, "SOPClassUID"), Path(), own))
    return Series(uid, tuple(instances))


def _geometry(case: SeriesCase, position: int) -> Attributes:
    if case.orientation is None:
        return {}
    place = ["0", "0", "0"]
    place[_AXES[case.orientation]] = f"{(position - 1) * case.spacing_mm:g}"
    return {
        "ImageOrientationPatient": _DIRECTIONS[case.orientation],
        "ImagePositionPatient": tuple(place),
        "SliceThickness": (f"{case.spacing_mm:g}",),
    }


def _names(case: RuleCase) -> Iterator[tuple[str, str]]:
    for number, name in enumerate(series_names(case.series), start=1):
        yield f"{_STUDY}/{_STUDY}.{number}.0", name
    for number, (name, prior) in enumerate(zip(prior_names(case), case.priors, strict=True), start=1):
        uid = f"{_STUDY}.{number}"
        for position, series in enumerate(series_names(prior.series), start=1):
            yield f"{uid}/{uid}.{position}.0", f"{name}/{series}"


def _attributes(header: CaseHeader) -> dict[str, tuple[str, ...]]:
    return {
        keyword: tuple(map(str, value if isinstance(value, list) else [value] if value != "" else [])) for keyword, value in header.items()
    }


def _study_date(header: Attributes) -> datetime | None:
    try:
        return datetime.strptime(_first(header, "StudyDate") + "12", "%Y%m%d%H").replace(tzinfo=UTC)
    except ValueError:
        return None


def _first(header: Attributes, keyword: str) -> str:
    return next(iter(header.get(keyword, ())), "")


def _list(names: Sequence[str]) -> str:
    return f"[{', '.join(names)}]"


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
