"""Which rules take a study, with which series, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dicom_node.domain.instances import Attributes
from dicom_node.domain.matching import meets
from dicom_node.domain.routing import (
    ConditionTrace,
    InputTrace,
    JobInput,
    Outcome,
    PriorSearch,
    RouteDecision,
    Routing,
    RuleTrace,
    SeriesTrace,
    Standing,
)
from dicom_node.domain.rules import Condition, Equals, OnIncomplete, OnLate, Rule, Test
from dicom_node.domain.studies import Series, Study, StudyInstance

_MOST_VALUES_SHOWN = 10


def decide(
    rules: Sequence[Rule],
    study: Study,
    standings: Mapping[str, Standing] | None = None,
    priors: Sequence[PriorSearch] = (),  # noqa: ARG001
) -> Routing:
    """Apply the rules to a closed revision.

    Hold rules come first: if one matches, no model runs. Otherwise every rule that matches fires, whatever the others do.
    A rule takes the series with the most instances that meet all its conditions; with equally many, the lowest Series Number.
    """
    examined = [(rule, _examine(rule, study)) for rule in rules]
    held_by = next((rule.name for rule, series in examined if rule.hold and _best(series, study)), None)
    traces, decisions = [], []
    for rule, series in examined:
        best = _best(series, study)
        outcome, reason = _outcome(rule, best, held_by)
        standing = (standings or {}).get(rule.name)
        if standing is not None and outcome is Outcome.RUN:
            outcome, reason = _by_standing(rule, standing, reason)
        traces.append(RuleTrace(rule.name, outcome, reason, (_input_trace(rule, series, best),)))
        if outcome is Outcome.RUN and best is not None:
            selected = _selected(rule, next(s for s in study.series if s.series_instance_uid == best.series_instance_uid), study)
            replaces = rule.on_late is OnLate.REPLACE and standing is not None and standing.ran_on > 0
            inputs = (_job_input(rule, best, selected, study),)
            decisions.append(RouteDecision(rule.name, rule.model, inputs, rule.send_to, replaces=replaces))
    held = next(
        (f"incomplete for rule {t.rule}: {t.reason}" for t in traces if t.outcome is Outcome.INCOMPLETE and _holds(rules, t.rule)), ""
    )
    return Routing(tuple(decisions), tuple(traces), held_by, "", held)


def _by_standing(rule: Rule, standing: Standing, reason: str) -> tuple[Outcome, str]:
    if not standing.due:
        late = standing.ran_on and rule.on_late is OnLate.IGNORE
        return (Outcome.LATE if late else Outcome.WAITS), standing.reason
    if not standing.complete and rule.complete_when.on_incomplete is not OnIncomplete.RUN:
        return Outcome.INCOMPLETE, standing.reason
    return Outcome.RUN, reason


def _holds(rules: Sequence[Rule], name: str) -> bool:
    return any(rule.name == name and rule.complete_when.on_incomplete is OnIncomplete.HOLD for rule in rules)


def _job_input(rule: Rule, best: SeriesTrace, selected: Sequence[StudyInstance], study: Study) -> JobInput:
    uids = tuple(i.sop_instance_uid for i in selected)
    return JobInput(rule.inputs[0].name, study.study_instance_uid, best.series_instance_uid, uids)


def _input_trace(rule: Rule, series: Sequence[SeriesTrace], best: SeriesTrace | None) -> InputTrace:
    return InputTrace(rule.inputs[0].name, "", tuple(_explained(s, best) for s in series))


def _examine(rule: Rule, study: Study) -> list[SeriesTrace]:
    traces = []
    for series in study.series:
        conditions = tuple(_trace(condition, series, study) for condition in rule.match)
        selected = len(_selected(rule, series, study))
        traces.append(SeriesTrace(series.series_instance_uid, len(series.instances), selected, conditions, ""))
    return traces


def _trace(condition: Condition, series: Series, study: Study) -> ConditionTrace:
    headers = [_header(instance, study) for instance in series.instances]
    seen = dict.fromkeys(value for header in headers for value in header.get(condition.keyword, ()))
    wanted = " or ".join(map(_text, condition.any_of)) + "".join(f" not {_text(test)}" for test in condition.none_of)
    matched = sum(meets(condition, header) for header in headers)
    return ConditionTrace(condition.keyword, wanted.strip(), tuple(seen)[:_MOST_VALUES_SHOWN], matched)


def _text(test: Test) -> str:
    return test.text if isinstance(test, Equals) else str(test)


def _selected(rule: Rule, series: Series, study: Study) -> list[StudyInstance]:
    return [i for i in series.instances if all(meets(c, _header(i, study)) for c in rule.match)]


def _header(instance: StudyInstance, study: Study) -> Attributes:
    header: Mapping[str, tuple[str, ...]] = instance.attributes
    return {**header, "CallingAET": study.calling_ae_titles, "CalledAET": study.called_ae_titles}


def _best(series: Sequence[SeriesTrace], study: Study) -> SeriesTrace | None:
    numbers = {s.series_instance_uid: _series_number(s) for s in study.series}
    candidates = [s for s in series if s.selected_instances]
    return min(candidates, key=lambda s: (-s.selected_instances, numbers[s.series_instance_uid], s.series_instance_uid), default=None)


def _series_number(series: Series) -> int:
    values = series.instances[0].attributes.get("SeriesNumber", ())
    return int(values[0]) if values and values[0].strip().lstrip("-").isdigit() else 1 << 31


def _outcome(rule: Rule, best: SeriesTrace | None, held_by: str | None) -> tuple[Outcome, str]:
    if best is None:
        return Outcome.NO_MATCH, "no series has an instance that meets every condition"
    if rule.hold:
        return Outcome.HOLD, "the study is kept from all models"
    if held_by:
        return Outcome.HELD_BACK, f"would run {rule.model}, but rule {held_by} holds the study"
    return Outcome.RUN, f"runs {rule.model} on {best.selected_instances} instances"


def _explained(trace: SeriesTrace, best: SeriesTrace | None) -> SeriesTrace:
    if not trace.selected_instances:
        failed = [c.keyword for c in trace.conditions if not c.matched_instances]
        reason = f"not met: {', '.join(failed)}" if failed else "no single instance meets every condition"
    elif best is not None and trace.series_instance_uid == best.series_instance_uid:
        reason = "chosen"
    else:
        reason = f"fits too, but another series has more instances ({best.selected_instances if best else 0}) or a lower Series Number"
    return SeriesTrace(trace.series_instance_uid, trace.instances, trace.selected_instances, trace.conditions, reason)
