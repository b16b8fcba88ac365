from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import Done, dicom_node
from tests.unit.gate.bundles import CASES, write_bundle

HALF = {"backends": ["tensorrt", "onnxruntime"], "precisions": ["fp16"]}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("DICOM_NODE_CONFIG", str(tmp_path / "node.yaml"))
    monkeypatch.setattr("dicom_node.inference.gate.candidates.cuda_devices", tuple)
    (tmp_path / "rules.yaml").write_text("rules: []\n")
    (tmp_path / "node.yaml").write_text(f"ae_title: AINODE\ndata_dir: {tmp_path}/data\ndatabase: sqlite:///{tmp_path}/node.db\n")
    return tmp_path / "models"


def engines() -> dict[str, object]:
    return json.loads(dicom_node("models", "engines", "tiny", "--json").out)


def line(done: Done, engine: str) -> str:
    lines = (" ".join(text.split()) for text in done.out.splitlines())
    (found,) = (text for text in lines if text.startswith(engine))
    return found


def test_engines_as_json_says_what_serves_and_why(models: Path) -> None:
    write_bundle(models / "tiny", engines=HALF, verification={"cases": CASES})
    before = engines()
    assert (before["serves"]["precision"], before["serves"]["record"]) == ("fp32", "")
    assert [e["state"] for e in before["engines"]] == ["unavailable", "unverified", "reference"]

    built = json.loads(dicom_node("models", "build", "tiny", "--json").out)
    assert built == engines()
    tensorrt, half, reference = built["engines"]
    assert (tensorrt["state"], tensorrt["record"], tensorrt["figures"]) == ("unavailable", None, None)
    assert (half["state"], half["serves"], half["generated"], half["failed"]) == ("verified", True, False, [])
    assert built["serves"] == {
        "backend": "onnxruntime",
        "precision": "fp16",
        "device": "cpu",
        "record": half["record"],
        "generated": False,
        "fallback": "onnxruntime fp16 serves: tensorrt fp16 on cuda:0 is not available (no GPU is here)",
    }
    assert 0 < half["figures"]["max_error"] < 0.01
    assert half["figures"]["dice"] == 1.0
    assert [c["kind"] for c in half["cases"]] == ["reference"] * 2
    assert (reference["state"], [c["kind"] for c in reference["cases"]]) == ("reference", ["expectations"] * 2)


def test_build_of_what_fails_ends_with_one_and_shows_the_verdict(models: Path) -> None:
    write_bundle(models / "tiny", engines={**HALF, "tolerance": {"max_error": 1e-9}}, verification={"cases": CASES})
    done = dicom_node("models", "build", "tiny")
    assert done.code == 1
    assert "failed" in line(done, "onnxruntime fp16")
    assert "1e-09 is allowed" in line(done, "onnxruntime fp16")
    assert "yes" in line(done, "onnxruntime fp32").split()
    assert "Fallback: onnxruntime fp32, the reference, serves: tensorrt fp16" in done.out
    assert dicom_node("models", "engines", "tiny").code == 0


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--backend", "onnxruntime"), 0),
        (("--precision", "fp32"), 0),
        (("--backend", "tensorrt"), 1),
        (("--backend", "openvino"), 1),
    ],
)
def test_an_engine_that_is_named_has_to_be_here(models: Path, options: tuple[str, str], code: int) -> None:
    write_bundle(models / "tiny", engines=HALF, verification={"cases": CASES})
    done = dicom_node("models", "build", "tiny", *options)
    assert done.code == code
    assert ("tiny names no engine openvino" in done.err) is (options[1] == "openvino")


def test_a_model_without_cases_is_marked(models: Path) -> None:
    write_bundle(models / "tiny", engines=HALF)
    done = dicom_node("models", "build", "tiny")
    assert done.code == 0
    assert "12 generated" in line(done, "onnxruntime fp16")
    assert "Generated parity check only: the model brings no verification cases." in done.out


def test_verify_shows_each_case(models: Path) -> None:
    wrong = {**CASES[1], "expect": {"measurements": {"score": {"value": 20, "within": 1}}}}
    write_bundle(models / "tiny", engines={"precisions": ["fp32"]}, verification={"cases": [CASES[0], wrong]})
    done = dicom_node("models", "verify", "tiny")
    assert done.code == 1
    assert line(done, "onnxruntime fp32 chest").endswith("passed")
    assert line(done, "onnxruntime fp32 ramp").endswith("measurement score: 0.859701 1, 20 within 1 is expected")
    shown = json.loads(dicom_node("models", "verify", "tiny", "--json").out)
    assert [c["name"] for c in shown[0]["cases"]["onnxruntime fp32"]] == ["chest", "ramp"]
    nothing = dicom_node("models", "engines", "tiny")
    assert nothing.code == 1
    assert "Nothing serves: tiny 1.0.0: the reference fails the model's own cases: ramp" in nothing.out
    assert engines()["serves"] is None


def test_a_model_that_is_not_there(models: Path) -> None:
    write_bundle(models / "tiny")
    done = dicom_node("models", "engines", "huge")
    assert done.code == 1
    assert "models_dir holds no model huge; it holds tiny" in done.err
