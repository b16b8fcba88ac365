from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.inference.engines.probe import CudaDevice
from dicom_node.inference.gate import candidates as module
from dicom_node.inference.gate import engine_facts
from dicom_node.inference.gate.candidates import candidates
from dicom_node.inference.gate.engine_facts import cpu_name, device_name, library_versions
from dicom_node.inference.gate.subject import Engine, Subject, subject_of
from tests.unit.gate.bundles import write_bundle

GPU = CudaDevice(0, "Test GPU", 8 << 30, (9, 0), "13.0")
TORCH = {
    "network": {"file": "network.pt", "format": "torchscript", "inputs": {"x": "images"}},
    "engines": {"backends": ["torch", "triton"], "triton": {"url": "gpu.example.org:8000", "model": "tiny", "version": "3"}},
}


def with_gpus(monkeypatch: pytest.MonkeyPatch, *gpus: CudaDevice) -> None:
    for place in (module, engine_facts):
        monkeypatch.setattr(place, "cuda_devices", lambda: gpus)


def subject(folder: Path, **sections: object) -> Subject:
    folder.mkdir()
    (folder / "network.pt").touch()
    return subject_of(write_bundle(folder, **sections))


@pytest.mark.parametrize(
    ("gpus", "device", "wanted"),
    [
        ((), "auto", [("torch fp32", "cpu", True)]),
        ((GPU,), "auto", [("torch fp32", "cuda:0", False), ("torch fp32", "cpu", True)]),
        ((GPU,), "cpu", [("torch fp32", "cpu", True)]),
    ],
)
def test_the_reference_is_on_the_cpu_and_the_same_engine_on_a_gpu_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: tuple[CudaDevice, ...], device: str, wanted: list[tuple[str, str, bool]]
) -> None:
    with_gpus(monkeypatch, *gpus)
    found = candidates(subject(tmp_path / "tiny", **TORCH), device)
    assert [(str(c.engine), c.device, c.reference) for c in found if c.engine.backend == "torch"] == wanted
    keys = [c.key.digest for c in found if c.key]
    assert len(set(keys)) == len(keys)


def test_a_served_network_has_the_server_for_its_device_whatever_devices_are_here(tmp_path: Path) -> None:
    pytest.importorskip("tritonclient.http", reason="the extra `triton` is not installed")
    tiny = subject(tmp_path / "tiny", **TORCH)
    for device in ("auto", "cpu", "cuda:1"):
        served = next(c for c in candidates(tiny, device) if c.engine.backend == "triton")
        assert (served.device, served.unavailable, served.reference) == ("gpu.example.org:8000", "", False)
        assert served.key is not None
        assert served.key.device == "gpu.example.org:8000"
    unnamed = next(c for c in candidates(replace(tiny, remote=None)) if c.engine.backend == "triton")
    assert (unnamed.key, unnamed.unavailable) == (None, "model.yaml names no server (engines.triton)")


@pytest.mark.parametrize(
    ("gpus", "device", "said"),
    [((), "auto", "no GPU is here"), ((GPU,), "cuda:1", "no such GPU is here"), ((GPU,), "cpu", "only the CPU may be used")],
)
def test_an_engine_of_gpus_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: tuple[CudaDevice, ...], device: str, said: str
) -> None:
    with_gpus(monkeypatch, *gpus)
    first = candidates(subject_of(write_bundle(tmp_path / "tiny", engines={"backends": ["tensorrt"]})), device)[0]
    assert (first.engine, first.unavailable) == (Engine("tensorrt", "fp32"), said)


def test_a_key_names_processor_driver_and_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, GPU)
    assert device_name("cuda:0") == "Test GPU, compute capability 9.0"
    assert device_name("cpu") == cpu_name() != ""
    assert device_name("triton.example.org:8000") == "triton.example.org:8000"
    assert library_versions("torch", "cuda:0")["cuda-driver"] == "13.0"
    assert set(library_versions("onnxruntime", "cpu")) == {"dicom-node", "numpy", "onnxruntime", "onnx"}


def test_the_plan_of_a_built_engine_is_in_its_key(tmp_path: Path) -> None:
    tiny = subject_of(write_bundle(tmp_path / "tiny", engines={"backends": ["onnxruntime"]}))
    (plain,), (built,) = candidates(tiny), candidates(tiny, plan_digest=lambda _: "p" * 64)
    assert (plain.key.plan, built.key.plan) == ("", "p" * 64)
    assert plain.key.networks == {"network": tiny.bundle.networks_sha256["network.onnx"]}


def test_a_model_without_a_network_has_one_engine_which_is_its_reference(tmp_path: Path) -> None:
    found = candidates(subject_of(write_bundle(tmp_path / "tiny", network={}, engines={"backends": ["onnxruntime"]})))
    assert [(str(c.engine), c.reference, c.unavailable) for c in found] == [("python fp32", True, "")]
