"""Small bundles, written where a test wants them: a manifest's telling sections, the rest filled in, and a tiny network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dicom_node.inference import ModelBundle, load_bundle

_ABOUT = """
schema: 1
name: tiny-model
title: Tiny model
version: "1.0"
manufacturer: dicom-node
stage: research
contacts: [{name: dicom-node, url: "https://example.org/"}]
facts: {does: What the test says., mechanism: A few operators without training.}
intended_use: {text: Tests.}
"""
LUNG = {"value": "39607008", "scheme": "SCT", "meaning": "Lung"}
NODULE = {"value": "27925004", "scheme": "SCT", "meaning": "Nodule"}
PRESENT = {"value": "52101004", "scheme": "SCT", "meaning": "Present"}
ABSENT = {"value": "2667000", "scheme": "SCT", "meaning": "Absent"}
ONE = {"value": "1", "scheme": "UCUM", "meaning": "no units"}
SEGMENT = {
    "id": "ball",
    "label": "Ball",
    "category": {"value": "49755003", "scheme": "SCT", "meaning": "Morphologically Abnormal Structure"},
    "property_type": NODULE,
    "color_rgb": [255, 0, 0],
}


def whole_manifest(sections: dict[str, Any]) -> dict[str, Any]:
    manifest = {**yaml.safe_load(_ABOUT), **sections}
    manifest.setdefault("inputs", [{"name": "images", "kind": "volume"}])
    manifest["network"] = {"file": "network.onnx", "inputs": {"x": "images"}, **manifest.get("network", {})}
    manifest["outputs"] = {"finding": LUNG, **manifest.get("outputs", {})}
    return manifest


def write_bundle(folder: Path, network: bytes, sections: dict[str, Any]) -> ModelBundle:
    folder.mkdir(parents=True, exist_ok=True)
    manifest = whole_manifest(sections)
    (folder / "network.onnx").write_bytes(network)
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False), "utf-8")
    return load_bundle(folder)
