"""Small networks in every form that an engine reads, each with what numpy makes of the same inputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from dicom_node.inference.network import NetworkFormat

Arrays = dict[str, np.ndarray]
OPSET, IR = 18, 10


def model(nodes: list[onnx.NodeProto], inputs: Arrays, outputs: Arrays, weights: Arrays | None = None) -> onnx.ModelProto:
    """An ONNX model with an open first axis; `inputs` and `outputs` are examples of their types and shapes."""

    def info(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
        shape = ["batch", *array.shape[1:]] if array.ndim else []
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape)

    graph = helper.make_graph(
        nodes,
        "network",
        [info(n, a) for n, a in inputs.items()],
        [info(n, a) for n, a in outputs.items()],
        [numpy_helper.from_array(a, n) for n, a in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


RNG = np.random.default_rng(7)
KERNEL = RNG.normal(size=(3, 1, 3, 3)).astype(np.float32)
BIAS = RNG.normal(size=3).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """A network.

    `expect` is numpy alone; `onnx` and `torch` build the same network.
    """

    inputs: Arrays
    expect: Callable[[Arrays], Arrays]
    onnx: Callable[[], onnx.ModelProto]
    torch: Callable[[], object]

    def write(self, folder: Path, form: NetworkFormat) -> Path:
        path = folder / f"network.{form}"
        if self is EDGES and form in _WRITTEN:
            path.write_bytes(_WRITTEN[form])
        elif form is NetworkFormat.ONNX:
            path.write_bytes(self.onnx().SerializeToString())
        elif form is NetworkFormat.TORCHSCRIPT:
            write_torchscript(self.torch(), path)
        else:
            write_pt2(self.torch(), self.inputs, path)
        if self is EDGES:
            _WRITTEN[form] = path.read_bytes()
        return path


_WRITTEN: dict[NetworkFormat, bytes] = {}
"""EDGES in every form that was asked for once; exporting it takes longer than running it."""


def write_torchscript(module: object, path: Path) -> None:
    import torch  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))


def write_pt2(module: object, inputs: Arrays, path: Path) -> None:
    import torch  # noqa: PLC0415

    batch = torch.export.Dim("batch", min=1, max=64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            module, tuple(tensor(a) for a in inputs.values()), dynamic_shapes={n: {0: batch} if a.ndim else None for n, a in inputs.items()}
        )
        torch.export.save(program, str(path))


def tensor(array: np.ndarray) -> object:
    import torch  # noqa: PLC0415

    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _edges_numpy(given: Arrays) -> Arrays:
    x, scale = given["x"], given["scale"]
    padded = np.pad(x[:, 0], ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    convolved = np.einsum("byxij,oij->boyx", windows, KERNEL[:, 0], dtype=np.float64) + BIAS[:, None, None]
    return {"y": (np.maximum(convolved, 0) * scale[:, :, None, None]).astype(np.float32), "inside": x > 0}


def _edges_onnx() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "kernel", "bias"], ["c"], pads=[1, 1, 1, 1], name="conv"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Unsqueeze", ["scale", "axes"], ["s"], name="unsqueeze"),
        helper.make_node("Mul", ["r", "s"], ["y"], name="mul"),
        helper.make_node("Greater", ["x", "zero"], ["inside"], name="greater"),
    ]
    weights = {"kernel": KERNEL, "bias": BIAS, "axes": np.array([2, 3]), "zero": np.float32(0)}
    outputs = {"y": np.zeros((1, 3, 8, 9), np.float32), "inside": np.zeros((1, 1, 8, 9), bool)}
    return model(nodes, EDGES.inputs, outputs, weights)


def _edges_torch() -> object:
    import torch  # noqa: PLC0415

    class Edges(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 3, 3, padding=1)
            with torch.no_grad():
                self.conv.weight.copy_(torch.from_numpy(KERNEL))
                self.conv.bias.copy_(torch.from_numpy(BIAS))

        def forward(self, x: torch.Tensor, scale: torch.Tensor) -> dict[str, torch.Tensor]:
            y = torch.relu(self.conv(x)) * scale.unsqueeze(2).unsqueeze(3)
            return {"y": y, "inside": x > 0}

    return Edges().eval()


EDGES = Case(
    {"x": RNG.normal(size=(2, 1, 8, 9)).astype(np.float32), "scale": RNG.normal(size=(2, 3)).astype(np.float32)},
    _edges_numpy,
    _edges_onnx,
    _edges_torch,
)
"""Two inputs, two outputs (one of them of truth values), an open batch; convolution, ReLU and a product."""


def passing(dtype: np.dtype) -> Case:
    """A network that gives back its input of one type."""
    values = np.array([[0, 1, 2], [3, 1, 0]]).astype(dtype)

    def module() -> object:
        import torch  # noqa: PLC0415

        class Passing(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x.clone()

        return Passing()

    nodes = [helper.make_node("Identity", ["x"], ["output"])]
    return Case({"x": values}, lambda given: {"output": given["x"]}, lambda: model(nodes, {"x": values}, {"output": values}), module)


def volume_net(channels: int = 4, *, edge: int = 8, seed: int = 3) -> onnx.ModelProto:
    """A 3-D network as segmentations are made of: convolution, instance normalisation, deconvolution, softmax; input x, output y."""
    rng = np.random.default_rng(seed)
    weights = {
        "w1": rng.normal(scale=0.3, size=(channels, 1, 3, 3, 3)).astype(np.float32),
        "b1": rng.normal(size=channels).astype(np.float32),
        "scale": rng.uniform(0.5, 1.5, channels).astype(np.float32),
        "shift": rng.normal(size=channels).astype(np.float32),
        "w2": rng.normal(scale=0.3, size=(channels, 2, 2, 2, 2)).astype(np.float32),
        "b2": rng.normal(size=2).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1] * 6, name="conv"),
        helper.make_node("InstanceNormalization", ["c1", "scale", "shift"], ["n1"], name="norm"),
        helper.make_node("Relu", ["n1"], ["r1"], name="relu"),
        helper.make_node("ConvTranspose", ["r1", "w2", "b2"], ["c2"], strides=[2, 2, 2], name="up"),
        helper.make_node("Softmax", ["c2"], ["y"], axis=1, name="softmax"),
    ]
    example = {"x": np.zeros((1, 1, edge, edge, edge), np.float32)}
    return model(nodes, example, {"y": np.zeros((1, 2, 2 * edge, 2 * edge, 2 * edge), np.float32)}, weights)
