"""A made-up bundle of a segmentation model, and what can be changed in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from dicom_node.config.faults import Fault
from dicom_node.inference.bundle.loading import read_manifest

SEGMENTATION = """\
schema: 1
name: two-organs
title: Two organs
version: 1.2.0
manufacturer: Somebody
stage: research
contacts: [{name: Somebody, url: "https://example.org"}]
facts: {does: Outlines two organs., mechanism: A network.}
intended_use:
  text: For research.
  match: {Modality: CT}
  geometry: {slices: {min: 2}}
inputs:
  - {name: images, kind: volume}
network:
  file: network.onnx
  inputs: {x: images}
steps:
  preprocess:
    - window: {center: 40, width: 400}
  infer: {sliding_window: {size: [8, 8, 8]}}
  postprocess:
    - argmax: {}
outputs:
  finding: {value: "113345001", scheme: SCT, meaning: Abdomen}
  segments:
    - id: liver
      label: Liver
      label_value: 1
      category: {value: "91723000", scheme: SCT, meaning: Anatomical Structure}
      property_type: {value: "10200004", scheme: SCT, meaning: Liver}
      color_rgb: [200, 80, 80]
    - id: spleen
      label: Spleen
      label_value: 2
      category: {value: "91723000", scheme: SCT, meaning: Anatomical Structure}
      property_type: {value: "78961009", scheme: SCT, meaning: Spleen}
      color_rgb: [80, 80, 200]
  measurements:
    - id: liver_volume
      label: Liver volume
      concept: {value: "118565006", scheme: SCT, meaning: Volume}
      unit: {value: mL, scheme: UCUM, meaning: milliliter}
      of: volume_ml
      segment: liver
engines:
  backends: [onnxruntime]
  precisions: [fp32]
verification:
  cases:
    - name: ball
      inputs: {images: {generator: ellipsoids, parameters: {bodies: [{radii_mm: [20, 20, 20], value: 40}]}}}
      expect: {measurements: {liver_volume: {value: 1, within: 1}}}
"""


def network(channels: int = 3, dtype: int = TensorProto.FLOAT) -> bytes:
    """A network that copies its input to some channels: `x` (1, 1, d, h, w) to `y` (1, channels, d, h, w)."""
    axes = ["d", "h", "w"]
    weights = numpy_helper.from_array(np.ones((channels, 1, 1, 1, 1), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "copies",
        [helper.make_tensor_value_info("x", dtype, [1, 1, *axes])],
        [helper.make_tensor_value_info("y", dtype, [1, channels, *axes])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString(deterministic=True))


NETWORK = network()


def bundle(folder: Path, *changes: tuple[str, str], text: str = SEGMENTATION) -> Path:
    """Write the bundle with parts of its model.yaml replaced; each part has to be there once."""
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in model.yaml"
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.yaml").write_text(text)
    (folder / "network.onnx").write_bytes(NETWORK)
    return folder


def faults(folder: Path) -> list[Fault]:
    """All faults of a bundle, in the order of the file."""
    return sorted(read_manifest(folder).faults, key=lambda fault: (fault.line, fault.path))


def line_of(text: str, part: str) -> int:
    """Line on which a part of the text begins."""
    return text[: text.index(part)].count("\n") + 1
