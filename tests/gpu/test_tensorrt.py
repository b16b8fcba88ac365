"""TensorRT on a real GPU: precision, profiles, cache, background build, memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_node.errors import BuildCancelledError, ModelError
from dicom_node.inference.backends import Network, SessionOptions, ShapeRange, available_backends, open_session
from dicom_node.inference.engines.background_build import BackgroundBuild
from dicom_node.inference.network import BuildProgress, Precision
from tests.networks import volume_net

X = np.random.default_rng(5).normal(size=(2, 1, 8, 8, 8)).astype(np.float32)


@pytest.fixture
def network(tmp_path: Path) -> Network:
    state = available_backends()["tensorrt"]
    if not state.usable:
        pytest.skip(state.reason)
    path = tmp_path / "network.onnx"
    path.write_bytes(volume_net().SerializeToString())
    return Network(path)


@pytest.fixture
def options(tmp_path: Path) -> SessionOptions:
    profiles = {"x": ShapeRange((1, 1, 8, 8, 8), (1, 1, 8, 8, 8), (4, 1, 8, 8, 8))}
    return SessionOptions(engines_dir=tmp_path / "engines", profiles=profiles)


def reference(network: Network) -> np.ndarray:
    with open_session("onnxruntime", "fp32", network) as session:
        return session.infer({"x": X})["y"]


@pytest.mark.parametrize(("precision", "within"), [("fp32", 1e-5), ("fp16", 5e-3), ("bf16", 3e-2)])
def test_engine_agrees_with_the_reference(network: Network, options: SessionOptions, precision: str, within: float) -> None:
    kept = ("ConvTranspose", "InstanceNormalization", "Softmax") if precision == "bf16" else None
    with open_session("tensorrt", precision, network, replace(options, keep_fp32=kept)) as session:
        assert float(np.abs(session.infer({"x": X})["y"] - reference(network)).max()) < within
        assert session.memory_bytes > 0


def test_shape_outside_the_profile_is_refused_and_the_session_goes_on(network: Network, options: SessionOptions) -> None:
    with open_session("tensorrt", "fp16", network, options) as session:
        with pytest.raises(ModelError, match="the engine was built for"):
            session.infer({"x": np.zeros((5, 1, 8, 8, 8), np.float32)})
        assert session.infer({"x": X})["y"].shape == (2, 2, 16, 16, 16)


def test_engine_is_built_in_the_background_and_found(network: Network, options: SessionOptions) -> None:
    assert BackgroundBuild((network, Precision.FP16, options)).wait(600)
    seen: list[BuildProgress] = []
    with open_session("tensorrt", "fp16", network, replace(options, on_progress=seen.append)) as session:
        session.warm_up()
    assert [progress.phase for progress in seen] == ["load"]


def test_build_is_cancelled(network: Network, options: SessionOptions) -> None:
    session = open_session("tensorrt", "fp16", network, replace(options, on_progress=lambda p: p.fraction > 0.3 and session.cancel()))
    with pytest.raises(BuildCancelledError):
        session.activate()


def test_memory_is_given_back(network: Network, options: SessionOptions) -> None:
    cuda = pytest.importorskip("pycuda.driver")
    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    try:
        free = []
        for _ in range(4):
            with open_session("tensorrt", "fp16", network, options) as session:
                session.infer({"x": X})
            free.append(cuda.mem_get_info()[0])
        assert free[-1] >= free[0] - (8 << 20)
    finally:
        context.pop()
        context.detach()
