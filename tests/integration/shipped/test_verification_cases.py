"""The cases that the shipped bundles bring pass on the reference engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.inference import load_bundle
from dicom_node.pipeline.model_engines import NodeEngines, verify_engine
from tests.conftest import ROOT


@pytest.mark.parametrize("name", ["chest-ct-densitometry", "burned-in-text", "brain-extraction"])
def test_cases_pass_on_onnx_runtime(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folders = {"brain-extraction": "brain_folder", "burned-in-text": "text_folder"}
    folder = request.getfixturevalue(folders[name]) if name in folders else ROOT / "config" / "models"
    bundle = load_bundle(folder / name)
    record = verify_engine(bundle, "onnxruntime", "fp32", NodeEngines(tmp_path, threads=1))
    assert record.failed == (), record.failed
    assert [case.name for case in record.cases] == [case.name for case in bundle.manifest.verification.cases]
    assert len(record.cases) >= 2
