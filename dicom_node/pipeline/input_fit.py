"""Whether the inputs of rules are those of the models that they run, asked when a configuration is checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dicom_node.config import Configuration, Fault
from dicom_node.config.faults import known
from dicom_node.config.yaml_lines import YamlFile, parse_text
from dicom_node.domain.rules import InputSlot, OnMissing, Rule
from dicom_node.inference import ModelBundle

_HINT_MISSING = "`on_missing: skip` of its prior, or an input that the model declares `optional`"


def input_faults(configuration: Configuration, bundles: Mapping[str, ModelBundle]) -> Iterator[Fault]:
    """Find rules whose inputs the model does not have, or lacks what it cannot do without.

    A rule with a single input of any name feeds a model's first input with it. The first input of any rule feeds a model that has a
    single one; what such a model does not take of the others is noted in the job's trace.

    Args:
        configuration: As read.
        bundles: Every bundle, by name.
    """
    source = parse_text(configuration.rules_text, str(configuration.node.rules), [])
    if source is None:
        return
    for number, rule in enumerate(configuration.rules):
        if rule.model in bundles:
            declared = configuration.rules_file.rules[number].inputs
            yield from _faults_of(rule, bundles[rule.model], source, ["rules", number, "inputs" if declared else "model"])


def _faults_of(rule: Rule, bundle: ModelBundle, source: YamlFile, place: Sequence[str | int]) -> Iterator[Fault]:
    title, slots = f"model {rule.model!r}", {slot.name: slot for slot in bundle.manifest.inputs}
    first = bundle.manifest.inputs[0].name
    given = {slot.name: slot for slot in rule.inputs}
    if len(slots) == 1 and first not in given:
        return
    if len(given) == 1 and not given.keys() & slots.keys():
        given = {first: rule.inputs[0]}
    for name in given:
        if name not in slots and len(slots) > 1:
            yield source.fault([*place, name], f"{title} has no input {name!r}", known(name, list(slots)))
    for name, slot in slots.items():
        if name not in given and not slot.optional:
            hint = f"name an input {name!r} of the rule; {title} takes {', '.join(slots)}"
            yield source.fault(place, f"{title} needs input {name!r}, the rule does not give it", hint)
        elif name in given and not slot.optional and _may_be_missing(given[name]):
            yield source.fault([*place, name], f"{title} needs input {name!r}, the rule also runs without it", _HINT_MISSING)
    if first in given and next(iter(given)) != first:
        words = f"results refer to {first!r}, the first input of {title}, and to the first of the rule, which is {next(iter(given))!r}"
        yield source.fault(place, words, f"write {first!r} first")


def _may_be_missing(slot: InputSlot) -> bool:
    return slot.optional or (slot.prior is not None and slot.prior.on_missing is not OnMissing.SKIP)
