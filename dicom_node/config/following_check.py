"""What rules that follow a model's result need of the other rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dicom_node.config.faults import Fault, known
from dicom_node.config.rules_schema import RuleSection, RulesFile
from dicom_node.config.yaml_lines import YamlFile


def check_following(rules: RulesFile, source: YamlFile) -> Iterator[Fault]:
    """Find rules that follow what nobody runs, that would follow themselves, or that ask for what a rule after a result cannot have."""
    run = list(dict.fromkeys(rule.model for rule in rules.rules if rule.model))
    successors: dict[str, set[str]] = {}
    for rule in rules.rules:
        if rule.after is not None and rule.model:
            successors.setdefault(rule.after.model, set()).add(rule.model)
    for number, rule in enumerate(rules.rules):
        if rule.after is None:
            continue
        place: list[str | int] = ["rules", number, "after"]
        if rule.after.model not in run:
            yield source.fault([*place, "model"], f"no rule runs model {rule.after.model!r}", known(rule.after.model, run))
        elif loop := _way(successors, rule.model, rule.after.model):
            yield source.fault(
                [*place, "model"],
                f"the rule would follow itself: {' -> '.join([rule.after.model, *loop])}",
                "a rule follows another model than the one it runs, and none that runs after its own",
            )
        yield from _misplaced(rule, number, source)


def _misplaced(rule: RuleSection, number: int, source: YamlFile) -> Iterator[Fault]:
    if rule.hold:
        yield source.fault(["rules", number, "after"], "a hold rule keeps studies before any model runs", "take after out")
    if "complete_when" in rule.model_fields_set:
        yield source.fault(
            ["rules", number, "complete_when"],
            "a rule that follows a result runs when the result is there",
            "take complete_when out; it belongs to the rule that runs the model",
        )
    for name, section in rule.inputs.items():
        if section.prior is not None:
            yield source.fault(
                ["rules", number, "inputs", name, "prior"],
                "a rule that follows a result takes series of the study itself only",
                "let a rule without after take the prior",
            )


def _way(successors: Mapping[str, set[str]], start: str, goal: str) -> Sequence[str]:
    """Return the shortest way from one model to another along rules that follow; empty if there is none."""
    ways: list[tuple[str, ...]] = [(start,)] if start else []
    seen = {start}
    while ways:
        way = ways.pop(0)
        if way[-1] == goal:
            return way
        for model in sorted(successors.get(way[-1], set()) - seen):
            seen.add(model)
            ways.append((*way, model))
    return ()
