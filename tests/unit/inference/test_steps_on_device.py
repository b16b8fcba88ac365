"""Steps around a network on the device that the network runs on; torch's CPU device stands in for a GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_node.domain.results import InferenceResult
from dicom_node.inference import ModelBundle, ModelInput, StepRecorder
from dicom_node.inference.backends import Network, Precision, SessionOptions
from dicom_node.inference.backends.onnxruntime_session import OnnxRuntimeSession
from dicom_node.inference.declared import DeclaredModel
from dicom_node.inference.registry import build_model
from dicom_node.inference.steps import device_choice
from dicom_node.inference.steps.device_choice import steps_device
from tests.unit.inference.steps.bundles import NODULE, ONE, write_bundle
from tests.unit.inference.steps.networks import threshold_segmenter
from tests.unit.inference.steps.phantom import volume_of

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")

NOW = datetime(2024, 1, 2, tzinfo=UTC)
SECTIONS: dict[str, Any] = {
    "steps": {
        "preprocess": [
            {"orient": {"to": "RAS"}},
            {"resample": {"spacing_mm": [2.0, 2.0, 2.0], "antialias": True}},
            {"window": {"lower": 0, "upper": 100}},
        ],
        "infer": {"sliding_window": {"size": [16, 16, 16], "overlap": 0.5}, "batch": 2},
        "postprocess": [{"activation": {"kind": "softmax"}}],
    },
    "outputs": {"maps": [{"id": "heat", "label": "Heat", "quantity": NODULE, "unit": ONE, "channel": 1}]},
}
STAND_IN = "cpu:0"
"""torch's own CPU under a name that is not numpy's."""


class OnGpu(OnnxRuntimeSession):
    """Says that it runs on a GPU."""

    @property
    def device(self) -> str:
        return "cuda:0" if self.active else "cpu"


@pytest.fixture
def bundle(tmp_path: Path) -> ModelBundle:
    return write_bundle(tmp_path / "tiny", threshold_segmenter(), SECTIONS)


@pytest.fixture
def session(bundle: ModelBundle) -> Iterator[OnGpu]:
    with OnGpu(Network(bundle.network_path), Precision.FP32, SessionOptions(threads=1)) as active:
        yield active


def run(model: Any) -> tuple[InferenceResult, dict[str, tuple[str, ...]]]:
    recorder = StepRecorder()
    result = model.run({"images": ModelInput(volume_of("oblique"), {})}, NOW, recorder)
    return result, {step.name: step.parameters for step in recorder.steps}


def test_results_are_the_same_on_the_device_and_in_numpy(bundle: ModelBundle, session: OnGpu) -> None:
    there, steps = run(DeclaredModel(bundle, session, device=STAND_IN))
    here, in_numpy = run(DeclaredModel(bundle, session))
    np.testing.assert_allclose(there.maps[0].values, here.maps[0].values, atol=1e-5)
    assert np.ptp(here.maps[0].values) > 0.9, "there is something to compare"
    assert f"device={STAND_IN}" in steps["resample"]
    assert f"device={STAND_IN}" in steps["sliding_window"]
    assert "device=cpu" in in_numpy["sliding_window"]
    assert "steps_on_cpu" not in steps


@pytest.mark.parametrize(
    ("device", "wanted", "usable", "found"),
    [
        ("cuda:1", True, True, "cuda:1"),
        ("cuda:1", False, True, "cpu"),
        ("cuda:1", True, False, "cpu"),
        ("cpu", True, True, "cpu"),
        ("gpu.example.org:8000", True, True, "cpu"),
    ],
)
def test_steps_go_to_the_networks_gpu_where_torch_can_use_it(
    monkeypatch: pytest.MonkeyPatch, device: str, wanted: bool, usable: bool, found: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    assert steps_device(device, wanted=wanted) == found


def test_model_of_a_session_on_a_gpu_does_its_steps_there(bundle: ModelBundle, session: OnGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {("cuda:0", True): STAND_IN}
    monkeypatch.setattr("dicom_node.inference.registry.steps_device", lambda device, *, wanted: chosen[device, wanted])
    _, steps = run(build_model(bundle, {"network": session}))
    assert f"device={STAND_IN}" in steps["resample"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this torch can use a GPU")
def test_device_that_fails_gives_way_to_numpy_and_the_trace_says_so(
    bundle: ModelBundle, session: OnGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real torch is told to use a GPU that is not there."""
    wanted, _ = run(DeclaredModel(bundle, session))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    model = build_model(bundle, {"network": session})
    found, steps = run(model)
    np.testing.assert_array_equal(found.maps[0].values, wanted.maps[0].values)
    assert steps["steps_on_cpu"][0] == "instead_of=cuda:0"
    assert steps["steps_on_cpu"][1].startswith("reason=the device cannot do the steps: ")
    assert "device=cpu" in steps["sliding_window"]
    _, again = run(model)
    assert "steps_on_cpu" not in again, "it is not tried again"


def test_memory_that_runs_out_while_windows_are_summed_up_gives_way_to_numpy(
    bundle: ModelBundle, session: OnGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dicom_node.inference.steps import device_arrays  # noqa: PLC0415 - torch is an extra

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    wanted, _ = run(DeclaredModel(bundle, session))
    monkeypatch.setattr(device_arrays.DeviceSlabAccumulator, "_put", full)
    found, steps = run(DeclaredModel(bundle, session, device=STAND_IN))
    np.testing.assert_allclose(found.maps[0].values, wanted.maps[0].values, atol=1e-5)
    assert steps["steps_on_cpu"] == (f"instead_of={STAND_IN}", "reason=the device cannot do the steps: OutOfMemoryError")


def test_without_torch_steps_stay_in_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "dicom_node.inference.steps.device_arrays", raising=False)
    assert steps_device("cuda:0", wanted=True) == device_choice.CPU
