"""Steps against the inputs, as far as model.yaml alone can tell; with the network loaded `steps.validate` tells more."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.config.faults import Fault, known
from dicom_node.config.yaml_lines import YamlFile
from dicom_node.inference.bundle.checks.repeats import Place
from dicom_node.inference.bundle.inputs_schema import InputKind
from dicom_node.inference.bundle.manifest import Manifest
from dicom_node.inference.steps.preprocess_schema import PreprocessEntry

_PER_AXIS = ("spacing_mm", "size", "multiple", "center")


def check_steps(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    """Steps name inputs that there are, and do to frames what frames have."""
    slots = {slot.name: slot.kind for slot in manifest.inputs}
    for number, entry in enumerate(manifest.steps.preprocess):
        place: Place = ["steps", "preprocess", number, entry.name]
        named = [
            ([*place, option, position], name)
            for option in ("inputs", "stack")
            for position, name in enumerate(getattr(entry.step, option, ()))
        ]
        for where, name in named:
            if name not in slots:
                yield source.fault(where, f"no input is named {name!r}", known(name, list(slots)))
        kinds = {slots[name] for _, name in named if name in slots} or set(slots.values())
        if InputKind.FRAMES in kinds:
            yield from _check_frames(entry, place, source)
    if manifest.steps.infer.slices is not None and manifest.inputs[0].kind is InputKind.FRAMES:
        yield source.fault(["steps", "infer", "slices"], "frames have no slices", "write whole")
    window = manifest.steps.infer.sliding_window
    if window is not None and len(window.size) == 3 and manifest.inputs[0].kind is InputKind.FRAMES:
        yield source.fault(["steps", "infer", "sliding_window", "size"], "has three lengths, frames have rows and columns")
    yield from _check_volume_steps(manifest, source)


def _check_frames(entry: PreprocessEntry, place: Place, source: YamlFile) -> Iterator[Fault]:
    if entry.orient is not None:
        yield source.fault(place, "is for volumes, an input is frames: they have no place in the patient")
    if entry.channels is not None and entry.channels.stack:
        yield source.fault([*place, "stack"], "joins volumes by their place in the patient, an input is frames")
    sections = [(place, entry.step)]
    if entry.crop is not None and entry.crop.box is not None:
        sections.append(([*place, "box"], entry.crop.box))
    for where, section in sections:
        for name in (*_PER_AXIS, "start", "stop"):
            value = getattr(section, name, None)
            if isinstance(value, tuple) and len(value) == 3:
                yield source.fault([*where, name], "has three values, an input is frames: they have rows and columns")


def _check_volume_steps(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    frames = manifest.inputs[0].kind is InputKind.FRAMES
    for number, entry in enumerate(manifest.steps.postprocess):
        place: Place = ["steps", "postprocess", number, entry.name]
        if frames and entry.components is not None and entry.components.drop_below_ml:
            yield source.fault([*place, "drop_below_ml"], "frames have no volume", "write drop_below_pixels")
        if frames and entry.boxes is not None and len(entry.boxes.axes) == 3:
            yield source.fault([*place, "axes"], f"{entry.boxes.axes} has three axes, frames have x and y")
