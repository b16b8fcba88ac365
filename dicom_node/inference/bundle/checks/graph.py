"""model.yaml against what the network files say of themselves; nothing is run."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import ModelProto

from dicom_node.config.faults import Fault, known
from dicom_node.config.yaml_lines import YamlFile
from dicom_node.errors import ModelError
from dicom_node.inference.bundle.checks.repeats import Place
from dicom_node.inference.bundle.checks.step_places import place_of_sentence
from dicom_node.inference.bundle.engines_schema import ShapeProfile
from dicom_node.inference.bundle.inputs_schema import FileFormat
from dicom_node.inference.bundle.manifest import Manifest
from dicom_node.inference.bundle.network_signature import onnx_signature, read_onnx
from dicom_node.inference.engines.repairs import apply_repairs
from dicom_node.inference.session import Signature, TensorInfo
from dicom_node.inference.steps.validate import validate_steps

_OUTPUTS = re.compile(r"^outputs\.\w+ ")


def check_networks(folder: Path, manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    """Read every ONNX file of a bundle; the others are programs, which only their engine can read.

    Args:
        folder: Of the bundle; the files are there.
        manifest: Without faults so far.
        source: model.yaml, for the lines.
    """
    network = manifest.network
    if network.format is not FileFormat.ONNX:
        return
    for name, file in network.more.items():
        try:
            onnx_signature(read_onnx(folder / file))
        except ModelError as error:
            yield source.fault(["network", "more", name], str(error))
    if network.file is None:
        return
    try:
        model = read_onnx(folder / network.file)
        signature = onnx_signature(model)
    except ModelError as error:
        yield source.fault(["network", "file"], str(error))
        return
    yield from _check_signature(manifest, signature, source)
    yield from _check_profiles(manifest, signature, source)
    yield from _check_graph(manifest, model, source)


def unused_keep_fp32(folder: Path, manifest: Manifest) -> list[str]:
    """List operator types that are to stay in single precision and that no network has; for a sound bundle."""
    if manifest.network.format is not FileFormat.ONNX or manifest.network.file is None or not manifest.engines.keep_fp32:
        return []
    files = (manifest.network.file, *manifest.network.more.values())
    there = {node.op_type for file in files for node in onnx.load(folder / file, load_external_data=False).graph.node}
    return [name for name in manifest.engines.keep_fp32 if name not in there]


def _check_signature(manifest: Manifest, signature: Signature, source: YamlFile) -> Iterator[Fault]:
    names = list(signature.inputs)
    if manifest.steps.python is None:
        for sentence in validate_steps(manifest, signature.inputs, signature.outputs):
            yield source.fault(place_of_sentence(sentence, manifest), _OUTPUTS.sub("", sentence).rstrip("."))
        return
    for name in manifest.network.inputs:
        if name not in signature.inputs:
            yield source.fault(["network", "inputs", name], f"the network has no input {name!r}", known(name, names))


def _check_profiles(manifest: Manifest, signature: Signature, source: YamlFile) -> Iterator[Fault]:
    for name, profile in manifest.engines.profiles.items():
        place: Place = ["engines", "profiles", name]
        if name not in signature.inputs:
            yield source.fault(place, f"the network has no input {name!r}", known(name, list(signature.inputs)))
        elif problem := _profile_problem(profile, signature.inputs[name]):
            yield source.fault(place, problem)


def _profile_problem(profile: ShapeProfile, info: TensorInfo) -> str:
    if info.shape is None:
        return ""
    if len(profile.min) != len(info.shape):
        return f"has {len(profile.min)} axes, the network's input has {len(info.shape)}"
    for axis, length in enumerate(info.shape):
        if length is not None and {profile.min[axis], profile.max[axis]} != {length}:
            return f"axis {axis} goes from {profile.min[axis]} to {profile.max[axis]}, the network takes exactly {length}"
    return ""


def _check_graph(manifest: Manifest, model: ModelProto, source: YamlFile) -> Iterator[Fault]:
    types = {schema.name for schema in onnx.defs.get_all_schemas()}
    for number, name in enumerate(manifest.engines.keep_fp32 or ()):
        if name not in types and not any(node.op_type == name for node in model.graph.node):
            near = difflib.get_close_matches(name, sorted(types), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "names are those of ONNX, such as ReduceMean"
            yield source.fault(["engines", "keep_fp32", number], f"ONNX has no operator {name!r}", hint)
    for number, name in enumerate(manifest.network.repairs):
        try:
            apply_repairs(model, [name])
        except ModelError as error:
            yield source.fault(["network", "repairs", number], str(error), error.hint)
