"""What an ONNX file says of itself, as far as an import needs it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto

from dicom_node.errors import ModelError
from dicom_node.inference.bundle.network_signature import onnx_signature, read_onnx
from dicom_node.inference.engines.repairs import apply_repairs
from dicom_node.inference.importing.request import ImportFailedError
from dicom_node.inference.session import Signature

OLDEST_OPSET = 7
"""ONNX Runtime guarantees operator sets from 7 on."""
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
_REPAIR = "instance-norm-by-axis"
_ACTIVATIONS = {"Sigmoid": "sigmoid", "Softmax": "softmax"}
_PASS_ON = frozenset({"Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten"})


@dataclass(frozen=True, slots=True)
class OnnxFacts:
    """A network.

    Attributes:
        repairs: Graph repairs that apply to it, by name.
        activations: By output: `sigmoid` or `softmax` where that is the last operator; missing where it is another.
    """

    signature: Signature
    opset: int
    ir_version: int
    repairs: tuple[str, ...]
    activations: dict[str, str]


def install_onnx(source: Path, target: Path) -> tuple[OnnxFacts, tuple[str, ...]]:
    """Copy a network, with weights that lie in files beside it taken in, and look at it.

    Returns:
        What it is, and notes.

    Raises:
        ImportFailedError: it is no ONNX file, or one that no engine of this node runs.
    """
    notes: list[str] = []
    try:
        bare = onnx.load(source, load_external_data=False)
        if any(t.data_location == onnx.TensorProto.EXTERNAL for t in bare.graph.initializer):
            onnx.save_model(onnx.load(source), target)
            notes.append("weights that lay in files beside the network were taken into it")
        else:
            target.write_bytes(source.read_bytes())
    except (OSError, DecodeError, ValueError, onnx.checker.ValidationError) as error:
        raise ImportFailedError(f"{source.name} cannot be read as ONNX: {' '.join(str(error).split())[:200]}") from error
    try:
        model = read_onnx(target)
        facts = _facts(model, onnx_signature(model))
    except ImportFailedError:
        raise
    except ModelError as error:
        raise ImportFailedError(f"{source.name}: {error}", hint=error.hint) from error
    if facts.repairs:
        notes.append(f"repair {', '.join(facts.repairs)} is declared: InstanceNormalization loses digits over large volumes without it")
    return facts, (f"ONNX operator set {facts.opset}, IR version {facts.ir_version}", *notes)


def _facts(model: ModelProto, signature: Signature) -> OnnxFacts:
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise ImportFailedError(f"the network has operator set {opset}, this node runs {OLDEST_OPSET} to {newest}", hint="export it anew")
    foreign = sorted({node.domain for node in model.graph.node} - _DOMAINS)
    if foreign:
        raise ImportFailedError(f"the network needs operators of {', '.join(foreign)}, which no engine here has")
    activations = {output.name: kind for output in model.graph.output if (kind := _activation(model, output.name))}
    return OnnxFacts(signature, opset, model.ir_version, _repairs(model), activations)


def _repairs(model: ModelProto) -> tuple[str, ...]:
    try:
        apply_repairs(copy.deepcopy(model), [_REPAIR])
    except ModelError:  # nothing to do, or a graph that does not say its axes; then the file is run as it is
        return ()
    return (_REPAIR,)


def _activation(model: ModelProto, output: str) -> str:
    """Follow an output back to the operator that gave it its values."""
    makers = {name: node for node in model.graph.node for name in node.output}
    name = output
    while (node := makers.get(name)) is not None and node.op_type in _PASS_ON:
        name = node.input[0]
    return _ACTIVATIONS.get(node.op_type, "") if node is not None else ""
