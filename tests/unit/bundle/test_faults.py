from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from dicom_node.errors import ModelError
from dicom_node.inference.bundle import BundleFaults, load_bundle
from tests.unit.bundle.manifests import NETWORK, SEGMENTATION, bundle, faults, line_of

FAULTS = [
    # what is replaced, by what, path of the fault, words of it
    ("schema: 1", "schema: 2", "schema", "Input should be 1"),
    ("name: two-organs", "name: Two organs", "name", "should match pattern"),
    ("title: Two organs", "title: " + "x" * 65, "title", "at most 64"),
    ("stage: research", "stage: released", "stage", "'research', 'validation', 'submitted' or 'cleared'"),
    ("stage: research", "stage: cleared", "stage", "no clearance says where"),
    ('contacts: [{name: Somebody, url: "https://example.org"}]', "contacts: []", "contacts", "at least 1 item"),
    (', url: "https://example.org"', "", "contacts[0]", "neither url nor email"),
    ("facts: {does: Outlines two organs., ", "facts: {", "facts.does", "required option is missing"),
    ("facts: {does:", "facts: {dose:", "facts.dose", "unknown option (did you mean 'does'?)"),
    ("match: {Modality: CT}", "match: {Modalty: CT}", "intended_use.match.Modalty", "did you mean 'Modality'"),
    ("match: {Modality: CT}", 'match: {SliceThickness: ">3", PatientAge: "old"}', "intended_use.match.PatientAge", "age"),
    ("{slices: {min: 2}}", "{slices: {min: 9, max: 2}}", "intended_use.geometry.slices", "min 9 is more than max 2"),
    ("{slices: {min: 2}}", "{slices: {}}", "intended_use.geometry.slices", "neither min nor max"),
    ("{slices: {min: 2}}", "{slice_spacing_mm: {min: -1}}", "intended_use.geometry.slice_spacing_mm.min", "greater than 0"),
    ("{slices: {min: 2}}", "{orientation: [axail]}", "intended_use.geometry.orientation[0]", "'axial', 'sagittal'"),
    ("{slices: {min: 2}}", "{frames: {min: 2}}", "intended_use.geometry.frames", "is for frames, an input is a volume"),
    ("{slices: {min: 2}}", "{slices: {min: 2}}\n  consequences: {Modalty: x}", "intended_use.consequences.Modalty", "neither in match"),
    ("{slices: {min: 2}}", "{slices: {min: 2}}\n  inputs: {image: {match: {}}}", "intended_use.inputs.image", "no input is named 'image'"),
    ("kind: volume", "kind: volume, color: rgb", "inputs[0]", "only frames have it"),
    ("kind: volume", "kind: frames, uneven: resample", "inputs[0]", "only volumes have it"),
    ("kind: volume", "kind: volume, optional: true", "inputs[0].optional", "cannot be optional"),
    (
        "kind: volume}",
        "kind: volume}\n  - {name: images, kind: volume}",
        "inputs[1].name",
        "input 'images' is given twice, first in line 14",
    ),
    ("kind: volume}", "kind: volume}\n  - {name: prior, kind: volume}", "inputs[1].name", "nothing uses input 'prior'"),
    ("kind: volume}", "kind: volume, only: {TemporalPositionIndx: 1}}", "inputs[0].only.TemporalPositionIndx", "did you mean"),
    ("kind: volume", "kind: frames, only: {EchoNumbers: 1}", "inputs[0]", "only: only volumes have it"),
    ("kind: volume", "kind: volume, fill: 0", "inputs[0]", "the input is never missing"),
    (
        "kind: volume}\nnetwork:\n  file: network.onnx\n  inputs: {x: images}",
        "kind: volume}\n  - {name: prior, kind: volume, optional: true}\nnetwork:\n  file: network.onnx\n  inputs: {x: images, p: prior}",
        "inputs[1].optional",
        "nothing says what it gets where it is missing (name fill, such as 0)",
    ),
    ("backends: [onnxruntime]", "backends: [triton]", "engines.backends[0]", "nothing says where the server is"),
    (
        "backends: [onnxruntime]",
        "backends: [onnxruntime]\n  triton: {url: gpu:8000, model: m, version: '1'}",
        "engines.triton",
        "do not name triton",
    ),
    (
        "backends: [onnxruntime]",
        "backends: [triton]\n  triton: {url: 'http://u:p@gpu', model: m, version: '1'}",
        "engines.triton.url",
        "should match pattern",
    ),
    (
        "backends: [onnxruntime]",
        "backends: [triton]\n  triton: {url: gpu, model: m, version: '1', token_file: /etc/token}",
        "engines.triton",
        "token_file: is for https",
    ),
    (
        "backends: [onnxruntime]",
        "backends: [triton]\n  triton: {url: 'https://gpu', model: m, version: '1', ca_file: ca.pem}",
        "engines.triton.ca_file",
        "write its absolute path",
    ),
    ("{x: images}", "{x: image}", "network.inputs.x", "no input is named 'image' (did you mean 'images'?)"),
    ("file: network.onnx", "file: null", "network", "no network file"),
    ("file: network.onnx", "file: weights.onnx", "network.file", "no file 'weights.onnx'"),
    ("file: network.onnx", "file: /etc/passwd", "network.file", "absolute path"),
    ("file: network.onnx", "file: C:/network.onnx", "network.file", "absolute path"),
    ("file: network.onnx", "file: ../other/network.onnx", "network.file", "leads out of the bundle"),
    ("file: network.onnx", "file: 'a\\b.onnx'", "network.file", "backslash"),
    ("file: network.onnx", "file: network.onnx\n  format: tflite", "network.format", "'onnx', 'torchscript'"),
    (
        "file: network.onnx",
        "file: network.onnx\n  format: pt2",
        "engines.backends[0]",
        "onnxruntime does not read pt2 networks (those that do: torch",
    ),
    ("file: network.onnx", "file: network.onnx\n  sha256: " + "ab" * 32, "network.sha256", "is pinned"),
    ("file: network.onnx", "file: network.onnx\n  sha256: abc", "network.sha256", "should match pattern"),
    ("file: network.onnx", "file: network.onnx\n  more: {box: network.onnx}", "network.more.box", "only Python steps"),
    ("file: network.onnx", "file: network.onnx\n  outputs: [y]", "network.outputs", "names its outputs itself"),
    ("window: {center: 40, width: 400}", "windwo: {}", "steps.preprocess[0].windwo", "unknown option (did you mean 'window'?)"),
    ("window: {center: 40, width: 400}", "window: {center: 40}", "steps.preprocess[0].window", "give center and width"),
    (
        "window: {center: 40, width: 400}",
        "window: {from_image: true, inputs: [ct]}",
        "steps.preprocess[0].window.inputs[0]",
        "no input is named 'ct'",
    ),
    ("    - argmax: {}", "    - argmax: {}\n  python: other", "steps", "give one or the other"),
    ("label_value: 2", "label_value: 1", "outputs.segments[1].label_value", "label_value 1 is given twice, first in line"),
    ("label_value: 2", "channel: 2\n      label_value: 2", "outputs.segments[1]", "a mask is one or the other"),
    ("id: spleen", "id: liver", "outputs.segments[1].id", "id 'liver' is given twice"),
    ("id: spleen", "id: liver_volume", "outputs.measurements[0].id", "id 'liver_volume' is given twice"),
    ("label: Spleen", "label: Liver", "outputs.segments[1].label", "label 'Liver' is given twice"),
    ("color_rgb: [200, 80, 80]", "color_rgb: [200, 80, 256]", "outputs.segments[0].color_rgb[2]", "less than or equal to 255"),
    ("meaning: Liver}", "meaning: ''}", "outputs.segments[0].property_type.meaning", "is empty"),
    ("meaning: Liver}", f"meaning: {'L' * 65}}}", "outputs.segments[0].property_type.meaning", "at most 64"),
    ('value: "10200004"', "value: 10200004", "outputs.segments[0].property_type.value", "valid string"),
    ("unit: {value: mL", "unit: {value: mililiter", "outputs.measurements[0].unit", "no UCUM code"),
    ("scheme: UCUM", "scheme: SI", "outputs.measurements[0].unit", "units are UCUM codes"),
    ("unit: {value: mL", "unit: {value: mm", "outputs.measurements[0].unit", "volume_ml comes in mL, the unit is mm"),
    ("segment: liver", "segment: kidney", "outputs.measurements[0].segment", "no segment has the id 'kidney'"),
    ("      segment: liver\n", "", "outputs.measurements[0].of", "none is named"),
    ("      of: volume_ml\n", "", "outputs.measurements[0]", "`of` is missing"),
    ("backends: [onnxruntime]", "backends: [onnx]", "engines.backends[0]", "'tensorrt', 'onnxruntime'"),
    ("backends: [onnxruntime]", "backends: [onnxruntime, onnxruntime]", "engines.backends[1]", "given twice"),
    ("backends: [onnxruntime]", "backends: []", "engines.backends", "at least 1 item"),
    ("precisions: [fp32]", "precisions: [int8]", "engines.precisions[0]", "'fp32', 'fp16' or 'bf16'"),
    ("precisions: [fp32]", "keep_fp32: [Add]", "engines.keep_fp32", "fp32 alone"),
    ("precisions: [fp32]", "tolerance: {iou: 0.9}", "engines.tolerance.iou", "there are no findings"),
    ("precisions: [fp32]", "tolerance: {dice: 1.5}", "engines.tolerance.dice", "less than or equal to 1"),
    ("precisions: [fp32]", "profiles: {z: {min: [1], opt: [1], max: [1]}}", "engines.profiles.z", "no input 'z'"),
    ("precisions: [fp32]", "profiles: {x: {min: [1], opt: [3], max: [2]}}", "engines.profiles.x", "min <= opt <= max"),
    ("precisions: [fp32]", "profiles: {x: {min: [1], opt: [1, 1], max: [2]}}", "engines.profiles.x", "must agree"),
    ("engines:\n", "resources: {memory: 4 GB}\nengines:\n", "resources.memory", "a size is a number with a unit"),
    ("engines:\n", "resources: {time_limit: 0s}\nengines:\n", "resources.time_limit", "greater than"),
    ("name: ball", "name: A ball", "verification.cases[0].name", "should match pattern"),
    ("generator: ellipsoids", "generator: elipsoids", "verification.cases[0].inputs.images.generator", "did you mean 'ellipsoids'?"),
    ("radii_mm: [20, 20, 20]", "radius_mm: 20", "verification.cases[0].inputs.images.parameters", "radii_mm: Field required"),
    ("generator: ellipsoids, ", "", "verification.cases[0].inputs.images", "give generator or file"),
    ("expect: {measurements: {liver_volume: {value: 1, within: 1}}}", "expect: {}", "verification.cases[0].expect", "nothing is expected"),
    ("{liver_volume: {value", "{spleen_volume: {value", "verification.cases[0].expect.measurements.spleen_volume", "no such output"),
    ("inputs: {images: {generator", "inputs: {ct: {generator", "verification.cases[0].inputs", "input 'images' is missing"),
]


def test_the_made_up_bundle_has_no_fault(tmp_path: Path) -> None:
    assert faults(bundle(tmp_path)) == []
    assert load_bundle(tmp_path).weights_sha256 == hashlib.sha256(NETWORK).hexdigest()


@pytest.mark.parametrize(("old", "new", "path", "words"), FAULTS, ids=[f"{c[2]}: {c[3]}"[:70] for c in FAULTS])
def test_fault_is_said_with_its_place(tmp_path: Path, old: str, new: str, path: str, words: str) -> None:
    found = [fault for fault in faults(bundle(tmp_path, (old, new))) if fault.path == path]
    assert len(found) == 1, faults(tmp_path)
    assert words in found[0].message + (f" ({found[0].hint})" if found[0].hint else "")
    text = (tmp_path / "model.yaml").read_text()
    key = path.rsplit(".", maxsplit=1)[-1].split("[", maxsplit=1)[0]
    line = text.splitlines()[found[0].line - 1]
    assert found[0].file == str(tmp_path / "model.yaml")
    assert key in line or line.lstrip().startswith("- ") or "required" in words or "is missing" in words, line


def test_every_fault_is_said_at_once(tmp_path: Path) -> None:
    changes = [("stage: research", "stage: released"), ("meaning: Abdomen", "meaning: ''"), ("backends: [onnxruntime]", "backends: [none]")]
    bundle(tmp_path, *changes)
    with pytest.raises(BundleFaults) as caught:
        load_bundle(tmp_path)
    assert isinstance(caught.value, ModelError)
    text = (tmp_path / "model.yaml").read_text()
    lines = [line_of(text, "stage:"), line_of(text, "finding:"), line_of(text, "backends:")]
    assert [fault.line for fault in caught.value.faults] == lines
    assert all(str(fault) in str(caught.value) for fault in caught.value.faults)


def test_several_faults_of_the_cross_checks_are_said_at_once(tmp_path: Path) -> None:
    bundle(tmp_path, ("label_value: 2", "label_value: 1"), ("segment: liver", "segment: kidney"), ("{x: images}", "{x: ct}"))
    assert [fault.path for fault in faults(tmp_path)] == [
        "inputs[0].name", "network.inputs.x", "outputs.segments[1].label_value", "outputs.measurements[0].segment",
    ]  # fmt: skip


def test_clearances_without_the_stage_are_refused(tmp_path: Path) -> None:
    clearance = 'clearances: [{region: EU, class: IIa, number: "0123"}]\n'
    found = faults(bundle(tmp_path, ("contacts:", f"{clearance}contacts:")))
    assert [(fault.path, fault.line) for fault in found] == [("clearances", 7)]
    assert faults(bundle(tmp_path, ("contacts:", f"{clearance}contacts:"), ("stage: research", "stage: cleared"))) == []


def test_unknown_option_of_an_aliased_field_is_named_as_it_is_written(tmp_path: Path) -> None:
    found = faults(bundle(tmp_path, ("contacts:", 'clearances: [{region: EU, klass: IIa, number: "1"}]\ncontacts:')))
    assert ("clearances[0].klass", "did you mean 'class'?") in [(fault.path, fault.hint) for fault in found]
    assert ("clearances[0].class", "required option is missing") in [(fault.path, fault.message) for fault in found]


def test_unknown_option_shows_those_that_there_are(tmp_path: Path) -> None:
    found = faults(bundle(tmp_path, ("schema: 1", "schema: 1\nzzz: 1")))
    assert found[0].hint.startswith("allowed: schema, name, title")


def test_forms_that_a_value_could_have_are_one_fault(tmp_path: Path) -> None:
    found = faults(bundle(tmp_path, ("window: {center: 40, width: 400}", "pad: {multiple: 8, value: middle}")))
    assert [fault.path for fault in found] == ["steps.preprocess[0].pad.value"]
    assert "; or: " in found[0].message


def test_python_steps_that_no_package_announces_are_refused(tmp_path: Path) -> None:
    start, end = SEGMENTATION.index("  preprocess:"), SEGMENTATION.index("outputs:")
    found = faults(bundle(tmp_path, (SEGMENTATION[start:end], "  python: chest-ct-densitometri\n")))
    assert [(fault.path, fault.hint) for fault in found] == [("steps.python", "did you mean 'chest-ct-densitometry'?")]


@pytest.mark.parametrize(
    ("step", "path"),
    [
        ("orient: {to: RAS}", "orient"),
        ("resample: {spacing_mm: [1, 1, 1]}", "resample.spacing_mm"),
        ("pad: {size: [8, 8, 8]}", "pad.size"),
        ("crop: {box: {start: [0, 0, 0], stop: [1, 1, 1]}}", "crop.box.start"),
    ],
)
def test_steps_for_volumes_are_refused_for_frames(tmp_path: Path, step: str, path: str) -> None:
    changes = [("kind: volume", "kind: frames"), ("window: {center: 40, width: 400}", step)]
    paths = [fault.path for fault in faults(bundle(tmp_path, *changes))]
    assert f"steps.preprocess[0].{path}" in paths
    assert {"intended_use.geometry.slices", "steps.infer.sliding_window.size", "outputs.measurements[0].of"} <= set(paths)


def test_no_yaml_and_no_file_are_faults(tmp_path: Path) -> None:
    assert "cannot be read" in faults(tmp_path)[0].message
    (tmp_path / "model.yaml").write_text("a: [")
    assert "no valid YAML" in faults(tmp_path)[0].message
    (tmp_path / "model.yaml").write_text("just words")
    assert faults(tmp_path)[0].path == ""
    (tmp_path / "model.yaml").write_bytes(b"name: \xff")
    assert "UTF-8" in faults(tmp_path)[0].message
