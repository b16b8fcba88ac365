from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_node.inference import ModelBundle, ModelInput
from dicom_node.inference.backends import Network, SessionOptions, open_session
from dicom_node.inference.gate.phantoms import phantom
from dicom_node.inference.gate.running import Run, compare_runs, run_model
from tests.unit.gate.bundles import write_bundle
from tests.unit.gate.results import NOW, result
from tests.unit.gate.tiny_model import Tiny

CHEST = phantom("lung-phantom", {"size": [6, 16, 16], "spacing_mm": [20, 20, 20]}).volume()
USE = {"intended_use": {"text": "Tests.", "match": {"Modality": "CT"}}, "protocol": {"match": {"KVP": "120"}}}


@pytest.fixture
def bundle(tmp_path: Path) -> ModelBundle:
    return write_bundle(tmp_path / "tiny", **USE)


def run(bundle: ModelBundle, model: type[Tiny] = Tiny, **attributes: str) -> Run:
    session = open_session("onnxruntime", "fp32", Network(bundle.network_path), SessionOptions(threads=1))
    session.activate()
    header = {keyword: (value,) for keyword, value in attributes.items()}
    return run_model(bundle.manifest, model(bundle, {"network": session}), {"images": ModelInput(CHEST, header)}, NOW)


def test_a_run_gives_outputs_and_result_with_the_warnings_of_the_protocol(bundle: ModelBundle) -> None:
    seen = run(bundle, Modality="CT", KVP="80")
    assert (seen.failure, seen.not_analysed) == ("", "")
    assert list(seen.outputs) == ["y"]
    assert len(seen.result.warnings) == 1
    assert "Outside the protocol" in seen.result.warnings[0]


def test_outside_of_the_intended_use_nothing_runs(bundle: ModelBundle) -> None:
    seen = run(bundle, Modality="MR")
    assert (seen.outputs, seen.result) == (None, None)
    assert "Modality" in seen.not_analysed


def test_steps_that_raise_anything_are_a_failure_that_quotes_no_data(bundle: ModelBundle) -> None:
    class Broken(Tiny):
        def conclude(self, *_: object) -> None:
            raise KeyError("a value of the data")

    seen = run(bundle, Broken, Modality="CT")
    assert seen.failure.startswith("KeyError in ")
    assert "value of the data" not in seen.failure


def test_runs_are_compared_as_far_as_they_came() -> None:
    whole = Run({"y": np.ones(3)}, result())
    refused = Run({"y": np.ones(3)}, None, not_analysed="no lungs")
    assert compare_runs(whole, whole).faults == ()
    assert len(compare_runs(whole, whole).outputs) == 1
    assert compare_runs(whole, refused).faults == ("only this engine does not analyse the input: no lungs",)
    assert compare_runs(refused, whole).faults == ("only the reference does not analyse the input: no lungs",)
    assert compare_runs(refused, replace(refused, not_analysed="no lungs found")).faults == ()
    assert compare_runs(whole, Run(None, None, failure="out of memory")).faults == ("the engine fails: out of memory",)
    assert compare_runs(Run(None, None, failure="boom"), whole).faults == ("the reference fails: boom",)
