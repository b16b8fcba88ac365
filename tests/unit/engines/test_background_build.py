"""An engine built in a process of its own by TensorRT-RTX, whose builder needs no GPU, while ONNX Runtime serves."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_node.errors import ModelError
from dicom_node.inference.backends import Network, Precision, SessionOptions, ShapeRange, open_session
from dicom_node.inference.engines.background_build import BackgroundBuild
from dicom_node.inference.engines.build_engine import EngineMaker, NetworkRun, build_state
from dicom_node.inference.engines.build_state import BuildStatus
from dicom_node.inference.engines.tensorrt_library import Flavour, load_tensorrt
from tests.networks import volume_net

pytest.importorskip("tensorrt_rtx", reason="the extra `rtx` is not installed")


@pytest.fixture
def run(tmp_path: Path) -> NetworkRun:
    path = tmp_path / "network.onnx"
    path.write_bytes(volume_net().SerializeToString())
    profiles = {"x": ShapeRange((1, 1, 8, 8, 8), (1, 1, 8, 8, 8), (4, 1, 8, 8, 8))}
    return Network(path), Precision.FP16, SessionOptions(threads=1, engines_dir=tmp_path / "engines", profiles=profiles)


def test_reference_serves_while_the_engine_is_built_and_both_progress_and_engine_are_seen(run: NetworkRun) -> None:
    build = BackgroundBuild(run, flavour=Flavour.RTX)
    with open_session("onnxruntime", "fp32", run[0], run[2]) as reference:
        while build.running:
            assert reference.infer({"x": np.zeros((1, 1, 8, 8, 8), np.float32)})["y"].shape == (1, 2, 16, 16, 16)
    assert build.wait(60)
    state = build.state()
    assert state is not None
    assert (state.status, state.fraction) == (BuildStatus.DONE, 1.0)
    found = EngineMaker(load_tensorrt(Flavour.RTX), None, run).make()
    assert (found.key, found.seconds) == (state.key, 0.0)
    assert len(found.plan) > 10_000


def test_build_is_cancelled_and_failed_ones_say_why(run: NetworkRun) -> None:
    waiting = threading.Event()
    network, _, options = run
    failing = (network, Precision.BF16, replace(options, keep_fp32=("Softmax",)))
    build = BackgroundBuild(failing, flavour=Flavour.RTX)
    assert not build.wait(60)
    state = build_state(failing)
    assert state is not None
    assert state.status is BuildStatus.FAILED
    assert "cannot build the network" in state.message
    slow = network.path.with_name("slow.onnx")
    slow.write_bytes(volume_net(64, edge=32).SerializeToString())
    long = (
        Network(slow),
        Precision.FP16,
        replace(options, profiles={"x": ShapeRange((1, 1, 32, 32, 32), (1, 1, 32, 32, 32), (4, 1, 32, 32, 32))}),
    )
    build = BackgroundBuild(long, flavour=Flavour.RTX)
    while build.state() is None:
        waiting.wait(0.01)
    build.cancel()
    assert not build.wait(60)
    state = build.state()
    assert state is not None
    assert state.status is BuildStatus.CANCELLED


def test_build_without_a_folder_is_refused(run: NetworkRun) -> None:
    with pytest.raises(ModelError, match="needs a folder"):
        BackgroundBuild((run[0], run[1], replace(run[2], engines_dir=None)))
