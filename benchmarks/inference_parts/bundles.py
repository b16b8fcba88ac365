"""Two bundles made from their manifests alone: a 3-D segmentation that computes for a second or more, and a classifier of radiographs."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

VOLUME, RADIOGRAPH, WAITING = "bench-volume", "bench-radiograph", "bench-device"
CHANNELS = 8
RADIOGRAPH_SIDE = 512

_LUNG = {"value": "39607008", "scheme": "SCT", "meaning": "Lung"}
_STRUCTURE = {"value": "91723000", "scheme": "SCT", "meaning": "Anatomical Structure"}
_ABOUT: dict[str, Any] = {
    "schema": 1,
    "version": "1.0",
    "manufacturer": "benchmarks",
    "stage": "research",
    "contacts": [{"name": "benchmarks", "url": "https://example.org"}],
    "facts": {"does": "Computes.", "mechanism": "Random weights.", "population": "None.", "performance": "None."},
    "intended_use": {"text": "Benchmarks."},
}


_WAITING = """
import time

from dicom_node.domain.results import InferenceResult, Segment
from dicom_node.inference import Model
from dicom_node.inference.model import Prepared


class Waiting(Model):
    def __init__(self, bundle, sessions):
        self._bundle = bundle

    def prepare(self, inputs, recorder):
        values = next(iter(inputs.values())).images.values
        return Prepared(inputs, {{"x": values[None, None]}}, None, recorder)

    def infer(self, prepared):
        time.sleep({seconds})
        return {{"y": prepared.tensors["x"] > 0}}

    def conclude(self, prepared, outputs, now):
        entry = self._bundle.manifest.outputs.segments[0]
        mask, category, kind = outputs["y"][0, 0], entry.category.to_code(), entry.property_type.to_code()
        segment = Segment(entry.id, entry.label, mask, category, kind, None, entry.color_rgb)
        finding = self._bundle.manifest.outputs.finding.to_code()
        identity = self._bundle.identity("python", "fp32")
        return InferenceResult(identity, finding, None, (), (segment,), (), (), (), now, 0.0)

    def close(self):
        pass
"""


def write_volume_bundle(models_dir: Path, layers: int) -> Path:
    """Write the segmentation: `layers` convolutions of 3 x 3 x 3 between the first and the last."""
    segment = {"id": "body", "label": "Body", "channel": 0, "category": _STRUCTURE, "property_type": _LUNG, "color_rgb": [70, 170, 220]}
    manifest = {
        **_ABOUT,
        "name": VOLUME,
        "title": "Benchmark volume",
        "inputs": [{"name": "images", "kind": "volume"}],
        "network": {"file": "network.onnx", "format": "onnx", "inputs": {"x": "images"}},
        "steps": {
            "preprocess": [{"window": {"center": 40, "width": 400}}],
            "infer": "whole",
            "postprocess": [{"threshold": {"at": 0.5}}],
        },
        "outputs": {"finding": _LUNG, "segments": [segment]},
    }
    return _write(models_dir, manifest, _network(layers, 3))


def write_waiting_bundle(models_dir: Path, package: Path, seconds: float) -> Path:
    """Write a model whose inference takes its time and no core, as one on a GPU does; its package announces it by entry point."""
    about = package / "waiting_model_of_the_benchmark-1.dist-info"
    about.mkdir(parents=True)
    (package / "waiting_model_of_the_benchmark.py").write_text(_WAITING.format(seconds=seconds), "utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: waiting-model-of-the-benchmark\nVersion: 1\n", "utf-8")
    (about / "entry_points.txt").write_text("[dicom_node.models]\nwaiting = waiting_model_of_the_benchmark:Waiting\n", "utf-8")
    segment = {"id": "body", "label": "Body", "category": _STRUCTURE, "property_type": _LUNG, "color_rgb": [70, 170, 220]}
    manifest = {
        **_ABOUT,
        "name": WAITING,
        "title": "Benchmark device",
        "inputs": [{"name": "images", "kind": "volume"}],
        "network": {"file": "network.onnx", "format": "onnx", "inputs": {"x": "images"}},
        "steps": {"python": "waiting"},
        "outputs": {"finding": _LUNG, "segments": [segment]},
    }
    return _write(models_dir, manifest, _network(0, 3))


def write_radiograph_bundle(models_dir: Path) -> Path:
    """Write the classifier: a small network whose time does not matter."""
    manifest = {
        **_ABOUT,
        "name": RADIOGRAPH,
        "title": "Benchmark radiograph",
        "inputs": [{"name": "images", "kind": "frames"}],
        "network": {"file": "network.onnx", "format": "onnx", "inputs": {"x": "images"}},
        "steps": {
            "preprocess": [{"resize": {"size": [RADIOGRAPH_SIDE, RADIOGRAPH_SIDE]}}, {"window": {"lower": 0, "upper": 4095}}],
            "infer": "whole",
            "postprocess": [{"class_scores": {}}],
        },
        "outputs": {
            "finding": _LUNG,
            "findings": [{"id": "opacity", "label": "Opacity", "concept": {"value": "128477000", "scheme": "SCT", "meaning": "Abscess"}}],
        },
    }
    return _write(models_dir, manifest, _classifier())


def _write(models_dir: Path, manifest: dict[str, Any], network: onnx.ModelProto) -> Path:
    folder = models_dir / str(manifest["name"])
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False), "utf-8")
    onnx.save(network, folder / "network.onnx")
    return folder


def _network(layers: int, axes: int) -> onnx.ModelProto:
    random = np.random.default_rng(1)
    widths = [1, *[CHANNELS] * (layers + 1), 1]
    nodes, weights, name = [], [], "x"
    for number, (before, after) in enumerate(pairwise(widths)):
        kernel = random.normal(0, 1 / np.sqrt(before * 3**axes), (after, before, *[3] * axes)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{number}"))
        nodes.append(helper.make_node("Conv", [name, f"w{number}"], [f"c{number}"], pads=[1] * 2 * axes))
        last = number == len(widths) - 2
        name = "y" if last else f"r{number}"
        nodes.append(helper.make_node("Sigmoid" if last else "Relu", [f"c{number}"], [name]))
    shape = ["n", 1, *[f"a{axis}" for axis in range(axes)]]
    return _model(nodes, weights, shape, shape)


def _classifier() -> onnx.ModelProto:
    random = np.random.default_rng(2)
    kernel = random.normal(0, 0.2, (4, 1, 5, 5)).astype(np.float32)
    mix = random.normal(0, 0.2, (4, 1)).astype(np.float32)
    weights = [numpy_helper.from_array(kernel, "w"), numpy_helper.from_array(mix, "m")]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[4, 4]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["s"]),
        helper.make_node("Sigmoid", ["s"], ["y"]),
    ]
    return _model(nodes, weights, ["n", 1, "h", "w"], ["n", 1])


def _model(nodes: list[Any], weights: list[Any], inputs: list[Any], outputs: list[Any]) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, inputs), helper.make_tensor_value_info("y", TensorProto.FLOAT, outputs)]
    graph = helper.make_graph(nodes, "benchmark", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
