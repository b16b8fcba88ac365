"""A routing decision as text for people, and as lines for programs that show it their own way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dicom_node.domain.routing import ConditionTrace, InputTrace, Outcome, Routing, RuleTrace, SeriesTrace
from dicom_node.domain.rules import OnEmpty, Rule
from dicom_node.routing.wording import counted

_MOST_UIDS_NAMED = 3
_LONGEST_SEEN = 60


class Mark(StrEnum):
    """What a line says of what it names."""

    MET = "ok"
    PARTLY = "part"
    """Some instances of the series meet the condition."""
    NOT_MET = "NO"
    NONE = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an explanation.

    Attributes:
        depth: 0 for the outcome of a rule; inputs, series and conditions are each one deeper.
        text: Contains patient data if a condition asks for it.
    """

    depth: int
    mark: Mark
    text: str

    def __str__(self) -> str:
        return "  " * self.depth + (f"{self.mark} " if self.mark else "") + self.text


def render(routing: Routing, rules: Sequence[Rule] = ()) -> str:
    """Write what each rule did and why: the outcome first, then what was wanted and seen. See `explain`."""
    return "\n".join(map(str, explain(routing, rules)))


def explain(routing: Routing, rules: Sequence[Rule] = ()) -> list[Line]:
    """List the lines of an explanation; what stops the whole study comes first.

    Args:
        routing: What was decided.
        rules: Those that decided; of one that runs it is said which results it would keep on the node. Empty: nothing is said of that.
    """
    lines = []
    if routing.quarantined_because:
        lines.append(Line(0, Mark.NONE, f"quarantined: {routing.quarantined_because}"))
    elif routing.held_by:
        lines.append(Line(0, Mark.NONE, f"held: by rule {routing.held_by}"))
    elif routing.hold_reason:
        lines.append(Line(0, Mark.NONE, f"held: {routing.hold_reason}"))
    kept = {rule.name: kept_results(rule) for rule in rules}
    for trace in routing.traces:
        head, *below = explain_rule(trace)
        told = kept.get(trace.rule, "") if trace.outcome is Outcome.RUN else ""
        lines += [head, *([Line(1, Mark.NONE, told)] if told else []), *below]
    return lines


def kept_results(rule: Rule) -> str:
    """Say which results of a rule stay on the node; nothing if all are sent."""
    options = {"on_not_analysed": rule.on_not_analysed, "on_no_finding": rule.on_no_finding}
    kept = [f"{name}: {option}" for name, option in options.items() if option is OnEmpty.KEEP]
    return f"results stay here by {', '.join(kept)}" if kept else ""


def explain_rule(trace: RuleTrace) -> list[Line]:
    """List the lines of one rule; series that fared alike share theirs, and no condition of a series is told twice."""
    lines = [Line(0, Mark.NONE, f"{trace.rule}: {trace.outcome} - {trace.reason}")]
    told: set[tuple[str, str, str, str]] = set()
    for one in trace.inputs:
        if one.reason:
            lines.append(Line(1, Mark.NONE, f"input {one.name}: {one.reason}"))
        lines += _input_lines(one, 2 if one.reason else 1, told)
    return lines


def trace_from_record(record: Mapping[str, Any]) -> RuleTrace:
    """Read a trace as the index keeps it (`dataclasses.asdict`)."""
    inputs = tuple(InputTrace(i["name"], i["reason"], tuple(map(_series_from_record, i["series"]))) for i in record["inputs"])
    return RuleTrace(record["rule"], Outcome(record["outcome"]), record["reason"], inputs)


def _series_from_record(record: Mapping[str, Any]) -> SeriesTrace:
    conditions = tuple(ConditionTrace(c["keyword"], c["wanted"], tuple(c["seen"]), c["matched_instances"]) for c in record["conditions"])
    counts = (record["instances"], record["selected_instances"])
    return SeriesTrace(
        record["series_instance_uid"],
        *counts,
        conditions,
        record["reason"],
        record.get("study_instance_uid", ""),
        record.get("series_number"),
    )


def _input_lines(trace: InputTrace, depth: int, told: set[tuple[str, str, str, str]]) -> Iterator[Line]:
    alike: dict[tuple[object, ...], list[SeriesTrace]] = {}
    for series in trace.series:
        looks = tuple((c.keyword, c.wanted, c.seen, _mark(c, series)) for c in series.conditions)
        alike.setdefault((series.study_instance_uid, series.reason, looks), []).append(series)
    for group in alike.values():
        yield Line(depth, Mark.NONE, _series_text(group))
        for condition in group[0].conditions:
            keys = {(s.study_instance_uid, s.series_instance_uid, condition.keyword, condition.wanted) for s in group}
            if not keys <= told:
                yield _condition_line(condition, group[0], depth + 1)
            told |= keys


def _series_text(group: Sequence[SeriesTrace]) -> str:
    first = group[0]
    of_prior = f" of prior study {first.study_instance_uid}" if first.study_instance_uid else ""
    uids = ", ".join(s.series_instance_uid for s in group[:_MOST_UIDS_NAMED])
    if len(group) == 1:
        name = f"series {uids}" if first.series_number is None else f"series {first.series_number} ({uids})"
        return f"{name}{of_prior}: {first.selected_instances} of {counted(first.instances, 'instance')} - {first.reason}"
    more = f" and {len(group) - _MOST_UIDS_NAMED} more" if len(group) > _MOST_UIDS_NAMED else ""
    selected, instances = sum(s.selected_instances for s in group), sum(s.instances for s in group)
    return f"{len(group)} series ({uids}{more}){of_prior}: {selected} of {instances} instances - {first.reason}"


def _condition_line(condition: ConditionTrace, series: SeriesTrace, depth: int) -> Line:
    seen = ", ".join(condition.seen) or "nothing"
    if len(seen) > _LONGEST_SEEN:
        seen = seen[: _LONGEST_SEEN - 3] + "..."
    mark = _mark(condition, series)
    if condition.keyword == "when":
        return Line(depth, mark, f"when {condition.wanted}" + (f": {seen}" if condition.seen else ""))
    part = f" (met by {condition.matched_instances} of {series.instances})" if mark is Mark.PARTLY else ""
    return Line(depth, mark, f"{condition.keyword}: wanted {condition.wanted}, seen {seen}{part}")


def _mark(condition: ConditionTrace, series: SeriesTrace) -> Mark:
    if condition.matched_instances == series.instances:
        return Mark.MET
    return Mark.PARTLY if condition.matched_instances else Mark.NOT_MET
