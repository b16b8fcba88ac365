"""Outputs among each other, and against steps and inputs."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.config.faults import Fault, known
from dicom_node.config.yaml_lines import YamlFile
from dicom_node.inference.bundle.checks.repeats import Place, repeated
from dicom_node.inference.bundle.inputs_schema import InputKind
from dicom_node.inference.bundle.manifest import Manifest
from dicom_node.inference.bundle.outputs_schema import MeasurementEntry
from dicom_node.inference.steps.schema import is_segment_quantity

_UNITS = {"volume_ml": ("mL", "ml", "cm3"), "diameter_mm": ("mm",)}


def check_outputs(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    """Each output has a name and a place in the network's answer of its own."""
    entries = manifest.outputs.entries().items()
    yield from repeated(source, [(["outputs", kind, n, "id"], e.id) for kind, found in entries for n, e in enumerate(found)], "id")
    for kind, found in entries:
        yield from repeated(source, [(["outputs", kind, n, "label"], e.label) for n, e in enumerate(found)], "label")
    yield from _check_places(manifest, source)
    for number, entry in enumerate(manifest.outputs.measurements):
        yield from _check_measurement(manifest, entry, ["outputs", "measurements", number], source)
    for number, evaluation in enumerate(manifest.outputs.evaluations):
        place: Place = ["outputs", "evaluations", number, "classes"]
        classes = [([*place, n], f"{c.value} ({c.scheme})") for n, c in enumerate(evaluation.classes)]
        yield from repeated(source, classes, "class")
    if manifest.steps.python is None:
        yield from _check_declared(manifest, source)


def _check_places(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    """No two segments are one mask, no two findings one class, no two maps one channel."""
    section = manifest.outputs
    channels: list[tuple[Place, object]] = []
    values: list[tuple[Place, object]] = []
    for number, segment in enumerate(section.segments):
        place: Place = ["outputs", "segments", number]
        if segment.channel is not None:
            channels.append(([*place, "channel"], _of(segment.channel, segment.output)))
        if segment.label_value is not None:
            values.append(([*place, "label_value"], _of(segment.label_value, segment.output)))
    yield from repeated(source, channels, "channel")
    yield from repeated(source, values, "label_value")
    if manifest.steps.python is None:
        classes: list[tuple[Place, object]] = [
            (["outputs", "findings", n], _of(f.class_index, f.output)) for n, f in enumerate(section.findings)
        ]
        yield from repeated(source, classes, "class_index")
        maps: list[tuple[Place, object]] = [(["outputs", "maps", n], _of(m.channel, m.output)) for n, m in enumerate(section.maps)]
        yield from repeated(source, maps, "channel")


def _of(number: int, output: str) -> object:
    return f"{number} of output {output}" if output else number


def _check_measurement(manifest: Manifest, entry: MeasurementEntry, place: Place, source: YamlFile) -> Iterator[Fault]:
    segments = [segment.id for segment in manifest.outputs.segments]
    if entry.segment and entry.segment not in segments:
        yield source.fault([*place, "segment"], f"no segment has the id {entry.segment!r}", known(entry.segment, segments))
    if is_segment_quantity(entry.of):
        if not entry.segment:
            yield source.fault([*place, "of"], f"{entry.of} is of a segment, and none is named", "name it by `segment`")
        if entry.index is not None:
            yield source.fault([*place, "index"], f"{entry.of} of a segment is one number")
        if entry.of == "volume_ml" and manifest.inputs[0].kind is InputKind.FRAMES:
            yield source.fault([*place, "of"], "volume_ml: frames have no volume")
        if entry.unit.value not in _UNITS.get(entry.of, (entry.unit.value,)):
            yield source.fault([*place, "unit"], f"{entry.of} comes in {_UNITS[entry.of][0]}, the unit is {entry.unit.value}")
    elif entry.index is not None and not entry.of:
        yield source.fault([*place, "index"], "no network output is named by `of`")


def _check_declared(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    section = manifest.outputs
    for number, measurement in enumerate(section.measurements):
        if not measurement.of:
            place: Place = ["outputs", "measurements", number]
            yield source.fault(place, "`of` is missing: nothing says what is measured", "a quantity of a segment, or a network output")
