"""Intended use and protocol against the inputs."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.config.faults import Fault, known
from dicom_node.config.yaml_lines import YamlFile
from dicom_node.inference.bundle.checks.repeats import Place, repeated
from dicom_node.inference.bundle.inputs_schema import InputKind
from dicom_node.inference.bundle.manifest import Manifest
from dicom_node.inference.bundle.scope_schema import Geometry, InputScope

_VOLUMES_ONLY = ("slices", "slice_spacing_mm", "coverage_mm", "orientation", "orientation_tolerance_deg")
_FRAMES_ONLY = ("frames",)


def check_scope(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    """Limits are for the kind of images that the input has, and names are those of inputs, keywords and limits."""
    slots = {slot.name: slot for slot in manifest.inputs}
    yield from repeated(source, [(["inputs", n, "name"], slot.name) for n, slot in enumerate(manifest.inputs)], "input")
    if manifest.inputs[0].optional:
        yield source.fault(["inputs", 0, "optional"], "the first input is the one that results refer to, it cannot be optional")
    for section, scope in (("intended_use", manifest.intended_use), ("protocol", manifest.protocol)):
        for name, own in scope.inputs.items():
            place: Place = [section, "inputs", name]
            if name not in slots:
                yield source.fault(place, f"no input is named {name!r}", known(name, list(slots)))
                continue
            yield from _check_geometry(own.geometry, {slots[name].kind}, [*place, "geometry"], source)
            yield from _check_consequences(own, place, source)
        shared = {slot.kind for slot in manifest.inputs if slot.name not in scope.inputs}
        yield from _check_geometry(scope.geometry, shared, [section, "geometry"], source)
        yield from _check_consequences(scope, [section], source)


def _check_geometry(geometry: Geometry, kinds: set[InputKind], place: Place, source: YamlFile) -> Iterator[Fault]:
    for kind, names, other in ((InputKind.FRAMES, _VOLUMES_ONLY, "volumes"), (InputKind.VOLUME, _FRAMES_ONLY, "frames")):
        for name in names:
            if kind in kinds and name in geometry.model_fields_set:
                what = "frames" if kind is InputKind.FRAMES else "a volume"
                yield source.fault(
                    [*place, name], f"is for {other}, an input is {what}", "leave it out, or say under `inputs` which input is meant"
                )


def _check_consequences(scope: InputScope, place: Place, source: YamlFile) -> Iterator[Fault]:
    names = [*scope.match, *sorted(scope.geometry.model_fields_set - {"orientation_tolerance_deg"})]
    for name in scope.consequences:
        if name not in names:
            yield source.fault([*place, "consequences", name], f"{name!r} is neither in match nor in geometry", known(name, names))
