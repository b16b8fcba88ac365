"""Bundles written for a test."""

from __future__ import annotations

from pathlib import Path

import yaml

from dicom_node.inference import ModelBundle, load_bundle
from tests.unit.gate.networks import classifier

_ENTRY = {"value": "1", "scheme": "99T", "meaning": "Thing"}
PHANTOM = {"generator": "lung-phantom", "parameters": {"size": [6, 32, 32], "spacing_mm": [20, 10, 10]}, "attributes": {"Modality": "CT"}}
CASES = [
    {"name": "chest", "inputs": {"images": PHANTOM}, "expect": {"measurements": {"volume": {"value": 3166, "within": 1}}}},
    {
        "name": "ramp",
        "inputs": {"images": {"generator": "gradient", "parameters": {"size": [6, 24, 24], "low": -1000, "high": 1000}}},
        "expect": {"measurements": {"score": {"value": 0, "within": 10}}},
    },
]


def manifest(**sections: object) -> dict[str, object]:
    """A whole model.yaml around tiny networks; `sections` replaces or adds."""
    ml = {"value": "mL", "scheme": "UCUM", "meaning": "milliliter"}
    one = {"value": "1", "scheme": "UCUM", "meaning": "no units"}
    return {
        "schema": 1,
        "name": "tiny",
        "title": "Tiny",
        "version": "1.0.0",
        "manufacturer": "tests",
        "stage": "research",
        "contacts": [{"name": "tests", "url": "https://example.org"}],
        "facts": {"does": "Finds the thing.", "mechanism": "Two convolutions."},
        "intended_use": {"text": "Tests."},
        "inputs": [{"name": "images", "kind": "volume"}],
        "network": {"file": "network.onnx", "inputs": {"x": "images"}},
        "steps": {"python": "tiny"},
        "outputs": {
            "finding": _ENTRY,
            "segments": [{"id": "thing", "label": "Thing", "category": _ENTRY, "property_type": _ENTRY, "color_rgb": [1, 2, 3]}],
            "measurements": [
                {"id": "volume", "label": "Volume", "concept": _ENTRY, "unit": ml},
                {"id": "score", "label": "Score", "concept": _ENTRY, "unit": one},
            ],
            "maps": [{"id": "heat", "label": "Heat", "quantity": _ENTRY, "unit": one}],
        },
        "engines": {"backends": ["openvino", "onnxruntime"], "precisions": ["bf16", "fp32"]},
        **sections,
    }


def write_bundle(folder: Path, **sections: object) -> ModelBundle:
    """Write a bundle with the tiny network, and load it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "network.onnx").exists():
        classifier(folder / "network.onnx")
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest(**sections), sort_keys=False))
    return load_bundle(folder)


def announce(packages: Path) -> None:
    """Make the tiny model known to Python as an installed package would; `packages` has to be on the path."""
    folder = packages / "tiny_model-1.0.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[dicom_node.models]\ntiny = tests.unit.gate.tiny_model:Tiny\n")
