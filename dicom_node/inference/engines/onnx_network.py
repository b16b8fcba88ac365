"""ONNX files on their way to an engine: read, repaired as declared, brought to a precision, and their limits in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from dicom_node.errors import ModelError
from dicom_node.inference.network import Network, NetworkFormat, Precision, SessionOptions

_LARGEST_BYTES = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class PreparedNetwork:
    """What an engine gets.

    Attributes:
        content: Serialised ONNX model; weights in external files stay there when nothing was changed.
        size_bytes: With external files.
        notes: What was done to the graph, for the record.
    """

    content: bytes
    size_bytes: int
    notes: tuple[str, ...]


def prepare(network: Network, precision: Precision, options: SessionOptions) -> PreparedNetwork:
    """Read a network, apply the declared repairs, and convert it.

    Raises:
        ModelError: not ONNX, unreadable, another file than was pinned, or it cannot be repaired or converted.
    """
    if network.format is not NetworkFormat.ONNX:
        raise ModelError(f"{network.path}: the engine reads onnx, the network is {network.format}")
    content = network.read()
    if precision is not Precision.FP32 or options.repairs:
        raise ModelError("not yet")
    external = sum(path.stat().st_size for path in _external_files(network.path))
    return PreparedNetwork(content, len(content) + external, ())


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


def ranks(content: bytes) -> Mapping[str, int | None]:
    """Tell how many axes each input and output has; None where the file does not say."""
    graph = parse(content, "network").graph
    tensors = ((value.name, value.type.tensor_type) for value in (*graph.input, *graph.output))
    return {name: len(tensor.shape.dim) if tensor.HasField("shape") else None for name, tensor in tensors}


def limits_exceeded(content: bytes, highest_opset: int, highest_ir: int) -> str:
    """Say in words whether a network is newer than an engine; empty when it is not, or is no network at all."""
    try:
        model = parse(content, "network")
    except ModelError:
        return ""
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset > highest_opset:
        return f"it is written for opset {opset}, the engine knows up to {highest_opset}; export it again with an older opset"
    if model.ir_version > highest_ir:
        return f"it is written in IR version {model.ir_version}, the engine knows up to {highest_ir}; export it again with an older onnx"
    return ""


def _external_files(path: Path) -> Iterator[Path]:
    yield from sorted(path.parent.glob(f"{path.name}*.data"))
