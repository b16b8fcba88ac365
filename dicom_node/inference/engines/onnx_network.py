"""ONNX files on their way to an engine: read, repaired as declared, brought to a precision, and their limits in words."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.checker import ValidationError

from dicom_node.errors import ModelError
from dicom_node.inference.engines.precision import convert
from dicom_node.inference.engines.repairs import apply_repairs
from dicom_node.inference.network import Network, NetworkFormat, Precision, SessionOptions

_LARGEST_BYTES = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class PreparedNetwork:
    """What an engine gets.

    Attributes:
        model: The ONNX model; without weights that are in external files.
        content: The same, serialised. Weights in external files stay there when nothing was changed, and are in it otherwise.
        external: Names of the external files, beside the network; an engine then has to be given the network's path.
        sha256: Of all of it, external files included, hexadecimal.
        size_bytes: Of all of it.
        notes: What was done to the graph, for the record.
    """

    model: onnx.ModelProto
    content: bytes
    external: tuple[str, ...]
    sha256: str
    size_bytes: int
    notes: tuple[str, ...]


def prepare(network: Network, precision: Precision, options: SessionOptions) -> PreparedNetwork:
    """Read a network, apply the declared repairs, and convert it.

    Raises:
        ModelError: not ONNX, unreadable, another file than was pinned, or it cannot be repaired or converted.
    """
    if network.format is not NetworkFormat.ONNX:
        raise ModelError(f"{network.path}: the engine reads onnx, the network is {network.format}")
    content, folder = network.read(), network.path.parent
    model = parse(content, str(network.path))
    external = _external_files(model)
    notes: tuple[str, ...] = ()
    if precision is not Precision.FP32 or options.repairs:
        model, notes = _rewritten(model, folder, precision, options)
        content, external = model.SerializeToString(deterministic=True), ()
    digest, size = hashlib.sha256(content), len(content)
    for name in external:
        weights, length = _digest(folder / name)
        digest.update(weights)
        size += length
    return PreparedNetwork(model, content, external, digest.hexdigest(), size, notes)


def _rewritten(
    model: onnx.ModelProto, folder: Path, precision: Precision, options: SessionOptions
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    try:
        onnx.load_external_data_for_model(model, str(folder))
    except (OSError, ValueError, ValidationError) as error:
        raise ModelError(f"the weights beside the network cannot be read: {error}") from error
    repairs = apply_repairs(model, options.repairs)
    model, conversions = convert(model, precision, options.keep_fp32)
    if model.ByteSize() > _LARGEST_BYTES:
        raise ModelError(f"the network is {model.ByteSize()} bytes after {precision} conversion, one ONNX file holds {_LARGEST_BYTES}")
    return model, repairs + conversions


def parse(content: bytes, name: str) -> onnx.ModelProto:
    """Decode an ONNX model, without its external data.

    Raises:
        ModelError: it is none.
    """
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise ModelError(f"{name}: this is no ONNX model: {error}") from error
    if not model.graph.node or not model.opset_import:
        raise ModelError(f"{name}: this is no ONNX model: it has no operators")
    return model


def ranks(model: onnx.ModelProto) -> Mapping[str, int | None]:
    """Tell how many axes each input and output has; None where the file does not say."""
    graph = model.graph
    tensors = ((value.name, value.type.tensor_type) for value in (*graph.input, *graph.output))
    return {name: len(tensor.shape.dim) if tensor.HasField("shape") else None for name, tensor in tensors}


def equal_lengths(model: onnx.ModelProto) -> tuple[tuple[tuple[str, int], ...], ...]:
    """Group the axes of inputs to which the file gives one name: their lengths are the same; `?` (Paddle's exporter) is no name."""
    groups: dict[str, list[tuple[str, int]]] = {}
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        for axis, length in enumerate(value.type.tensor_type.shape.dim):
            if length.dim_param.strip("?") and value.name not in weights:
                groups.setdefault(length.dim_param, []).append((value.name, axis))
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def limits_exceeded(model: onnx.ModelProto, highest_opset: int, highest_ir: int) -> str:
    """Say in words whether a network is newer than an engine; empty when it is not."""
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset > highest_opset:
        return f"it is written for opset {opset}, the engine knows up to {highest_opset}; export it again with an older opset"
    if model.ir_version > highest_ir:
        return f"it is written in IR version {model.ir_version}, the engine knows up to {highest_ir}; export it again with an older onnx"
    return ""


def _external_files(model: onnx.ModelProto) -> tuple[str, ...]:
    tensors = (tensor for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL)
    return tuple(sorted({entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}))


def _digest(path: Path) -> tuple[bytes, int]:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest(), file.tell()
    except OSError as error:
        raise ModelError(f"{path}: the weights beside the network cannot be read: {error.strerror}") from error
