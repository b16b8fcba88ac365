"""Reading rules.test.yaml: every fault is collected, with its line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.config.cases_schema import CasesFile, RuleCase, prior_names, series_names
from dicom_node.config.faults import ConfigurationFaults, Fault
from dicom_node.config.faults import known as known_names
from dicom_node.config.schema_faults import validated
from dicom_node.config.yaml_lines import YamlFile, parse_yaml
from dicom_node.domain.rules import Rule


@dataclass(frozen=True, slots=True)
class PlacedCase:
    """A case and where it stands, as `FILE:LINE`."""

    case: RuleCase
    place: str


def load_cases(path: Path, rules: Sequence[Rule]) -> tuple[PlacedCase, ...]:
    """Read and check the cases of some rules.

    Raises:
        ConfigurationFaults: every fault of the file; a rule, input or series that it names and that does not exist is one.
    """
    faults: list[Fault] = []
    source = parse_yaml(path, faults)
    found = validated(CasesFile, source, faults)
    if found is not None and source is not None:
        faults.extend(_cross_check(found, rules, source))
    if faults or found is None or source is None:
        raise ConfigurationFaults(faults)
    lines = (source.fault(["cases", number], "") for number in range(len(found.cases)))
    return tuple(PlacedCase(case, f"{fault.file}:{fault.line}") for case, fault in zip(found.cases, lines, strict=True))


def _cross_check(file: CasesFile, rules: Sequence[Rule], source: YamlFile) -> Iterator[Fault]:
    names = [case.name for case in file.cases]
    for number, case in enumerate(file.cases):
        if case.name in names[:number]:
            yield source.fault(["cases", number, "name"], f"name {case.name!r} is used twice", "names must differ")
        yield from _check_series(case, number, source)
        yield from _check_rules(case, number, rules, source)


def _check_series(case: RuleCase, number: int, source: YamlFile) -> Iterator[Fault]:
    for what, names in (("series", series_names(case.series)), ("priors", prior_names(case))):
        for position, name in enumerate(names):
            if name in names[:position]:
                yield source.fault(["cases", number, what, position], f"name {name!r} is used twice", "names must differ")


def _check_rules(case: RuleCase, number: int, rules: Sequence[Rule], source: YamlFile) -> Iterator[Fault]:
    known = {rule.name: rule for rule in rules}
    named: list[tuple[list[str | int], str]] = [(["runs", position], name) for position, name in enumerate(case.runs or ())]
    named += [(["rules", name], name) for name in case.rules]
    if case.held_by is not None:
        named.append((["held_by"], case.held_by))
    for location, name in named:
        if name not in known:
            yield source.fault(["cases", number, *location], f"no rule is named {name!r}", known_names(name, list(known)))
    series = [*series_names(case.series), *_prior_series(case)]
    for name, wanted in case.rules.items():
        inputs = [slot.name for slot in known[name].inputs] if name in known else list(wanted.inputs)
        for slot, text in wanted.inputs.items():
            location = ["cases", number, "rules", name, "inputs", slot]
            if slot not in inputs:
                yield source.fault(location, f"rule {name} has no input {slot!r}", known_names(slot, inputs))
            for one in [text] if isinstance(text, str) else text or []:
                if one not in series:
                    yield source.fault(location, f"no series of the case is named {one!r}", known_names(one, series))


def _prior_series(case: RuleCase) -> Iterator[str]:
    for name, prior in zip(prior_names(case), case.priors, strict=True):
        yield from (f"{name}/{series}" for series in series_names(prior.series))
