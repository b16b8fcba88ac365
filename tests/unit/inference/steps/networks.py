"""Tiny networks without training, as ONNX graphs: what they say of an image can be computed by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Axes = Sequence[str | int]


def model(nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto], **constants: object) -> bytes:
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString())


def value(name: str, axes: Axes, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(axes))


def spatial(planar: bool) -> list[str]:
    return ["h", "w"] if planar else ["d", "h", "w"]


def threshold_segmenter(planar: bool = False, channels_last: bool = False) -> bytes:
    """Two channels of logits: 20 (0.5 - x) for background, 20 (x - 0.5) for foreground; pixel by pixel."""
    nodes = [
        helper.make_node("Sub", ["x", "half"], ["above"]),
        helper.make_node("Mul", ["above", "twenty"], ["yes"]),
        helper.make_node("Neg", ["yes"], ["no"]),
        helper.make_node("Concat", ["no", "yes"], ["logits"], axis=-1 if channels_last else 1),
    ]
    axes = spatial(planar)
    given, made = (["n", *axes, 1], ["n", *axes, 2]) if channels_last else (["n", 1, *axes], ["n", 2, *axes])
    return model(nodes, [value("x", given)], [value("logits", made)], half=np.float32(0.5), twenty=np.float32(20))


def identity(planar: bool = False, channels: int = 1, size: Sequence[int] | None = None, batch: str | int = "n") -> bytes:
    axes = [batch, channels, *(size or spatial(planar))]
    return model([helper.make_node("Identity", ["x"], ["y"])], [value("x", axes)], [value("y", axes)])


def mean_intensity(planar: bool = False) -> bytes:
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["pooled"]), helper.make_node("Flatten", ["pooled"], ["level"])]
    return model(nodes, [value("x", ["n", 1, *spatial(planar)])], [value("level", ["n", 1])])


def blob_classifier(planar: bool = True, classes: int = 2) -> bytes:
    """Logits: 10 (0.6 - brightest), 10 (brightest - 0.6); or the latter alone."""
    nodes = [
        helper.make_node("GlobalMaxPool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["brightest"]),
        helper.make_node("Sub", ["brightest", "limit"], ["above"]),
        helper.make_node("Mul", ["above", "ten"], ["yes"]),
        helper.make_node("Neg", ["yes"], ["no"]),
        helper.make_node("Concat", ["no", "yes"] if classes == 2 else ["yes"], ["classes"], axis=1),
    ]
    return model(
        nodes, [value("x", ["n", 1, *spatial(planar)])], [value("classes", ["n", classes])], limit=np.float32(0.6), ten=np.float32(10)
    )


def box_detector(planar: bool = True) -> bytes:
    """The bounding box of what is above 0.5, and the same moved by one pixel with a lower score; corners, x first, pixel edges."""
    rank = 4 if planar else 5
    letters = "xy" if planar else "xyz"
    nodes = [helper.make_node("Greater", ["x", "half"], ["bright"]), helper.make_node("Cast", ["bright"], ["mask"], to=TensorProto.FLOAT)]
    constants: dict[str, object] = {"half": np.float32(0.5), "one": np.float32(1)}
    for number, letter in enumerate(letters):
        axis = rank - 1 - number
        constants[f"others_{letter}"] = np.array([k for k in range(1, rank) if k != axis], np.int64)
        nodes.append(helper.make_node("ReduceMax", ["mask", f"others_{letter}"], [f"along_{letter}"], keepdims=0))
        for end, last in (("first", 0), ("last", 1)):
            nodes.append(helper.make_node("ArgMax", [f"along_{letter}"], [f"{end}_{letter}"], axis=1, keepdims=1, select_last_index=last))
            nodes.append(helper.make_node("Cast", [f"{end}_{letter}"], [f"{end}_{letter}_px"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Add", [f"last_{letter}_px", "one"], [f"end_{letter}_px"]))
    corners = [f"first_{letter}_px" for letter in letters] + [f"end_{letter}_px" for letter in letters]
    constants |= {"batch_axis": np.array([1], np.int64), "shares": np.array([[1.0, 0.9]], np.float32)}
    nodes += [
        helper.make_node("Concat", corners, ["box"], axis=1),
        helper.make_node("Add", ["box", "one"], ["moved"]),
        helper.make_node("Unsqueeze", ["box", "batch_axis"], ["box_row"]),
        helper.make_node("Unsqueeze", ["moved", "batch_axis"], ["moved_row"]),
        helper.make_node("Concat", ["box_row", "moved_row"], ["boxes"], axis=1),
        helper.make_node("GlobalMaxPool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["brightest"]),
        helper.make_node("Mul", ["brightest", "shares"], ["scores"]),
    ]
    outputs = [value("boxes", ["n", 2, 2 * len(letters)]), value("scores", ["n", 2])]
    return model(nodes, [value("x", ["n", 1, *spatial(planar)])], outputs, **constants)


BY_NAME: dict[str, Callable[[], bytes]] = {
    "threshold-3d": threshold_segmenter,
    "threshold-2d": lambda: threshold_segmenter(planar=True),
    "mean-3d": mean_intensity,
    "blob-2d": lambda: blob_classifier(classes=1),
    "boxes-2d": box_detector,
    "boxes-3d": lambda: box_detector(planar=False),
    "identity-3d": identity,
}
"""Networks of the examples in docs/model-steps.md."""
