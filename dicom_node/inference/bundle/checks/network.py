"""The network section against inputs, steps and engines."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.config.faults import Fault, known
from dicom_node.config.yaml_lines import YamlFile
from dicom_node.inference.bundle.checks.repeats import Place
from dicom_node.inference.bundle.inputs_schema import FileFormat
from dicom_node.inference.bundle.manifest import Manifest
from dicom_node.inference.python_models import python_models

_TORCH = (FileFormat.TORCHSCRIPT, FileFormat.PT2)


def check_network(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    """There is a network or Python steps, each input of it names one of the model, and options belong to the format."""
    network, python = manifest.network, manifest.steps.python
    yield from _check_program(manifest, source)
    if network.file is None and python is None and network.format is not FileFormat.COMMAND:
        yield source.fault(["network"], "no network file, and no Python steps that could do without", "name network.file")
    if network.file is None:
        for option in sorted(network.model_fields_set & {"sha256", "inputs", "outputs", "repairs", "more"}):
            yield source.fault(["network", option], "there is no network.file that this could be about")
    slots = [slot.name for slot in manifest.inputs]
    for name, slot in network.inputs.items():
        if slot not in slots:
            yield source.fault(["network", "inputs", name], f"no input is named {slot!r}", known(slot, slots))
    if python is None:
        yield from _check_declared(manifest, source)
    elif python not in python_models():
        yield source.fault(
            ["steps", "python"], f"no Python steps are named {python!r} in group dicom_node.models", known(python, python_models())
        )
    yield from _check_fill(manifest, source)
    yield from _check_format(manifest, source)


def _check_fill(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    declared = manifest.steps.python is None and manifest.network.format not in (FileFormat.COMMAND, FileFormat.MONAI)
    for number, given in enumerate(manifest.inputs):
        if given.fill is not None and not declared:
            yield source.fault(["inputs", number, "fill"], "is for declared steps; this model sees by itself that the input is missing")


def _check_program(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    network, steps = manifest.network, manifest.steps
    if network.format is FileFormat.MONAI and steps.preprocess:
        yield source.fault(["steps", "preprocess"], "a MONAI bundle prepares its images itself", "leave it out")
    if network.format is not FileFormat.COMMAND:
        for option in sorted(network.model_fields_set & {"command", "image", "input_files"}):
            yield source.fault(["network", option], f"is for format command, the network is {network.format}")
        return
    if not network.command and not network.image:
        yield source.fault(["network"], "format command names no program", "name command, or image")
    if network.file is not None:
        yield source.fault(["network", "file"], "a program is named by command or image, not by file")
    if steps.python is not None:
        yield source.fault(["steps", "python"], "a program has no Python steps")
    if steps.preprocess:
        yield source.fault(["steps", "preprocess"], "a program prepares its images itself", "leave it out")


def _check_declared(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    network = manifest.network
    if network.file is not None and not network.inputs and network.format not in (FileFormat.COMMAND, FileFormat.MONAI):
        yield source.fault(["network", "inputs"], "no input of the network is named: declared steps do not know what it gets")
    for name in network.more:
        yield source.fault(["network", "more", name], "only Python steps can use a further network")
    used = {*network.inputs.values(), *_stacked(manifest)}
    for number, given in enumerate(manifest.inputs):
        if network.inputs and given.name not in used:
            place: Place = ["inputs", number, "name"]
            yield source.fault(place, f"nothing uses input {given.name!r}", "name it in network.inputs, or leave it out")
        elif number and network.inputs and given.optional and given.fill is None:
            place = ["inputs", number, "optional"]
            yield source.fault(place, "the network needs it, and nothing says what it gets where it is missing", "name fill, such as 0")


def _stacked(manifest: Manifest) -> set[str]:
    """Inputs that a step joins to another one."""
    return {name for entry in manifest.steps.preprocess if entry.channels is not None for name in entry.channels.stack}


def _check_format(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    network = manifest.network
    if network.repairs and network.format is not FileFormat.ONNX:
        yield source.fault(["network", "repairs"], f"repairs are for onnx, the network is {network.format}")
    if network.outputs and network.format not in _TORCH:
        yield source.fault(["network", "outputs"], f"an {network.format} network names its outputs itself", "leave it out")
    if network.outputs and len(set(network.outputs)) < len(network.outputs):
        yield source.fault(["network", "outputs"], "a name is given twice")
