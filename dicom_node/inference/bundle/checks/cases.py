"""Verification cases against inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dicom_node.config.faults import Fault, known
from dicom_node.config.keywords import keyword_problem
from dicom_node.config.yaml_lines import YamlFile
from dicom_node.errors import ModelError
from dicom_node.inference.bundle.checks.repeats import Place, repeated
from dicom_node.inference.bundle.inputs_schema import InputKind
from dicom_node.inference.bundle.manifest import Manifest
from dicom_node.inference.bundle.verification_schema import Case, Recipe
from dicom_node.inference.gate.phantoms import GENERATORS, phantom


def check_cases(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    """Cases give every input, and expect outputs that there are."""
    cases = manifest.verification.cases
    yield from repeated(source, [(["verification", "cases", n, "name"], case.name) for n, case in enumerate(cases)], "case")
    for number, case in enumerate(cases):
        place: Place = ["verification", "cases", number]
        yield from _check_inputs(manifest, case, place, source)
        yield from _check_ids(manifest, case, [*place, "expect"], source)
        yield from _check_kind(manifest, case, [*place, "expect"], source)


def _check_inputs(manifest: Manifest, case: Case, place: Place, source: YamlFile) -> Iterator[Fault]:
    slots = [slot.name for slot in manifest.inputs]
    for name, recipe in case.inputs.items():
        if name not in slots:
            yield source.fault([*place, "inputs", name], f"no input is named {name!r}", known(name, slots))
        for keyword in recipe.attributes:
            if problem := keyword_problem(keyword):
                yield source.fault([*place, "inputs", name, "attributes", keyword], problem)
        if recipe.generator:
            yield from _check_generator(recipe, [*place, "inputs", name], source)
    for slot in manifest.inputs:
        if not slot.optional and slot.name not in case.inputs:
            yield source.fault([*place, "inputs"], f"input {slot.name!r} is missing, the model does not run without it")


def _check_generator(recipe: Recipe, place: Place, source: YamlFile) -> Iterator[Fault]:
    if recipe.generator not in GENERATORS:
        hint = known(recipe.generator, list(GENERATORS))
        yield source.fault([*place, "generator"], f"no generator is named {recipe.generator!r}", hint)
        return
    try:
        phantom(recipe.generator, recipe.parameters)
    except ModelError as error:
        yield source.fault([*place, "parameters"], str(error))


def _check_ids(manifest: Manifest, case: Case, place: Place, source: YamlFile) -> Iterator[Fault]:
    ids = {kind: [entry.id for entry in entries] for kind, entries in manifest.outputs.entries().items()}
    expect = case.expect
    named: list[tuple[Place, str, Sequence[str]]] = []
    for kind, wanted in (("measurements", expect.measurements), ("segments", expect.segments), ("evaluations", expect.evaluations)):
        named += [([*place, kind, name], name, ids[kind]) for name in wanted]
    named += [([*place, "findings", n, "id"], finding.id, ids["findings"]) for n, finding in enumerate(expect.findings or ())]
    for where, name, names in named:
        if name not in names:
            yield source.fault(where, f"the model has no such output {name!r}", known(name, names))
    for entry in manifest.outputs.evaluations:
        answer, answers = expect.evaluations.get(entry.id), [c.value for c in entry.classes]
        if answer is not None and answer not in answers:
            yield source.fault([*place, "evaluations", entry.id], f"{answer!r} is none of its classes", known(answer, answers))


def _check_kind(manifest: Manifest, case: Case, place: Place, source: YamlFile) -> Iterator[Fault]:
    frames = manifest.inputs[0].kind is InputKind.FRAMES
    for name, segment in case.expect.segments.items():
        if frames and segment.volume_ml is not None:
            yield source.fault([*place, "segments", name, "volume_ml"], "frames have no volume")
    for number, finding in enumerate(case.expect.findings or ()):
        if frames and finding.center_mm is not None:
            yield source.fault([*place, "findings", number, "center_mm"], "frames have no place in the patient", "write center_px")
        if not frames and finding.center_px is not None:
            yield source.fault([*place, "findings", number, "center_px"], "a finding in a volume has its centre in mm", "write center_mm")
