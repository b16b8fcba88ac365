"""Real engines on tiny networks: ONNX Runtime in two precisions, OpenVINO in two, torch, and engines made wrong on purpose."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_node.errors import EngineUnavailableError, ModelError
from dicom_node.inference import ModelBundle
from dicom_node.inference.backends import Network, Precision, SessionOptions, open_session
from dicom_node.inference.backends.onnxruntime_session import OnnxRuntimeSession
from dicom_node.inference.gate.candidates import candidates
from dicom_node.inference.gate.case_inputs import CaseInputs
from dicom_node.inference.gate.choice import Choice, choose
from dicom_node.inference.gate.opening import EngineSettings
from dicom_node.inference.gate.records import CaseKind, Record, Records
from dicom_node.inference.gate.subject import Engine, subject_of
from dicom_node.inference.gate.summary import figures
from dicom_node.inference.gate.verification import Gate, verify
from dicom_node.inference.session import Session, Signature, Tensors
from dicom_node.pipeline.model_engines import NodeEngines, engine_standings, open_chosen, read_folder, verify_engine
from tests.conftest import ROOT
from tests.phantoms import chest_series, write
from tests.unit.gate.bundles import CASES, write_bundle
from tests.unit.gate.networks import classifier
from tests.unit.gate.test_choice import NOW

WITH_CASES = {"verification": {"cases": CASES}}
VINO = {"engines": {"backends": ["openvino"], "precisions": ["bf16", "fp32"]}}
FP16 = {"engines": {"backends": ["onnxruntime"], "precisions": ["fp16"]}}


@pytest.fixture
def node(tmp_path: Path) -> NodeEngines:
    return NodeEngines(tmp_path / "data", threads=1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, packages: Path) -> ModelBundle:
    return write_bundle(tmp_path_factory.mktemp("models") / "tiny", **WITH_CASES)


def needs_bf16() -> None:
    openvino = pytest.importorskip("openvino", reason="the extra openvino is not installed")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16 arithmetic")


class Wrong(OnnxRuntimeSession):
    """Half precision that is wrong: it adds to what it computed. In single precision it is right."""

    def _infer(self, inputs: Tensors) -> Tensors:
        return {name: value + np.float32(0.5) for name, value in super()._infer(inputs).items()}


Opener = Callable[[str, str, Network, SessionOptions], Session]


def wrong_fp16(backend: str, precision: str, network: Network, options: SessionOptions) -> Session:
    if precision == "fp16":
        return Wrong(network, Precision.FP16, options)
    return open_session(backend, precision, network, options)


def verified(bundle: ModelBundle, node: NodeEngines, engine: Engine, opener: Opener = open_session) -> tuple[Record, Choice]:
    """Verify one engine whose sessions the opener makes, and choose."""
    subject = subject_of(bundle)
    found = candidates(subject)
    records = Records.open(node.data_dir)
    gate = Gate(records, replace(node.settings(), open_session=opener), CaseInputs(read_folder), now=lambda: NOW)
    record = verify(gate, subject, next(c for c in found if c.engine == engine), next(c for c in found if c.reference))
    kept = {c.key.digest: kept for c in found if c.key and (kept := records.find(c.key))}
    return record, choose(subject, found, kept, NOW)


def test_openvino_in_single_and_in_half_precision_agrees_and_serves(bundle: ModelBundle, node: NodeEngines) -> None:
    needs_bf16()
    single, half = (verify_engine(bundle, "openvino", precision, node) for precision in ("fp32", "bf16"))
    assert single.failed == half.failed == ()
    assert [case.kind for case in half.cases] == [CaseKind.REFERENCE] * 2
    assert figures(single).max_error < 1e-5
    assert 1e-4 < figures(half).max_error < 0.01
    assert not half.generated
    model, choice = open_chosen(bundle, node)
    model.close()
    assert choice == Choice("openvino", "bf16", "cpu", half.digest, generated=False, fallback="")


def test_the_reference_asked_for_by_name_is_checked_against_the_expectations(tmp_path: Path, node: NodeEngines) -> None:
    wrong = {**CASES[1], "expect": {"measurements": {"score": {"value": 20, "within": 1}}}}
    bundle = write_bundle(tmp_path / "tiny", verification={"cases": [CASES[0], wrong]})
    record = verify_engine(bundle, "onnxruntime", "fp32", node)
    assert [case.kind for case in record.cases] == [CaseKind.EXPECTATIONS] * 2
    assert record.failed == ("ramp: measurement score: 0.859701 1, 20 within 1 is expected",)
    assert [(m.name, m.reference) for m in record.cases[0].agreement.measurements] == [("measurement volume", 3166)]


def test_the_reference_is_recorded_against_the_expectations_before_any_other_engine(bundle: ModelBundle, node: NodeEngines) -> None:
    verify_engine(bundle, "openvino", "fp32", node)
    reference = engine_standings(bundle, node)[-1]
    assert reference.candidate.reference
    assert [(case.kind, case.failed) for case in reference.record.cases] == [(CaseKind.EXPECTATIONS, ())] * 2


@pytest.mark.parametrize(("largest", "passes"), [(0.01, True), (1e-6, False)])
def test_half_precision_passes_with_the_declared_tolerance_and_not_with_a_tight_one(
    tmp_path: Path, node: NodeEngines, largest: float, passes: bool
) -> None:
    engines = {**FP16["engines"], "tolerance": {"max_error": largest}}
    record = verify_engine(write_bundle(tmp_path / "tiny", engines=engines, **WITH_CASES), "onnxruntime", "fp16", node)
    assert (record.failed == ()) is passes
    assert 1e-6 < figures(record).max_error < 0.01
    if not passes:
        assert "chest: y: largest error" in record.failed[0]
        assert "1e-06 is allowed" in record.failed[0]


@pytest.mark.parametrize("cases", [CASES, []], ids=["with cases", "by generated parity"])
def test_a_wrong_engine_is_refused_and_the_fallback_is_said(tmp_path: Path, node: NodeEngines, cases: list[object]) -> None:
    bundle = write_bundle(tmp_path / "tiny", **FP16, verification={"cases": cases})
    record, choice = verified(bundle, node, Engine("onnxruntime", "fp16"), wrong_fp16)
    assert record.failed
    assert record.generated is (not cases)
    assert (choice.backend, choice.precision) == ("onnxruntime", "fp32")
    assert choice.fallback.startswith("onnxruntime fp32, the reference, serves: onnxruntime fp16 failed its verification (")
    assert "y: largest error 0.5" in choice.fallback


def test_a_right_engine_of_a_model_without_cases_serves_and_is_marked(tmp_path: Path, node: NodeEngines) -> None:
    bundle = write_bundle(tmp_path / "tiny", **FP16)
    record, choice = verified(bundle, node, Engine("onnxruntime", "fp16"))
    assert record.failed == ()
    assert {case.kind for case in record.cases} == {CaseKind.PARITY}
    assert (choice.precision, choice.generated, choice.record) == ("fp16", True, record.digest)


def test_cases_that_are_only_refused_are_no_verification(tmp_path: Path, node: NodeEngines) -> None:
    thin = {"generator": "gradient", "parameters": {"size": [2, 8, 8]}}
    case = {"name": "thin", "inputs": {"images": thin}, "expect": {"not_analysed": "4 slices or more"}}
    bundle = write_bundle(tmp_path / "tiny", **FP16, verification={"cases": [case]})
    record, _ = verified(bundle, node, Engine("onnxruntime", "fp16"), wrong_fp16)
    assert record.generated
    assert record.failed


def test_an_engine_that_refuses_the_network_has_failed_with_its_words(tmp_path: Path, node: NodeEngines) -> None:
    bundle = write_bundle(tmp_path / "tiny", engines={"backends": ["onnxruntime"], "precisions": ["bf16"]}, **WITH_CASES)
    record, choice = verified(bundle, node, Engine("onnxruntime", "bf16"))
    assert record.failed == ("load: the engine cannot be used: ONNX Runtime has no bfloat16 kernels on the CPU",)
    assert choice.precision == "fp32"


def test_a_reference_that_gives_something_else_than_expected_refuses_the_model(tmp_path: Path, node: NodeEngines) -> None:
    case = {**CASES[0], "expect": {"measurements": {"volume": {"value": 3000, "within": 10}}}}
    bundle = write_bundle(tmp_path / "tiny", **FP16, verification={"cases": [case]})
    with pytest.raises(ModelError, match="fails its own cases: chest: measurement volume: 3166 mL, 3000 within 10 is expected"):
        verify_engine(bundle, "onnxruntime", "fp16", node)
    with pytest.raises(ModelError, match="the reference fails the model's own cases"):
        open_chosen(bundle, node)


def test_an_engine_that_refuses_to_load_when_it_is_wanted_gives_way_and_says_so(
    bundle: ModelBundle, node: NodeEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify_engine(bundle, "openvino", "fp32", node)

    def broken(*_: object) -> None:
        raise ModelError("the device was lost")

    monkeypatch.setattr("dicom_node.inference.backends.openvino_session.OpenVinoSession._activate", broken)
    model, choice = open_chosen(bundle, node)
    model.close()
    assert (choice.backend, choice.precision) == ("onnxruntime", "fp32")
    assert "openvino fp32 is not available (it cannot be loaded: the device was lost)" in choice.fallback


def test_steps_that_break_on_an_engine_s_outputs_are_its_failure(tmp_path: Path, node: NodeEngines) -> None:
    class Odd(OnnxRuntimeSession):
        """Its output has an axis too many."""

        def _activate(self) -> Signature:
            signature = super()._activate()
            return replace(signature, outputs={"y": replace(signature.outputs["y"], shape=(None,) * 5)})

        def _infer(self, inputs: Tensors) -> Tensors:
            return {name: value[:, :, None] for name, value in super()._infer(inputs).items()}

    def open_odd(backend: str, precision: str, network: Network, options: SessionOptions) -> Session:
        return open_session(backend, precision, network, options) if precision == "fp32" else Odd(network, Precision.FP16, options)

    record, choice = verified(write_bundle(tmp_path / "tiny", **FP16, **WITH_CASES), node, Engine("onnxruntime", "fp16"), open_odd)
    assert record.failed
    assert choice.precision == "fp32"


def test_an_engine_can_be_left_out_with_a_reason(bundle: ModelBundle, node: NodeEngines) -> None:
    verify_engine(bundle, "openvino", "fp32", node)
    lost = {Engine("openvino", "fp32"): "its process ended", Engine("onnxruntime", "fp32"): "never left out"}
    model, choice = open_chosen(bundle, node, without=lost)
    model.close()
    assert choice.backend == "onnxruntime"
    assert "openvino fp32 is not available (its process ended)" in choice.fallback


def test_a_tampered_record_takes_the_engine_out_of_service(bundle: ModelBundle, node: NodeEngines) -> None:
    record = verify_engine(bundle, "openvino", "fp32", node)
    path = Records.open(node.data_dir).path(record.key)
    path.write_text(path.read_text().replace('"max_error": 0.01', '"max_error": 0.02'))
    model, choice = open_chosen(bundle, node)
    model.close()
    assert choice.backend == "onnxruntime"
    assert "openvino fp32 is not verified" in choice.fallback


def test_a_change_of_the_bundle_takes_its_engines_out_of_service(tmp_path: Path, node: NodeEngines) -> None:
    folder = tmp_path / "tiny"
    verify_engine(write_bundle(folder, **FP16, **WITH_CASES), "onnxruntime", "fp16", node)
    changed = write_bundle(folder, **{**FP16, "version": "1.0.1"}, **WITH_CASES)
    assert [str(s.state) for s in engine_standings(changed, node)] == ["unverified", "reference"]


def test_a_record_is_kept_until_it_is_asked_for_anew(bundle: ModelBundle, node: NodeEngines) -> None:
    first = verify_engine(bundle, "openvino", "fp32", node)
    assert verify_engine(bundle, "openvino", "fp32", node) == first
    assert verify_engine(bundle, "openvino", "fp32", node, again=True).when > first.when


def test_an_engine_that_is_not_here_leaves_no_record(tmp_path: Path, node: NodeEngines) -> None:
    bundle = write_bundle(tmp_path / "tiny", engines={"backends": ["tensorrt"], "precisions": ["fp16"]}, **WITH_CASES)
    with pytest.raises(EngineUnavailableError, match="tensorrt fp16 is not available"):
        verify_engine(bundle, "tensorrt", "fp16", node)
    with pytest.raises(ModelError, match="does not name openvino fp32; it names tensorrt fp16, onnxruntime fp32"):
        verify_engine(bundle, "openvino", "fp32", node)
    assert list(Records.open(node.data_dir).folder.glob("*.json")) == []


def test_cases_may_be_files_of_the_bundle(tmp_path: Path, node: NodeEngines) -> None:
    folder = tmp_path / "tiny"
    write(chest_series(), folder / "series")
    case = {
        "name": "dicom",
        "inputs": {"images": {"file": "series"}},
        "expect": {"measurements": {"volume": {"value": 7000, "within": 7000}}},
    }
    record = verify_engine(write_bundle(folder, **FP16, verification={"cases": [case]}), "onnxruntime", "fp16", node)
    assert record.failed == ()
    assert [m.name for m in record.cases[0].agreement.measurements] == ["measurement volume", "measurement score"]


def trapped(folder: Path) -> None:
    """A network whose normalisation is in training mode where it was made, and written as ONNX as if it were not.

    Exporting sets every layer to its use after training: instead of the image's own mean and spread the file holds those of none.
    """
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    torch.manual_seed(0)
    norm = torch.nn.InstanceNorm2d(4, affine=True, track_running_stats=True)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), norm, torch.nn.ReLU(), torch.nn.Conv2d(4, 3, 1)).eval()
    norm.train()
    example = torch.zeros(1, 1, 16, 16)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(net, (example,), check_trace=False), folder / "network.pt")
        norm.reset_running_stats()
        names = {"input_names": ["x"], "output_names": ["y"]}
        torch.onnx.export(net, (example,), folder / "trapped.onnx", dynamo=False, opset_version=18, **names)


def test_an_export_that_is_silently_wrong_is_refused(tmp_path: Path, node: NodeEngines) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    trapped(folder)
    network = {"file": "network.pt", "format": "torchscript", "inputs": {"x": "images"}, "outputs": ["y"]}
    profile = {key: [1, 1, 16, 16] for key in ("min", "opt", "max")}
    engines = {"backends": ["torch"], "precisions": ["fp16", "fp32"], "profiles": {"input": profile}}
    bundle = write_bundle(folder, network=network, engines=engines)

    class Exported(OnnxRuntimeSession):
        """What was made of the TorchScript file; it calls its input `x`, TorchScript `input`."""

        def _activate(self) -> Signature:
            signature = super()._activate()
            return replace(signature, inputs={"input": signature.inputs["x"]})

        def _infer(self, inputs: Tensors) -> Tensors:
            return super()._infer({"x": inputs["input"]})

    def open_export(backend: str, precision: str, given: Network, options: SessionOptions) -> Session:
        if precision == "fp32":
            return open_session(backend, precision, given, options)
        return Exported(Network(folder / "trapped.onnx"), Precision.FP32, replace(options, device="cpu"))

    record, choice = verified(bundle, node, Engine("torch", "fp16"), open_export)
    assert figures(record).max_error > 0.3
    assert (choice.backend, choice.precision) == ("torch", "fp32")
    assert "torch fp16 failed its verification" in choice.fallback


_TWO = """
import sys
from pathlib import Path
from dicom_node.inference import load_bundle
from dicom_node.inference.gate import verification
from dicom_node.pipeline.model_engines import NodeEngines, verify_engine
run, ran = verification._verify, []
verification._verify = lambda *a: ran.append(str(a[2].engine)) or run(*a)
bundle = load_bundle(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
record = verify_engine(bundle, "onnxruntime", "fp16", NodeEngines(Path(sys.argv[2]), threads=1))
print(record.digest, *ran, flush=True)
"""


def test_of_two_processes_that_verify_at_once_one_does_it_and_both_have_its_record(tmp_path: Path, packages: Path) -> None:
    write_bundle(tmp_path / "tiny", **FP16, **WITH_CASES)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{packages}"}
    command = [sys.executable, "-c", _TWO, str(tmp_path / "tiny"), str(tmp_path / "data")]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT, text=True) for _ in range(2)
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    answers = [child.communicate(timeout=60)[0].split(maxsplit=1) for child in children]
    assert answers[0][0] == answers[1][0]
    ran = sorted(word for answer in answers for word in answer[1:])
    assert "".join(ran).count("fp16") == 1
    assert "".join(ran).count("fp32") == 1
    assert len(list((tmp_path / "data" / "engines" / "records").glob("*.json"))) == 2


def test_progress_of_the_cases_is_told(bundle: ModelBundle, node: NodeEngines) -> None:
    told: list[tuple[str, float]] = []
    verify_engine(bundle, "openvino", "fp32", replace(node, on_verify=lambda words, share: told.append((words, share))))
    assert told[-3:] == [("openvino fp32: chest", 0.0), ("openvino fp32: ramp", 0.5), ("openvino fp32: compared", 1.0)]


def test_settings_of_the_node_reach_the_session(tmp_path: Path, node: NodeEngines) -> None:
    seen: list[SessionOptions] = []

    def note(backend: str, precision: str, network: Network, options: SessionOptions) -> Session:
        seen.append(options)
        return open_session(backend, precision, network, options)

    engines: Mapping[str, object] = {
        **FP16["engines"],
        "keep_fp32": ["Conv"],
        "profiles": {"x": {"min": [1, 1, 8, 8], "opt": [1, 1, 8, 8], "max": [4, 1, 8, 8]}},
    }
    verified(write_bundle(tmp_path / "tiny", engines=engines), node, Engine("onnxruntime", "fp16"), note)
    assert {(o.threads, o.device, o.keep_fp32, o.engines_dir) for o in seen} == {(1, "cpu", ("Conv",), node.data_dir / "engines")}
    assert seen[0].profiles["x"].max == (4, 1, 8, 8)


def test_engine_settings_open_real_sessions_by_default(tmp_path: Path) -> None:
    network = Network(classifier(tmp_path / "network.onnx"))
    with EngineSettings().open_session("onnxruntime", "fp32", network, SessionOptions(threads=1)) as session:
        assert session.backend == "onnxruntime"
