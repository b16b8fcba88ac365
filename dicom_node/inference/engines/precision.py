"""ONNX networks brought to half precision: the file's own types decide what an engine computes in (TensorRT 11 has no other way).

The conversion is onnxruntime's; what it leaves to do is done here: the order of the nodes, bfloat16, and a check of the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, shape_inference, version_converter
from onnx.checker import ValidationError

from dicom_node.errors import ModelError
from dicom_node.inference.engines.repairs import REPAIR_PREFIX
from dicom_node.inference.network import Precision

_SUM = "its sum over many values loses digits or overflows in 16 bit"
KEEP_FP32: Mapping[str, str] = {
    "ReduceMean": _SUM,
    "ReduceSum": _SUM,
    "ReduceSumSquare": "squares beyond 65504 overflow in fp16",
    "ReduceL2": "squares beyond 65504 overflow in fp16",
    "ReduceLogSumExp": "exponentials overflow in fp16",
    "GlobalAveragePool": _SUM,
    "InstanceNormalization": "mean and variance over a whole volume; the variance is a difference of large numbers",
    "GroupNormalization": "as InstanceNormalization",
    "LayerNormalization": "as InstanceNormalization",
    "Softmax": "exponentials and their sum; 16 bit moves probabilities near a threshold",
    "LogSoftmax": "as Softmax",
    "CumSum": "errors add up along the axis",
    "Exp": "exceeds fp16 from 11.1 on",
    "Pow": "overflows in fp16 from 256 squared on",
    "Resize": "coordinates are computed in the type of the data",
    "GridSample": "coordinates in 16 bit miss the voxel beyond 2048",
}
"""Op types that stay in single precision by default, each with the reason."""

_BF16_SINCE_OPSET = 22
"""Conv, pooling and normalisation know bfloat16 from opset 22 on."""
_FP16_LARGEST, _FP16_SMALLEST = 65504.0, 5.96e-8


def convert(
    model: onnx.ModelProto, precision: Precision, keep_fp32: Iterable[str] | None = None
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Bring a single-precision network to 16 bit; inputs and outputs keep their types.

    Args:
        model: Not modified; weights in memory, not in external files.
        precision: `fp16` or `bf16`; `fp32` gives the model back.
        keep_fp32: Op types that stay; None takes `KEEP_FP32`. What onnxruntime's converter cannot convert stays too.

    Returns:
        The converted model, and notes for the record: what stayed, and how many weights were clamped to fp16's range.

    Raises:
        ModelError: it holds 16-bit types already, or the result would not be valid.
    """
    if precision is Precision.FP32:
        return model, ()
    held = {tensor.data_type for tensor in model.graph.initializer} & {TensorProto.FLOAT16, TensorProto.BFLOAT16}
    if held:
        raise ModelError("the network holds 16-bit weights already", hint="Convert the single-precision export, or run this file as fp32.")
    model = _with_bf16_operators(model) if precision is Precision.BF16 else _copy(model)
    _constants_to_initializers(model.graph)
    originals = {tensor.name: tensor for tensor in _copy(model).graph.initializer if tensor.data_type == TensorProto.FLOAT}
    kept = tuple(KEEP_FP32 if keep_fp32 is None else keep_fp32)
    converted = _to_fp16(model, kept)
    notes = [_kept_note(converted, precision, kept)]
    if precision is Precision.BF16:
        _fp16_to_bf16(converted.graph, originals)
    elif clamped := sum(
        _beyond_fp16(originals[t.name]) for t in converted.graph.initializer if t.data_type == TensorProto.FLOAT16 and t.name in originals
    ):
        notes.append(f"fp16: {clamped} weights beyond its range were clamped")
    check_types(converted)
    return converted, tuple(notes)


def check_types(model: onnx.ModelProto) -> None:
    """Check a graph: order, types, and that every operator takes the types it is given.

    An exporter that folds some weights of a 16-bit network in single precision is caught here, before an engine is.

    Raises:
        ModelError: in the checker's words.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (ValidationError, shape_inference.InferenceError) as error:
        raise ModelError(f"the ONNX graph is not valid: {' '.join(str(error).split())[:500]}") from error
    _check_mixed_types(model)


def in_order(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Sort nodes so that each follows what it reads; otherwise the order stays.

    Raises:
        ModelError: they form a circle.
    """
    made = {name for node in nodes for name in node.output if name}
    done: set[str] = set()
    waiting, sorted_nodes = list(nodes), []
    while waiting:
        left = []
        for node in waiting:
            if all(name in done or name not in made for name in _reads(node)):
                sorted_nodes.append(node)
                done.update(node.output)
            else:
                left.append(node)
        if len(left) == len(waiting):
            raise ModelError(f"the ONNX graph has a circle through {left[0].name or left[0].op_type}")
        waiting = left
    return sorted_nodes


def _to_fp16(model: onnx.ModelProto, kept: Sequence[str]) -> onnx.ModelProto:
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16  # noqa: PLC0415

    repaired = [node.name for node in model.graph.node if node.name.startswith(REPAIR_PREFIX)]
    own = {name for node in model.graph.node for name in node.output}
    try:
        converted: onnx.ModelProto = convert_float_to_float16(
            model, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *kept], node_block_list=repaired
        )
    except Exception as error:
        raise ModelError(f"the network cannot be converted to 16 bit: {type(error).__name__}: {error}") from error
    _drop_round_trips(converted.graph, own)
    nodes = in_order(converted.graph.node)
    del converted.graph.node[:]
    converted.graph.node.extend(nodes)
    return converted


def _drop_round_trips(graph: onnx.GraphProto, own: set[str]) -> None:
    """Join operators that stay in single precision; the converter passes what goes between them through 16 bit."""
    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast" and not (node.output[0] in own and node.input[0] in own)}
    to_half = {name: node.input[0] for name, node in casts.items() if node.attribute[0].i == TensorProto.FLOAT16}
    whole = {name: to_half[n.input[0]] for name, n in casts.items() if n.attribute[0].i == TensorProto.FLOAT and n.input[0] in to_half}
    results = {value.name for value in graph.output}
    for node in graph.node:
        if node.output[0] in whole and node.output[0] in results:
            node.CopyFrom(onnx.helper.make_node("Identity", [whole[node.output[0]]], [node.output[0]], name=node.name))
        for place, name in enumerate(node.input):
            node.input[place] = whole.get(name, name)
    used = {name for node in graph.node for name in _reads(node)} | results
    left = [node for node in graph.node if not (node.output[0] in casts and node.output[0] not in used)]
    used = {name for node in left for name in _reads(node)} | results
    left = [node for node in left if not (node.output[0] in casts and node.output[0] not in used)]
    del graph.node[:]
    graph.node.extend(left)


def _with_bf16_operators(model: onnx.ModelProto) -> onnx.ModelProto:
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset >= _BF16_SINCE_OPSET:
        return _copy(model)
    try:
        return version_converter.convert_version(model, _BF16_SINCE_OPSET)
    except Exception as error:
        raise ModelError(f"bf16 needs opset {_BF16_SINCE_OPSET}, the network has {opset} and cannot be raised: {error}") from error


def _fp16_to_bf16(graph: onnx.GraphProto, originals: Mapping[str, TensorProto]) -> None:
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            values = numpy_helper.to_array(originals[tensor.name])
            tensor.CopyFrom(numpy_helper.from_array(values.astype(ml_dtypes.bfloat16), tensor.name))
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.BFLOAT16
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.BFLOAT16
            elif attribute.t.data_type == TensorProto.FLOAT16:
                values = numpy_helper.to_array(attribute.t).astype(np.float32)
                attribute.t.CopyFrom(numpy_helper.from_array(values.astype(ml_dtypes.bfloat16), attribute.t.name))
            elif attribute.HasField("g") or attribute.graphs:
                raise ModelError(f"bf16: operator {node.op_type} holds a graph of its own, which is not converted")


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    """Constant nodes become weights, so that their exact values can be found again."""
    kept = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None) if node.op_type == "Constant" else None
        if value is None:
            kept.append(node)
            continue
        graph.initializer.add().CopyFrom(value)
        graph.initializer[-1].name = node.output[0]
    del graph.node[:]
    graph.node.extend(kept)


def _check_mixed_types(model: onnx.ModelProto) -> None:
    """Operators of ONNX's own domain that want one float type in all places, but get two."""
    inferred = shape_inference.infer_shapes(model).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.input, *inferred.value_info, *inferred.output)}
    types |= {tensor.name: tensor.data_type for tensor in inferred.initializer}
    floats = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16}
    for node in inferred.node:
        if node.op_type in _ONE_TYPE:
            found = {types[name] for name in node.input if types.get(name) in floats}
            if len(found) > 1:
                names = " and ".join(sorted(TensorProto.DataType.Name(kind) for kind in found))
                raise ModelError(f"the ONNX graph is not valid: {node.op_type} {node.name or node.output[0]} gets {names} at once")


_ONE_TYPE = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div", "PRelu", "Concat", "InstanceNormalization"})


def _kept_note(model: onnx.ModelProto, precision: Precision, kept: Sequence[str]) -> str:
    stays = (n for n in model.graph.node if n.op_type != "Cast" and (n.op_type in kept or n.name.startswith(REPAIR_PREFIX)))
    counts = Counter(node.op_type for node in stays)
    words = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items())) or "none"
    return f"{precision}: operators that stay fp32: {words}"


def _beyond_fp16(tensor: TensorProto) -> int:
    values = np.abs(numpy_helper.to_array(tensor))
    return int(np.count_nonzero(np.isfinite(values) & ((values > _FP16_LARGEST) | ((values > 0) & (values < _FP16_SMALLEST)))))


def _reads(node: onnx.NodeProto) -> set[str]:
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names |= {name for inner in graph.node for name in _reads(inner)}
    return names


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied
