"""Tiny networks: quick to load, and each with a trait that a gate must see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def classifier(path: Path, *, classes: int = 3, hidden: int = 4, seed: int = 0) -> Path:
    """Voxel classes: `x` (batch, 1, row, column), any size, to `y` (batch, classes, row, column)."""
    generator = np.random.default_rng(seed)
    weights = {
        "w1": generator.normal(0, 0.5, (hidden, 1, 3, 3)),
        "b1": generator.normal(0, 0.3, hidden),
        "w2": generator.normal(0, 0.8, (classes, hidden, 1, 1)),
        "b2": generator.normal(0, 0.3, classes),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["h1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h1"], ["h2"]),
        helper.make_node("Conv", ["h2", "w2", "b2"], ["y"]),
    ]
    return save(path, nodes, weights, ["n", 1, "r", "c"], ["n", classes, "r", "c"])


def save(path: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], in_shape: list[object], out_shape: list[object]) -> Path:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, in_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out_shape)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
