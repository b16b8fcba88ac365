from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_node.errors import ModelError
from dicom_node.inference import Manifest, open_model
from dicom_node.inference.session import TensorInfo
from dicom_node.inference.steps.validate import validate_steps
from tests.unit.inference.steps import networks
from tests.unit.inference.steps.bundles import ABSENT, NODULE, ONE, PRESENT, SEGMENT, whole_manifest, write_bundle

FRAMES = [{"name": "images", "kind": "frames"}]
FLOAT = np.dtype(np.float32)
X3D = {"x": TensorInfo(FLOAT, (None, 1, None, None, None))}
X2D = {"x": TensorInfo(FLOAT, (None, 1, None, None))}
IMAGE3D = {"y": TensorInfo(FLOAT, (None, 2, None, None, None))}
IMAGE2D = {"y": TensorInfo(FLOAT, (None, 2, None, None))}
SCORES = {"y": TensorInfo(FLOAT, (None, 3))}
BOXES = {"b": TensorInfo(FLOAT, (None, None, 4)), "s": TensorInfo(FLOAT, (None, None))}
MAP = {"maps": [{"id": "map", "label": "Map", "quantity": NODULE, "unit": ONE}]}
MASK = {"segments": [{**SEGMENT, "channel": 1}]}
LABEL = {"segments": [{**SEGMENT, "label_value": 1}]}
FOUND = {"findings": [{"id": "nodule", "label": "Nodule", "concept": NODULE}]}
ASKED = {"evaluations": [{"id": "is", "label": "Is", "concept": NODULE, "classes": [ABSENT, PRESENT]}]}
WINDOW2 = {"sliding_window": {"size": [8, 8]}}
WINDOW3 = {"sliding_window": {"size": [8, 8, 8]}}


def measured(**fields: Any) -> dict[str, Any]:
    return {"measurements": [{"id": "m", "label": "M", "concept": NODULE, "unit": ONE, **fields}]}


def faults(network: tuple[Any, Any], out: Any, sections: dict[str, Any]) -> tuple[str, ...]:
    sections = dict(sections)
    steps = {"preprocess": sections.pop("pre", []), "infer": sections.pop("infer", "whole"), "postprocess": sections.pop("post", [])}
    manifest = Manifest.model_validate(whole_manifest({"steps": steps, "outputs": out, **sections}))
    return validate_steps(manifest, *network)


@pytest.mark.parametrize(
    ("inputs", "outputs", "out", "sections"),
    [
        (X3D, IMAGE3D, MAP, {}),
        (X3D, IMAGE3D, LABEL, {"post": [{"argmax": {}}]}),
        (X3D, IMAGE3D, MASK, {"post": [{"threshold": {}}, {"closing": {"radius_mm": 1}}]}),
        (X3D, IMAGE3D, LABEL, {"infer": {"sliding_window": {"size": [8, 8, 8], "keep": "labels"}}}),
        (X2D, IMAGE2D, MAP, {"inputs": FRAMES}),
        (X2D, IMAGE2D, MAP, {"infer": "slices"}),
        (X2D, IMAGE2D, MAP, {"infer": WINDOW2}),
        (X3D, SCORES, measured(of="y", index=2), {}),
        (X2D, BOXES, FOUND, {"inputs": FRAMES, "post": [{"boxes": {"axes": "xy", "scores": "s"}}, {"nms": {}}]}),
        (X3D, {}, MAP, {}),
        ({"x": TensorInfo(FLOAT, None)}, {"y": TensorInfo(FLOAT, None)}, FOUND, {}),
    ],
)
def test_what_fits_has_no_fault(inputs: Any, outputs: Any, out: Any, sections: dict[str, Any]) -> None:
    assert faults((inputs, outputs), out, sections) == ()


@pytest.mark.parametrize(
    ("inputs", "outputs", "out", "sections", "words"),
    [
        ({"z": X3D["x"]}, IMAGE3D, MAP, {}, "network.inputs names x; the network has z"),
        ({**X3D, "z": X3D["x"]}, IMAGE3D, MAP, {}, "the network has x, z"),
        ({"x": TensorInfo(FLOAT, (None, 3))}, IMAGE3D, MAP, {}, "has 2 axes; declared steps make 4"),
        (X2D, IMAGE2D, MAP, {"inputs": FRAMES, "pre": [{"tensor": {"layout": "NCDHW"}}]}, "has 4 axes, layout NCDHW has 5"),
        (X3D, IMAGE3D, MAP, {"pre": [{"tensor": {"dtype": "uint8"}}]}, "takes float32, tensor.dtype says uint8"),
        (X3D, IMAGE3D, MAP, {"inputs": FRAMES}, "a 2-D network is needed"),
        (X2D, IMAGE2D, MAP, {}, "choose infer.slices"),
        (X3D, IMAGE3D, MAP, {"infer": "slices"}, "infer.slices is for a 2-D network"),
        (X2D, IMAGE2D, MAP, {"infer": "slices", "inputs": FRAMES}, "infer.slices is for a 2-D network"),
        (X3D, IMAGE3D, MAP, {"infer": WINDOW2}, "size has 2 lengths, the network sees 3 axes"),
        (
            {"x": TensorInfo(FLOAT, (None, 1, 16, 16, 16))},
            IMAGE3D,
            MAP,
            {"infer": WINDOW3},
            r"size is [8, 8, 8], the network takes [16, 16, 16]",
        ),
        (
            {"x": TensorInfo(FLOAT, (2, 1, None, None, None))},
            IMAGE3D,
            MAP,
            {"infer": {**WINDOW3, "batch": 4}},
            "infer.batch is 4, the network takes exactly 2",
        ),
        (X3D, SCORES, MAP, {"infer": WINDOW3}, "sliding_window puts images together"),
        ({"x": TensorInfo(FLOAT, (None, 3, None, None))}, IMAGE2D, MAP, {"inputs": FRAMES}, "takes 3 channels, the steps make 1"),
        (X2D, IMAGE2D, MAP, {"infer": {"slices": {"neighbours": 1}}}, "takes 1 channels, the steps make 3"),
        (X2D, IMAGE2D, MAP, {"inputs": FRAMES, "pre": [{"channels": {"gray": True}}]}, "wants 3 channels, input images has 1"),
        (X2D, IMAGE2D, MAP, {"inputs": FRAMES, "pre": [{"orient": {"to": "RAS"}}]}, "frames have no place there"),
        (
            X2D,
            IMAGE2D,
            MAP,
            {"inputs": [*FRAMES, {"name": "more", "kind": "frames"}], "pre": [{"channels": {"stack": ["images", "more"]}}]},
            "by their place in the patient, frames have none",
        ),
        (X2D, IMAGE2D, MAP, {"inputs": FRAMES, "pre": [{"resample": {"spacing_mm": [1, 1, 1]}}]}, "give two"),
        (X2D, IMAGE2D, MAP, {"inputs": FRAMES, "pre": [{"pad": {"multiple": [1, 8, 8]}}]}, "give two"),
        (X3D, IMAGE3D, MAP, {"pre": [{"window": {"from_image": True}}]}, "a volume has none"),
        (X3D, IMAGE3D, MAP, {"pre": [{"channels": {"stack": ["images", "pet"]}}]}, "names pet; inputs are images"),
        (X3D, IMAGE3D, MAP, {"post": [{"activation": {"kind": "softmax", "of": "q"}}]}, "names output q; outputs are y"),
        (X3D, IMAGE3D, LABEL, {"post": [{"argmax": {}}, {"threshold": {}}]}, "wants an image of scores, the output is an image of labels"),
        (X3D, IMAGE3D, LABEL, {"post": [{"argmax": {}}, {"activation": {"kind": "sigmoid"}}]}, "wants scores, the output holds labels"),
        (X3D, {"y": TensorInfo(FLOAT, (None, 1, None, None, None))}, LABEL, {"post": [{"argmax": {}}]}, "declare threshold"),
        (X3D, IMAGE3D, MASK, {"post": [{"components": {"keep": 1}}, {"threshold": {}}]}, "declare threshold or argmax before"),
        (
            X2D,
            IMAGE2D,
            MASK,
            {"inputs": FRAMES, "post": [{"threshold": {}}, {"components": {"drop_below_ml": 1}}]},
            "give drop_below_pixels",
        ),
        (X3D, IMAGE3D, MASK, {}, "declare threshold or argmax"),
        (X3D, IMAGE3D, MASK, {"post": [{"argmax": {}}]}, "say label_value"),
        (X3D, IMAGE3D, LABEL, {"post": [{"threshold": {}}]}, "say channel"),
        (X3D, IMAGE3D, {"segments": [{**SEGMENT, "channel": 2}]}, {"post": [{"threshold": {}}]}, "is channel 2, the output has 2"),
        (X3D, IMAGE3D, {"segments": [SEGMENT]}, {"post": [{"threshold": {}}]}, "does not say which of 2 channels"),
        (X3D, SCORES, MAP, {}, "wants an image of numbers, the output is a list"),
        (X3D, IMAGE3D, {"maps": [{**MAP["maps"][0], "channel": 5}]}, {}, "is channel 5, the output has 2"),
        (X3D, IMAGE3D, {"maps": [{**MAP["maps"][0], "output": "q"}]}, {}, "names output q; outputs are y"),
        (X3D, SCORES, {"segments": [SEGMENT]}, {"post": [{"to_source": {}}]}, "wants an image, the output is a list"),
        (X3D, SCORES, measured(of="y"), {}, "does not say which of 3 numbers"),
        (X3D, SCORES, measured(of="y", index=3), {}, "is number 3 of output y, which has 3"),
        (X3D, IMAGE3D, measured(of="y"), {}, "wants a number, output y is an image"),
        (X3D, SCORES, measured(of="volume_ml"), {}, "say which by segment"),
        (X3D, SCORES, measured(of="sweetness"), {}, "no quantity of a segment and no output"),
        (X3D, SCORES, measured(of=""), {}, "give `of`"),
        (
            X2D,
            IMAGE2D,
            {**MASK, **measured(of="volume_ml", segment="ball")},
            {"inputs": FRAMES, "post": [{"threshold": {}}]},
            "is a volume, frames have none",
        ),
        (
            X2D,
            IMAGE2D,
            {**MASK, **measured(of="std", segment="ball")},
            {
                "inputs": [{**FRAMES[0], "color": "rgb"}],
                "pre": [{"channels": {"gray": True}}],
                "post": [{"threshold": {}}],
            },
            "red, green and blue",
        ),
        (X3D, {"mean": IMAGE3D["y"]}, {**MASK, **measured(of="mean", segment="ball")}, {"post": [{"threshold": {}}]}, "rename the output"),
        (X3D, IMAGE3D, FOUND, {}, "wants boxes or class scores, the output is an image"),
        (X3D, SCORES, {"findings": [{**FOUND["findings"][0], "class_index": 3}]}, {}, "is class 3, the output has 3"),
        (X3D, SCORES, ASKED, {}, "has 2 classes, the output has 3 scores"),
        (X3D, IMAGE3D, ASKED, {"post": [{"class_scores": {}}]}, "reads a list of scores"),
        (X3D, IMAGE3D, MAP, {"post": [{"rescale": {"pool": "mean"}}]}, "pools lists of numbers"),
        (X2D, BOXES, FOUND, {"inputs": FRAMES, "post": [{"nms": {}}, {"boxes": {"axes": "xy", "scores": "s"}}]}, "nms, comes before boxes"),
        (
            X2D,
            BOXES,
            FOUND,
            {"inputs": FRAMES, "post": [{"boxes": {"axes": "xyz", "scores": "s"}}]},
            "has axes xyz, the network sees 2 axes",
        ),
        (X2D, BOXES, FOUND, {"inputs": FRAMES, "post": [{"boxes": {"axes": "xy"}}]}, "needs 5 numbers for each box, the output has 4"),
        (X2D, IMAGE2D, FOUND, {"inputs": FRAMES, "post": [{"boxes": {"axes": "xy"}}]}, "reads a list of numbers"),
        (X2D, BOXES, FOUND, {"inputs": FRAMES, "post": [{"boxes": {"axes": "xy", "scores": "s"}}] * 2}, "is the second boxes step"),
        (
            X2D,
            {"b": TensorInfo(FLOAT, (None, 5))},
            FOUND,
            {"inputs": FRAMES, "infer": {"whole": {}, "batch": 2}, "post": [{"boxes": {"axes": "xy"}}]},
            "without a batch axis",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(inputs: Any, outputs: Any, out: Any, sections: dict[str, Any], words: str) -> None:
    found = faults((inputs, outputs), out, sections)
    assert any(words in fault for fault in found), found
    assert all(fault.endswith(".") for fault in found)


def test_every_fault_is_told_when_the_model_is_opened(tmp_path: Path) -> None:
    sections = {"steps": {"infer": "slices"}, "outputs": {**MASK, **measured(of="y")}}
    bundle = write_bundle(tmp_path, networks.identity(), sections)
    with pytest.raises(ModelError) as caught:
        open_model(bundle, threads=1)
    for words in ("infer.slices is for a 2-D network", "declare threshold or argmax", "wants a number"):
        assert words in str(caught.value)
