"""Rewritings of ONNX graphs that cure an engine's weakness without changing what is computed.

None happens by itself: a bundle declares the repair, and the run's record names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from dicom_node.errors import ModelError

REPAIR_PREFIX = "repair/"
"""Names of all nodes that a repair made begin so; a conversion to half precision leaves them in single precision."""

_AXES_AS_INPUT_SINCE = 18


@dataclass(frozen=True, slots=True)
class Repair:
    """One rewriting.

    Attributes:
        why: What goes wrong without it.
        apply: Changes the model in place, returns how many operators were rewritten.
    """

    why: str
    apply: Callable[[onnx.ModelProto], int]


def apply_repairs(model: onnx.ModelProto, names: Sequence[str]) -> tuple[str, ...]:
    """Rewrite a graph in place, in the order given.

    Returns:
        One note for each repair, for the record.

    Raises:
        ModelError: an unknown repair, or one that cannot be done on this graph, or finds nothing to do.
    """
    notes = []
    for name in names:
        if name not in REPAIRS:
            raise ModelError(f"graph repair {name!r} is unknown; known: {', '.join(sorted(REPAIRS))}")
        count = REPAIRS[name].apply(model)
        if count == 0:
            raise ModelError(f"graph repair {name} finds nothing to do in this network", hint="Take it out of the bundle's repairs.")
        notes.append(f"repair {name}: {count} operator{'s' if count > 1 else ''} rewritten")
    return tuple(notes)


def _instance_norm_by_axis(model: onnx.ModelProto) -> int:
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
        if value.type.tensor_type.HasField("shape")
    }
    graph, nodes, count = model.graph, [], 0
    for node in graph.node:
        if node.op_type != "InstanceNormalization" or node.domain not in ("", "ai.onnx"):
            nodes.append(node)
            continue
        if ranks.get(node.input[0], 0) < 3:
            raise ModelError(f"InstanceNormalization {node.name or node.output[0]}: the network does not say how many axes its input has")
        nodes += _decomposed(graph, node, f"{REPAIR_PREFIX}instance-norm-by-axis/{count}/", (ranks[node.input[0]], opset))
        count += 1
    del graph.node[:]
    graph.node.extend(nodes)
    return count


def _decomposed(graph: onnx.GraphProto, node: NodeProto, prefix: str, form: tuple[int, int]) -> Iterator[NodeProto]:
    rank, opset = form
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    graph.initializer.append(numpy_helper.from_array(np.array(epsilon, np.float32), f"{prefix}epsilon"))
    graph.initializer.append(numpy_helper.from_array(np.array([1, -1, *[1] * (rank - 2)], np.int64), f"{prefix}channels"))
    (x, scale, bias), output = node.input, node.output[0]

    def make(kind: str, inputs: Sequence[str], name: str) -> NodeProto:
        target = output if name == "out" else prefix + name
        return helper.make_node(kind, inputs, [target], name=f"{prefix}{name}")

    def mean(source: str, name: str) -> Iterator[NodeProto]:
        for axis in range(rank - 1, 1, -1):
            target = f"{prefix}{name}" if axis == 2 else f"{prefix}{name}_{axis}"
            yield _reduce_mean(graph, (source, target), axis, opset)
            source = target

    yield from mean(x, "mean")
    yield make("Sub", [x, f"{prefix}mean"], "centred")
    yield make("Mul", [f"{prefix}centred", f"{prefix}centred"], "squares")
    yield from mean(f"{prefix}squares", "variance")
    yield make("Add", [f"{prefix}variance", f"{prefix}epsilon"], "steadied")
    yield make("Sqrt", [f"{prefix}steadied"], "deviation")
    yield make("Reshape", [scale, f"{prefix}channels"], "scale")
    yield make("Reshape", [bias, f"{prefix}channels"], "bias")
    yield make("Div", [f"{prefix}scale", f"{prefix}deviation"], "factor")
    yield make("Mul", [f"{prefix}centred", f"{prefix}factor"], "scaled")
    yield make("Add", [f"{prefix}scaled", f"{prefix}bias"], "out")


def _reduce_mean(graph: onnx.GraphProto, names: tuple[str, str], axis: int, opset: int) -> NodeProto:
    source, target = names
    if opset < _AXES_AS_INPUT_SINCE:
        return helper.make_node("ReduceMean", [source], [target], name=target, axes=[axis], keepdims=1)
    axes = f"{REPAIR_PREFIX}axis_{axis}"
    if all(known.name != axes for known in graph.initializer):
        graph.initializer.append(numpy_helper.from_array(np.array([axis], np.int64), axes))
    return helper.make_node("ReduceMean", [source, axes], [target], name=target, keepdims=1)


REPAIRS: Mapping[str, Repair] = {
    "instance-norm-by-axis": Repair(
        "An engine that sums a whole volume in one go in single precision loses digits: over 256^3 voxels ONNX Runtime's "
        "InstanceNormalization is off so far that masks differ; sums along one axis after the other do not.",
        _instance_norm_by_axis,
    ),
}
