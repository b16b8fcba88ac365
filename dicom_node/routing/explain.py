"""A routing decision as text for people."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.domain.routing import Routing, RuleTrace


def render(routing: Routing) -> str:
    """Write, rule by rule and condition by condition, what was wanted, what was seen and what follows."""
    return "\n".join(line for trace in routing.traces for line in _rule_lines(trace))


def _rule_lines(trace: RuleTrace) -> Iterator[str]:
    yield f"{trace.rule}: {trace.outcome} - {trace.reason}"
    for series in (s for i in trace.inputs for s in i.series):
        yield f"  series {series.series_instance_uid}: {series.selected_instances} of {series.instances} instances - {series.reason}"
        for condition in series.conditions:
            mark = "ok" if condition.matched_instances else "NO"
            yield f"    {mark} {condition.keyword}: wanted {condition.wanted}, seen {', '.join(condition.seen) or 'nothing'}"
