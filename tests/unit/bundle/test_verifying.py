from __future__ import annotations

from datetime import date
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from dicom_node.inference.backends import _SESSIONS as SESSIONS
from dicom_node.inference.backends import NetworkFormat, open_session
from dicom_node.inference.bundle.checks.engines import READS
from dicom_node.inference.bundle.engines_schema import Backend
from dicom_node.inference.bundle.inputs_schema import FileFormat
from dicom_node.inference.bundle.network_signature import onnx_signature, read_onnx
from dicom_node.inference.bundle.verifying import verify_static
from dicom_node.inference.network import Network
from tests.unit.bundle.manifests import SEGMENTATION, bundle, network
from tests.unit.bundle.test_zips import packed

TODAY = date(2026, 6, 1)
CLEARED = ("stage: research\n", 'stage: cleared\nclearances:\n  - {region: EU, class: IIa, number: "1", expires: 2026-05-31}\n')


def faults_of(folder: Path) -> list[tuple[str, str]]:
    return [(fault.path, fault.message) for fault in verify_static(folder, TODAY).faults]


def warnings_of(folder: Path) -> list[str]:
    return [warning.path for warning in verify_static(folder, TODAY).warnings]


def test_sound_bundle_has_warnings_at_most(tmp_path: Path) -> None:
    verdict = verify_static(bundle(tmp_path), TODAY)
    assert verdict.faults == ()
    assert verdict.bundle is not None
    assert [warning.path for warning in verdict.warnings] == ["facts", "network"]


def test_complete_bundle_has_no_warning(tmp_path: Path) -> None:
    digest = verify_static(bundle(tmp_path), TODAY).warnings[-1].hint
    facts = "facts: {population: Adults., performance: Dice 0.9., warnings: [Beware.], does"
    verdict = verify_static(bundle(tmp_path, ("file: network.onnx", f"file: network.onnx\n  {digest}"), ("facts: {does", facts)), TODAY)
    assert (verdict.faults, verdict.warnings) == ((), ())


def test_bundle_that_cannot_be_loaded_is_told_not_raised(tmp_path: Path) -> None:
    assert verify_static(tmp_path / "nothing", TODAY).faults[0].message.startswith("cannot be read")
    assert faults_of(bundle(tmp_path, ("stage: research", "stage: none")))[0][0] == "stage"


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ([("{x: images}", "{z: images}")], "network.inputs", "names z; the network has x"),
        ([("label_value: 2", "channel: 2")], "outputs.segments[1]", "spleen lies in a label map"),
        ([("argmax", "threshold")], "outputs.segments[0]", "liver has label_value"),
        ([("argmax: {}", "argmax: {of: logits}")], "steps.postprocess[0].argmax", "names output logits; outputs are y"),
        ([("size: [8, 8, 8]", "size: [8, 8]")], "steps.infer.sliding_window", "has 2 lengths"),
        ([("of: volume_ml\n      segment: liver", "of: scores")], "outputs.measurements[0]", "no output; outputs are y"),
        (
            [("window: {center: 40, width: 400}", "tensor: {dtype: float64}")],
            "network.inputs.x",
            "tensor.dtype says float64",
        ),
        ([("window: {center: 40, width: 400}", "channels: {repeat: 3}")], "network.inputs.x", "takes 1 channels"),
        (
            [("precisions: [fp32]", "profiles: {x: {min: [1], opt: [1], max: [1]}}")],
            "engines.profiles.x",
            "1 axes, the network's input has 5",
        ),
        (
            [("precisions: [fp32]", "profiles: {x: {min: [1, 1, 8, 8, 8], opt: [1, 1, 8, 8, 8], max: [2, 1, 8, 8, 8]}}")],
            "engines.profiles.x",
            "axis 0 goes from 1 to 2, the network takes exactly 1",
        ),
        ([("precisions: [fp32]", "precisions: [fp16]\n  keep_fp32: [ReduceMaen]")], "engines.keep_fp32[0]", "no operator 'ReduceMaen'"),
        ([("{x: images}", "{x: images}\n  repairs: [nothing]")], "network.repairs[0]", "is unknown"),
        ([("{x: images}", "{x: images}\n  repairs: [instance-norm-by-axis]")], "network.repairs[0]", "finds nothing to do"),
    ],
)
def test_manifest_that_is_not_about_this_network_is_refused(tmp_path: Path, changes: list[tuple[str, str]], path: str, words: str) -> None:
    found = faults_of(bundle(tmp_path, *changes))
    assert [p for p, _ in found if p == path], found
    assert any(words in message for _, message in found), found


def test_operator_that_no_network_has_is_a_warning(tmp_path: Path) -> None:
    assert "engines.keep_fp32" in warnings_of(bundle(tmp_path, ("precisions: [fp32]", "precisions: [fp16]\n  keep_fp32: [Softmax]")))
    assert "engines.keep_fp32" not in warnings_of(bundle(tmp_path, ("precisions: [fp32]", "precisions: [fp16]\n  keep_fp32: [Conv]")))


@pytest.mark.parametrize("content", [b"", b"no network", network()[:100]])
def test_what_is_no_network_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = bundle(tmp_path)
    (folder / "network.onnx").write_bytes(content)
    [(path, message)] = faults_of(folder)
    assert path == "network.file"
    assert "network.onnx: ONNX's checker refuses it" in message


def test_network_that_breaks_the_rules_of_onnx_is_refused(tmp_path: Path) -> None:
    folder = bundle(tmp_path)
    model = onnx.load_model_from_string(network())
    model.graph.node[0].op_type = "Convolve"
    (folder / "network.onnx").write_bytes(model.SerializeToString())
    [(path, message)] = faults_of(folder)
    assert (path, "Convolve" in message) == ("network.file", True)


def test_weights_outside_of_the_bundle_are_refused(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "one")
    model = onnx.load_model_from_string(network())
    onnx.save_model(model, tmp_path / "outside.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    external = onnx.load(tmp_path / "outside.onnx", load_external_data=False)
    for entry in external.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../weights.bin"
    (folder / "network.onnx").write_bytes(external.SerializeToString())
    assert [path for path, _ in faults_of(folder)] == ["network.file"]


def test_further_networks_are_looked_at_too(tmp_path: Path) -> None:
    start, end = SEGMENTATION.index("  preprocess:"), SEGMENTATION.index("outputs:")
    python = (SEGMENTATION[start:end], "  python: chest-ct-densitometry\n")
    folder = bundle(tmp_path, python, ("{x: images}", "{z: images}\n  more: {box: box.onnx}"))
    (folder / "box.onnx").write_bytes(b"no network")
    assert [path for path, _ in faults_of(folder)] == ["network.inputs.z", "network.more.box"]


def test_python_steps_that_cannot_be_imported_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, end = SEGMENTATION.index("  preprocess:"), SEGMENTATION.index("outputs:")
    folder = bundle(tmp_path, (SEGMENTATION[start:end], "  python: chest-ct-densitometry\n"))
    monkeypatch.setattr("dicom_node.inference.python_models._OWN", {"chest-ct-densitometry": "no_such_package:Model"})
    [(path, message)] = faults_of(folder)
    assert (path, "cannot be imported from no_such_package:Model" in message) == ("steps.python", True)


def test_clearance_that_has_ended_is_a_fault_when_none_is_left(tmp_path: Path) -> None:
    folder = bundle(tmp_path, CLEARED)
    assert faults_of(folder) == [("clearances[0].expires", "the clearance for EU ended on 2026-05-31")]
    assert verify_static(folder, date(2026, 5, 31)).faults == ()
    two = (CLEARED[0], CLEARED[1] + '  - {region: US, class: II, number: "2"}\n')
    assert faults_of(bundle(tmp_path, two)) == []
    assert "clearances[0].expires" in warnings_of(tmp_path)


def test_intended_use_that_limits_nothing_is_a_warning(tmp_path: Path) -> None:
    assert "intended_use" in warnings_of(bundle(tmp_path, ("  match: {Modality: CT}\n  geometry: {slices: {min: 2}}\n", "")))


def test_what_is_said_of_a_zip_names_the_zip(tmp_path: Path) -> None:
    path = packed(bundle(tmp_path / "folder", CLEARED), tmp_path / "two.zip")
    found = verify_static(path, TODAY, tmp_path / "cache")
    assert {fault.file for fault in (*found.faults, *found.warnings)} == {str(path / "model.yaml")}


def test_program_is_not_looked_into(tmp_path: Path) -> None:
    changes = [("file: network.onnx", "file: network.onnx\n  format: torchscript"), ("backends: [onnxruntime]", "backends: [torch]")]
    assert "network.format" in warnings_of(bundle(tmp_path, *changes))


def test_signature_is_what_the_engine_says(tmp_path: Path) -> None:
    (tmp_path / "network.onnx").write_bytes(network())
    signature = onnx_signature(read_onnx(tmp_path / "network.onnx"))
    with open_session("onnxruntime", "fp32", Network(tmp_path / "network.onnx")) as session:
        assert (dict(signature.inputs), dict(signature.outputs)) == (dict(session.inputs), dict(session.outputs))
    (tmp_path / "half.onnx").write_bytes(network(dtype=TensorProto.INT64))
    with pytest.raises(Exception, match="ONNX's checker refuses it"):
        read_onnx(tmp_path / "half.onnx")


def test_back_ends_read_what_the_checks_say() -> None:
    assert {FileFormat(form.value) for form in NetworkFormat} == {FileFormat.ONNX, FileFormat.TORCHSCRIPT, FileFormat.PT2}
    for name, session in SESSIONS.items():
        assert {form.value for form in session.formats} == {form.value for form in READS[Backend(name)]}, name
