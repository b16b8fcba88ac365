"""What one section of model.yaml says about another."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.config.faults import Fault, known
from dicom_node.config.yaml_lines import YamlFile
from dicom_node.inference.bundle.manifest import Manifest


def check_manifest(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    """Look for sections that contradict each other."""
    yield from validate_steps(manifest, source)


def validate_steps(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    """Look for steps that do not fit the inputs."""
    slots = [slot.name for slot in manifest.inputs]
    for number, entry in enumerate(manifest.steps.preprocess):
        for position, name in enumerate(getattr(entry.step, "inputs", ())):
            if name not in slots:
                place: list[str | int] = ["steps", "preprocess", number, entry.name, "inputs", position]
                yield source.fault(place, f"no input is named {name!r}", known(name, slots))
