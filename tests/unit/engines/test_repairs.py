from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from dicom_node.errors import ModelError
from dicom_node.inference.backends import Network, SessionOptions, open_session
from dicom_node.inference.engines.precision import check_types
from dicom_node.inference.engines.repairs import apply_repairs
from tests.networks import model, volume_net

BY_AXIS = ("instance-norm-by-axis",)


def norm_net(shape: tuple[int, ...], opset: int = 18) -> onnx.ModelProto:
    """InstanceNormalization alone, with an epsilon of its own."""
    weights = {"scale": np.array([1.5, -0.5], np.float32), "shift": np.array([0.25, 3], np.float32)}
    node = helper.make_node("InstanceNormalization", ["x", "scale", "shift"], ["y"], epsilon=1e-3, name="norm")
    example = np.zeros((1, 2, *shape), np.float32)
    built = model([node], {"x": example}, {"y": example}, weights)
    built.opset_import[0].version = opset
    return built


def run(built: onnx.ModelProto, x: np.ndarray, tmp_path: object, repairs: tuple[str, ...] = ()) -> np.ndarray:
    path = tmp_path / "network.onnx"  # type: ignore[operator]
    path.write_bytes(built.SerializeToString())
    with open_session("onnxruntime", "fp32", Network(path), SessionOptions(threads=2, repairs=repairs)) as session:
        return session.infer({"x": x})["y"]


def by_numpy(x: np.ndarray) -> np.ndarray:
    axes = tuple(range(2, x.ndim))
    wide = x.astype(np.float64)
    scale, shift = (np.array(v).reshape(1, 2, *[1] * (x.ndim - 2)) for v in ([1.5, -0.5], [0.25, 3]))
    return (wide - wide.mean(axes, keepdims=True)) / np.sqrt(wide.var(axes, keepdims=True) + 1e-3) * scale + shift


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
@pytest.mark.parametrize("shape", [(7,), (5, 6), (3, 4, 5)])
def test_repaired_graph_computes_the_same(shape: tuple[int, ...], opset: int, tmp_path: object) -> None:
    x = np.random.default_rng(1).normal(3, 2, (2, 2, *shape)).astype(np.float32)
    built = norm_net(shape, opset)
    assert run(built, x, tmp_path, BY_AXIS) == pytest.approx(by_numpy(x), abs=2e-6)
    assert apply_repairs(built, BY_AXIS) == ("repair instance-norm-by-axis: 1 operator rewritten",)
    check_types(built)
    assert {node.op_type for node in built.graph.node} == {"ReduceMean", "Sub", "Mul", "Add", "Sqrt", "Reshape", "Div"}


def test_sum_over_a_whole_volume_loses_digits_and_the_repair_keeps_them(tmp_path: object) -> None:
    edge = 160
    x = np.random.default_rng(2).normal(800, 30, (1, 2, edge, edge, edge)).astype(np.float32)
    expected = by_numpy(x)
    before = float(np.abs(run(norm_net((edge,) * 3), x, tmp_path) - expected).max())
    after = float(np.abs(run(norm_net((edge,) * 3), x, tmp_path, BY_AXIS) - expected).max())
    assert after < 1e-4
    assert before > 5 * after


def test_several_norms_are_repaired_and_share_their_axes() -> None:
    built = volume_net()
    twice = helper.make_node("InstanceNormalization", ["c1", "scale", "shift"], ["n1"], name="again")
    built.graph.node[1].output[0] = "n0"
    twice.input[0] = "n0"
    nodes = list(built.graph.node)
    del built.graph.node[:]
    built.graph.node.extend([*nodes[:2], twice, *nodes[2:]])
    assert apply_repairs(built, BY_AXIS) == ("repair instance-norm-by-axis: 2 operators rewritten",)
    check_types(built)
    assert sum(tensor.name.startswith("repair/axis_") for tensor in built.graph.initializer) == 3


def test_unknown_or_idle_repairs_are_refused() -> None:
    with pytest.raises(ModelError, match="'polish' is unknown; known: instance-norm-by-axis"):
        apply_repairs(volume_net(), ("polish",))
    built = volume_net()
    apply_repairs(built, BY_AXIS)
    with pytest.raises(ModelError, match="finds nothing to do"):
        apply_repairs(built, BY_AXIS)


def test_norm_of_an_input_whose_axes_are_not_counted_is_refused() -> None:
    built = norm_net((4, 4))
    built.graph.input[0].type.tensor_type.ClearField("shape")
    built.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ModelError, match="does not say how many axes"):
        apply_repairs(built, BY_AXIS)


def test_weights_stay_what_they_were() -> None:
    built = volume_net()
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in built.graph.initializer}
    apply_repairs(built, BY_AXIS)
    after = {tensor.name: numpy_helper.to_array(tensor) for tensor in built.graph.initializer}
    assert all(np.array_equal(after[name], array) for name, array in before.items())
