"""The network of the densitometry model: a histogram of Hounsfield units and what is read from it, as an ONNX graph.

Counts are integers and sums are double, so that the figures are exact for any number of voxels.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LOWEST_HU, HIGHEST_HU = -1024, 1023


def build_histogram_graph() -> onnx.ModelProto:
    """Build the graph.

    Input `hu`: float32, shape (voxel). Outputs, all scalars: `voxel_count` int64; `laa_950` and `laa_910`, per cent of the
    voxels below -950 and -910 HU; `perc15_hu`, the lowest HU that at least 15 % of the voxels do not exceed; `mean_hu`.
    Values are rounded to whole HU and clamped to -1024 ... 1023.

    Source: definitions in doi 10.1148/radiol.2016152036 (CT-definable subtypes of COPD, Fleischner Society).
    """
    bins = HIGHEST_HU - LOWEST_HU + 1
    axis = np.arange(LOWEST_HU, HIGHEST_HU + 1)
    constants = {
        "low": np.float32(LOWEST_HU),
        "high": np.float32(HIGHEST_HU),
        "offset": np.int64(-LOWEST_HU),
        "zeros": np.zeros(bins, np.int64),
        "one": np.array([1], np.int64),
        "below_950": (axis < -950).astype(np.float64),
        "below_910": (axis < -910).astype(np.float64),
        "hu_axis": axis.astype(np.float64),
        "hundred": np.float64(100.0),
        "fifteen": np.float64(0.15),
        "axis0": np.int64(0),
    }
    nodes = [
        helper.make_node("Round", ["hu"], ["rounded"]),
        helper.make_node("Clip", ["rounded", "low", "high"], ["clipped"]),
        helper.make_node("Cast", ["clipped"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Add", ["whole", "offset"], ["bin"]),
        helper.make_node("Shape", ["bin"], ["length"]),
        helper.make_node("Expand", ["one", "length"], ["ones"]),
        helper.make_node("ScatterElements", ["zeros", "bin", "ones"], ["counts"], axis=0, reduction="add"),
        helper.make_node("ReduceSum", ["counts"], ["voxel_count"], keepdims=0),
        helper.make_node("Cast", ["counts"], ["counts_double"], to=TensorProto.DOUBLE),
        helper.make_node("Cast", ["voxel_count"], ["total"], to=TensorProto.DOUBLE),
        helper.make_node("Div", ["counts_double", "total"], ["share"]),
        *_weighted_sum("below_950", "share_950"),
        helper.make_node("Mul", ["share_950", "hundred"], ["laa_950"]),
        *_weighted_sum("below_910", "share_910"),
        helper.make_node("Mul", ["share_910", "hundred"], ["laa_910"]),
        *_weighted_sum("hu_axis", "mean_hu"),
        helper.make_node("CumSum", ["share", "axis0"], ["cumulated"]),
        helper.make_node("GreaterOrEqual", ["cumulated", "fifteen"], ["reached"]),
        helper.make_node("Cast", ["reached"], ["reached_number"], to=TensorProto.INT32),
        helper.make_node("ArgMax", ["reached_number"], ["perc15_bin"], axis=0, keepdims=0),
        helper.make_node("Gather", ["hu_axis", "perc15_bin"], ["perc15_hu"]),
    ]
    outputs = [helper.make_tensor_value_info("voxel_count", TensorProto.INT64, [])]
    outputs += [helper.make_tensor_value_info(name, TensorProto.DOUBLE, []) for name in ("laa_950", "laa_910", "perc15_hu", "mean_hu")]
    graph = helper.make_graph(
        nodes,
        "densitometry",
        [helper.make_tensor_value_info("hu", TensorProto.FLOAT, ["voxel"])],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], producer_name="dicom-node", ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def _weighted_sum(weights: str, output: str) -> list[onnx.NodeProto]:
    product = f"{output}_terms"
    return [helper.make_node("Mul", ["share", weights], [product]), helper.make_node("ReduceSum", [product], [output], keepdims=0)]
