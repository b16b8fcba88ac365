"""Which rules follow the result of a model, and with what. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dicom_node.config.expressions import compile_after
from dicom_node.domain.findings import NOT_ANALYSED
from dicom_node.domain.routing import Outcome, RouteDecision, RuleTrace, Standing
from dicom_node.domain.rules import OnLate, Rule
from dicom_node.domain.studies import Study
from dicom_node.routing.decide import decide


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that came to results.

    Attributes:
        findings: As `domain.findings` writes them.
        shadow: The results are kept and not sent.
    """

    job_id: int
    model: str
    shadow: bool
    findings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sending:
    """A rule that sends the results of the run to further destinations."""

    rule: str
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Following:
    """What follows a run; one trace for every rule that was asked."""

    decisions: tuple[RouteDecision, ...]
    sendings: tuple[Sending, ...]
    traces: tuple[RuleTrace, ...]
    forwardings: tuple[RouteDecision, ...] = ()


def followers(rules: Sequence[Rule], model: str) -> tuple[Rule, ...]:
    """Return the rules that follow results of a model."""
    return tuple(rule for rule in rules if rule.after is not None and rule.after.model == model)


def follow(rules: Sequence[Rule], run: FinishedRun, study: Study, ran_on: Mapping[str, int]) -> Following:
    """Decide on every rule that follows the model of a run.

    A run that analysed nothing is followed only by rules whose `after.when` reads `result.outcome`.

    A rule that runs a model becomes a job; one without a model sends the results of the run to its own destinations, forwards the
    received images, or both. The results of a shadow run start shadow rules only, and a shadow rule sends nothing.

    Args:
        rules: All rules.
        run: The run that ended.
        study: The revision that it ran on.
        ran_on: For each rule the last earlier revision of the study that it ran on; absent: none.
    """
    decisions, sendings, traces, forwardings = [], [], [], []
    for rule in followers(rules, run.model):
        trace, decision = _asked(rule, run, study, ran_on.get(rule.name, 0))
        traces.append(trace)
        if decision is not None and rule.model:
            decisions.append(decision)
        elif decision is not None and rule.send_to:
            sendings.append(Sending(rule.name, rule.send_to))
        if decision is not None and rule.forward_to:
            forwardings.append(decision)
    return Following(tuple(decisions), tuple(sendings), tuple(traces), tuple(forwardings))


def _asked(rule: Rule, run: FinishedRun, study: Study, ran_on: int) -> tuple[RuleTrace, RouteDecision | None]:
    refusal = _refusal(rule, run, ran_on)
    if refusal is not None:
        return refusal, None
    routing = decide([rule], study, {rule.name: Standing(due=True, ran_on=ran_on)}, followed=(rule.name,))
    [trace] = routing.traces
    return replace(trace, reason=f"after job {run.job_id}: {trace.reason}"), next(iter(routing.decisions), None)


def _refusal(rule: Rule, run: FinishedRun, ran_on: int) -> RuleTrace | None:
    """Say what keeps a rule from following, whatever the study is; None if nothing does."""
    when = compile_after(rule.after.when) if rule.after is not None and rule.after.when else None
    if run.findings.get("outcome") == NOT_ANALYSED and not (when and when.asks_outcome):
        return RuleTrace(rule.name, Outcome.NO_MATCH, f"job {run.job_id} analysed nothing, and `after.when` does not ask for that", ())
    if when is not None:
        met, why = when.holds(run.findings)
        if not met:
            return RuleTrace(rule.name, Outcome.NO_MATCH, f"the result of job {run.job_id} did not meet `after.when`: {why}", ())
    if run.shadow and not rule.shadow:
        return RuleTrace(rule.name, Outcome.HELD_BACK, f"job {run.job_id} is a shadow run, which starts shadow rules only", ())
    if rule.shadow and not rule.model:
        wanted = f"the results of job {run.job_id} would go to {', '.join(rule.send_to)}"
        return RuleTrace(rule.name, Outcome.HELD_BACK, f"shadow: {wanted}", ())
    if ran_on and rule.on_late is OnLate.IGNORE:
        return RuleTrace(rule.name, Outcome.LATE, f"the rule ran on revision {ran_on} and ignores what came later", ())
    return None
