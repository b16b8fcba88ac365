from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from dicom_node.errors import ModelError
from dicom_node.inference.backends import Network, Precision, SessionOptions, open_session
from dicom_node.inference.engines.precision import KEEP_FP32, check_types, convert, in_order
from dicom_node.inference.engines.repairs import apply_repairs
from tests.networks import model, volume_net

X = np.random.default_rng(5).normal(size=(2, 1, 8, 8, 8)).astype(np.float32)


def run(path: Path, precision: str = "fp32", options: SessionOptions | None = None) -> np.ndarray:
    with open_session("onnxruntime", precision, Network(path), options or SessionOptions(threads=1)) as session:
        return session.infer({"x": X})["y"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "network.onnx"
    file.write_bytes(volume_net().SerializeToString())
    return file


def types_of(built: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(built).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.input, *inferred.value_info, *inferred.output)}
    return types | {tensor.name: tensor.data_type for tensor in inferred.initializer}


@pytest.mark.parametrize(("precision", "half"), [("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)])
def test_what_is_not_kept_becomes_16_bit_and_the_ends_stay(precision: str, half: int) -> None:
    source = volume_net()
    before = source.SerializeToString()
    converted, notes = convert(source, Precision(precision))
    assert source.SerializeToString() == before
    check_types(converted)
    types = types_of(converted)
    assert (types["x"], types["y"]) == (TensorProto.FLOAT, TensorProto.FLOAT)
    for node in converted.graph.node:
        if node.op_type in ("Conv", "ConvTranspose", "Relu"):
            assert {types[name] for name in (*node.input, *node.output)} == {half}
        if node.op_type in ("InstanceNormalization", "Softmax"):
            assert {types[name] for name in (*node.input, *node.output)} == {TensorProto.FLOAT}
    assert notes == (f"{precision}: operators that stay fp32: InstanceNormalization 1, Softmax 1",)


def test_fp16_differs_by_its_rounding_and_no_more(path: Path) -> None:
    difference = float(np.abs(run(path, "fp16") - run(path)).max())
    assert 1e-6 < difference < 2e-3


def test_bf16_differs_by_its_rounding_and_no_more(path: Path) -> None:
    converted, _ = convert(volume_net(), Precision.BF16)
    [y] = ReferenceEvaluator(converted).run(None, {"x": X})
    difference = float(np.abs(y - run(path)).max())
    assert 1e-5 < difference < 2e-2


def test_bf16_weights_are_rounded_once() -> None:
    source = volume_net()
    source.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((4, 1, 3, 3, 3), 1e6, np.float32), "w1"))
    converted, _ = convert(source, Precision.BF16)
    weights = next(numpy_helper.to_array(t) for t in converted.graph.initializer if t.name == "w1")
    assert float(weights.astype(np.float32).max()) == pytest.approx(1e6, rel=4e-3)
    _, notes = convert(source, Precision.FP16)
    assert notes[1] == "fp16: 108 weights beyond its range were clamped"


def test_operators_that_stay_are_chosen_by_the_bundle(path: Path) -> None:
    everything = tuple(node.op_type for node in volume_net().graph.node)
    kept = run(path, "fp16", SessionOptions(threads=1, keep_fp32=everything))
    assert np.array_equal(kept, run(path))
    _, notes = convert(volume_net(), Precision.FP16, keep_fp32=())
    assert notes == ("fp16: operators that stay fp32: none",)


def test_values_between_operators_that_stay_are_not_rounded() -> None:
    """The squares of a variance exceed what fp16 holds; passed through it they would be infinite."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["squares"], name="mul"),
        helper.make_node("ReduceSum", ["squares", "axes"], ["sum"], keepdims=1, name="sum"),
        helper.make_node("Sqrt", ["sum"], ["y"], name="sqrt"),
    ]
    x = np.full((1, 4), 3e4, np.float32)
    built = model(nodes, {"x": x}, {"y": np.zeros((1, 1), np.float32)}, {"axes": np.array([1])})
    converted, _ = convert(built, Precision.FP16, keep_fp32=("Mul", "ReduceSum", "Sqrt"))
    assert [node.op_type for node in converted.graph.node if node.op_type == "Cast"] == []
    [y] = ReferenceEvaluator(converted).run(None, {"x": x})
    assert y == pytest.approx(6e4)


def test_repaired_norm_stays_in_single_precision_as_a_whole(path: Path) -> None:
    repaired = volume_net()
    apply_repairs(repaired, ("instance-norm-by-axis",))
    converted, notes = convert(repaired, Precision.FP16)
    types = types_of(converted)
    ours = [node for node in converted.graph.node if node.name.startswith("repair/") and node.op_type not in ("Cast", "Reshape")]
    assert len(ours) == 13
    assert {types[name] for node in ours for name in node.output} == {TensorProto.FLOAT}
    assert "ReduceMean 6" in notes[0]
    options = SessionOptions(threads=1, repairs=("instance-norm-by-axis",))
    assert float(np.abs(run(path, "fp16", options) - run(path)).max()) < 2e-3


def test_every_kept_operator_has_its_reason() -> None:
    assert {"ReduceMean", "ReduceSum", "InstanceNormalization", "Softmax", "LayerNormalization", "CumSum"} <= KEEP_FP32.keys()
    assert all(KEEP_FP32.values())


def test_network_that_is_16_bit_already_is_refused() -> None:
    converted, _ = convert(volume_net(), Precision.FP16)
    with pytest.raises(ModelError, match="16-bit weights already"):
        convert(converted, Precision.FP16)


def test_nodes_are_put_in_order_and_circles_are_refused() -> None:
    nodes = list(volume_net().graph.node)
    assert [n.name for n in in_order(nodes[::-1])] == [n.name for n in nodes]
    nodes[0].input[0] = "y"
    with pytest.raises(ModelError, match="circle"):
        in_order(nodes)


def test_folded_weights_of_another_type_are_found_out() -> None:
    converted, _ = convert(volume_net(), Precision.FP16)
    for tensor in converted.graph.initializer:
        if tensor.name == "b1":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), "b1"))
    with pytest.raises(ModelError, match="not valid"):
        check_types(converted)
