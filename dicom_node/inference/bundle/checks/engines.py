"""Engines against network, steps and outputs."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.config.faults import Fault, known
from dicom_node.config.yaml_lines import YamlFile
from dicom_node.inference.bundle.checks.repeats import Place, repeated
from dicom_node.inference.bundle.engines_schema import Backend
from dicom_node.inference.bundle.inputs_schema import FileFormat
from dicom_node.inference.bundle.manifest import Manifest
from dicom_node.inference.network import Precision

_TORCH = frozenset({FileFormat.TORCHSCRIPT, FileFormat.PT2})
READS = {
    Backend.TENSORRT: frozenset({FileFormat.ONNX}),
    Backend.ONNXRUNTIME: frozenset({FileFormat.ONNX}),
    Backend.OPENVINO: frozenset({FileFormat.ONNX}),
    Backend.TORCH: _TORCH,
    Backend.TRITON: frozenset({FileFormat.ONNX}) | _TORCH,
}
"""Forms of network files by back end; a test compares it with the back ends."""


def check_engines(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    """Back ends read the network, tolerances are about outputs that there are, profiles about inputs of the network."""
    engines, network = manifest.engines, manifest.network
    yield from repeated(source, [(["engines", "backends", n], b.value) for n, b in enumerate(engines.backends)], "back end")
    yield from repeated(source, [(["engines", "precisions", n], p.value) for n, p in enumerate(engines.precisions)], "precision")
    if network.file is not None and network.format not in (FileFormat.COMMAND, FileFormat.MONAI):
        for number, backend in enumerate(engines.backends):
            if network.format not in READS[backend]:
                able = [b.value for b in Backend if network.format in READS[b]]
                message = f"{backend} does not read {network.format} networks"
                yield source.fault(["engines", "backends", number], message, f"those that do: {', '.join(able)}")
    if engines.keep_fp32 is not None and set(engines.precisions) == {Precision.FP32}:
        yield source.fault(["engines", "keep_fp32"], "everything stays in single precision: precisions are fp32 alone", "leave it out")
    yield from _check_triton(manifest, source)
    yield from _check_tolerance(manifest, source)
    for name in engines.profiles:
        if manifest.steps.python is None and name not in network.inputs:
            yield source.fault(["engines", "profiles", name], f"the network has no input {name!r}", known(name, list(network.inputs)))


def _check_triton(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    engines = manifest.engines
    named = Backend.TRITON in engines.backends
    if named and engines.triton is None:
        place: Place = ["engines", "backends", engines.backends.index(Backend.TRITON)]
        yield source.fault(place, "nothing says where the server is", "write engines.triton: {url: ..., model: ..., version: ...}")
    if engines.triton is not None and not named:
        yield source.fault(["engines", "triton"], "backends do not name triton", "name it there, or leave this out")
    if named and manifest.network.more:
        yield source.fault(["engines", "triton"], "a server serves one network, the bundle has further ones (network.more)")


def _check_tolerance(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    outputs = manifest.outputs
    about = {
        "dice": ("segments", outputs.segments),
        "measurements": ("measurements", outputs.measurements),
        "iou": ("findings", outputs.findings),
        "argmax": ("segments, findings or evaluations", (*outputs.segments, *outputs.findings, *outputs.evaluations)),
    }
    for name, (what, entries) in about.items():
        if name in manifest.engines.tolerance.model_fields_set and not entries:
            yield source.fault(["engines", "tolerance", name], f"there are no {what} that could differ", "leave it out")
