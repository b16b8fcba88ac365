"""The model facts label: what someone should know who reads a model's results, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dicom_node.domain.results import Stage
from dicom_node.inference.bundle import Manifest, ModelBundle
from dicom_node.inference.bundle.about_schema import Clearance
from dicom_node.inference.bundle.inputs_schema import InputKind, InputSlot, Irregular
from dicom_node.inference.bundle.outputs_schema import MeasurementEntry
from dicom_node.inference.bundle.scope_schema import IntendedUse, Protocol
from dicom_node.inference.bundle.tasks import tasks_of
from dicom_node.inference.scope_words import scope_sentences

_STAGES = {
    Stage.RESEARCH: "research: not a product, not for diagnosis; every result says so",
    Stage.VALIDATION: "validation: under test, not for diagnosis; every result says so",
    Stage.SUBMITTED: "submitted: a clearance is applied for, not for diagnosis yet; every result says so",
    Stage.CLEARED: "cleared",
}


@dataclass(frozen=True, slots=True)
class LabelSection:
    """A heading and what stands below it, one line each; never empty."""

    heading: str
    lines: tuple[str, ...]


def facts_label(manifest: Manifest, bundle: ModelBundle | None = None) -> tuple[LabelSection, ...]:
    """Write the label, most important first; sections about which the model says nothing are left out.

    Args:
        manifest: Of the model.
        bundle: For the digests; None while its networks are still to be fetched.
    """
    facts = manifest.facts
    sections = {
        "What it does": [facts.does],
        "Intended use": _intended_use(manifest),
        "Warnings": list(facts.warnings),
        "Acquisition protocol": _protocol(manifest),
        "How it works": [facts.mechanism],
        "Population": [facts.population],
        "Performance": [facts.performance],
        "Inputs": [_input(slot) for slot in manifest.inputs],
        "Outputs": list(_outputs(manifest)),
        "Verification cases": [f"{case.name} ({', '.join(_recipes(manifest, case.name))})" for case in manifest.verification.cases],
        "Engines": [_engines(manifest)],
        "Stage": [_STAGES[manifest.stage], *map(_clearance, manifest.clearances)],
        "Contact": [f"{c.name}: {', '.join(filter(None, (c.url, c.email)))}" for c in manifest.contacts],
        "Identity": list(_identity(manifest, bundle)),
    }
    return tuple(LabelSection(heading, tuple(filter(None, lines))) for heading, lines in sections.items() if any(lines))


def _intended_use(manifest: Manifest) -> list[str]:
    limits = list(_limits(manifest.intended_use))
    return [manifest.intended_use.text, *(["Only images with these are analysed:", *limits] if limits else [])]


def _protocol(manifest: Manifest) -> list[str]:
    limits = list(_limits(manifest.protocol))
    if not limits:
        return []
    source = [f"Source: {manifest.protocol.source}"] if manifest.protocol.source else []
    return ["The result carries a warning unless the images have:", *limits, *source]


def _limits(scope: IntendedUse | Protocol) -> Iterator[str]:
    yield from (f"- {sentence}" for sentence in scope_sentences(scope))
    for name, own in scope.inputs.items():
        yield from (f"- input {name}: {sentence}" for sentence in scope_sentences(own))


def _input(slot: InputSlot) -> str:
    if slot.kind is InputKind.FRAMES:
        words = f"{slot.name}: single images, {'in colour' if slot.color == 'rgb' else 'gray'}"
    else:
        uneven = "are resampled" if slot.uneven is Irregular.RESAMPLE else "are refused"
        tilted = "are resampled" if slot.tilted is Irregular.RESAMPLE else "are refused"
        words = f"{slot.name}: slices that form a volume; uneven distances {uneven}, tilted slices {tilted}"
    return words + (" (optional)" if slot.optional else "")


def _outputs(manifest: Manifest) -> Iterator[str]:
    outputs = manifest.outputs
    yield f"About: {outputs.finding.meaning}" + (f", {outputs.finding_site.meaning}" if outputs.finding_site else "")
    labels = {segment.id: segment.label for segment in outputs.segments}
    yield from (f"Segment: {segment.label} ({segment.property_type.meaning})" for segment in outputs.segments)
    yield from (_measurement(entry, labels) for entry in outputs.measurements)
    for finding in outputs.findings:
        site = f", {finding.site.meaning}" if finding.site else ""
        yield f"Finding: {finding.label} ({finding.concept.meaning}{site}), from a score of {finding.threshold:g}"
    for evaluation in outputs.evaluations:
        yield f"Answer: {evaluation.label} ({', '.join(answer.meaning for answer in evaluation.classes)})"
    yield from (f"Map: {entry.label} ({entry.quantity.meaning}, {entry.unit.value})" for entry in outputs.maps)


def _measurement(entry: MeasurementEntry, labels: dict[str, str]) -> str:
    about = f" of {labels[entry.segment]}" if entry.segment else ""
    usual = f"; reference: {entry.reference_range}" if entry.reference_range else ""
    return f"Measurement: {entry.label}{about}, {entry.unit.value}{usual}"


def _recipes(manifest: Manifest, name: str) -> Iterator[str]:
    case = next(case for case in manifest.verification.cases if case.name == name)
    for slot, recipe in case.inputs.items():
        yield f"{slot}: {recipe.file or recipe.generator}"


def _engines(manifest: Manifest) -> str:
    if manifest.network.file is None:
        return "No network; steps in Python"
    engines = manifest.engines
    fallback = "; the CPU stands in if no GPU can" if engines.cpu_fallback else "; without the CPU standing in"
    return f"{', '.join(engines.backends)} in {', '.join(engines.precisions)}, in this order of preference{fallback}"


def _clearance(clearance: Clearance) -> str:
    until = f", until {clearance.expires.isoformat()}" if clearance.expires else ""
    return f"{clearance.region}: class {clearance.device_class}, {clearance.number}{until}"


def _identity(manifest: Manifest, bundle: ModelBundle | None) -> Iterator[str]:
    yield f"{manifest.name} {manifest.version} by {manifest.manufacturer}; {', '.join(tasks_of(manifest))}"
    if bundle is None:
        yield f"The networks are not there yet: dicom-node models add {manifest.name}"
        return
    yield f"Bundle {bundle.digest}"
    if bundle.weights_sha256:
        yield f"Network {bundle.weights_sha256}"
