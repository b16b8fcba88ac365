"""The TensorRT session keeps the contract of all sessions, with stand-ins for the GPU; real ones run it in tests/gpu."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dicom_node.errors import BuildCancelledError, EngineUnavailableError, ModelError
from dicom_node.inference.backends import NetworkFormat, SessionOptions, available_backends, tensorrt_session
from dicom_node.inference.backends.tensorrt_session import TensorRtSession
from dicom_node.inference.engines import build_engine
from dicom_node.inference.engines.probe import CudaDevice, Probe
from dicom_node.inference.engines.tensorrt_build import BuiltPlan
from dicom_node.inference.engines.tensorrt_library import Flavour, TensorRt
from dicom_node.inference.network import BuildProgress, Network, Precision
from tests.contract.session_contract import *  # noqa: F403
from tests.contract.session_contract import Opener, assert_expected
from tests.fake_cuda import FakeGpu, FakeTensorRt, fake_pycuda
from tests.networks import EDGES

DEVICES = tuple(CudaDevice(index, "Stand-in", 1 << 30, (8, 9), "13.0") for index in range(2))


class Host:
    """A host with stand-ins for two GPUs and TensorRT."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gpu = FakeGpu()
        self.trt = FakeTensorRt(self.gpu, EDGES.inputs, EDGES.expect)
        self.flavour = Flavour.FULL
        self.plan = b"plan of EDGES"
        package = ModuleType("pycuda")
        package.driver = fake_pycuda(self.gpu)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pycuda", package)
        monkeypatch.setitem(sys.modules, "pycuda.driver", package.driver)
        for name in ("probe", "cuda_devices_apart"):
            monkeypatch.setattr(tensorrt_session, name, lambda: Probe(DEVICES, ""))
        monkeypatch.setattr(tensorrt_session, "load_tensorrt", lambda: TensorRt(self.trt, self.flavour, "11.4.0.106"))
        monkeypatch.setattr(build_engine, "build_plan", self.build)

    def build(self, _library: object, _order: object, *, on_progress: object, is_cancelled: object) -> BuiltPlan:
        if on_progress is not None:
            on_progress(BuildProgress("Timing tactics", 0.5))  # type: ignore[operator]
        if is_cancelled():  # type: ignore[operator]
            raise BuildCancelledError("stopped")
        return BuiltPlan(self.plan, (), 1.0, b"")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    made = Host(monkeypatch)
    yield made
    assert (made.gpu.blocks, made.gpu.pinned, made.gpu.contexts, made.trt.live) == ({}, 0, 0, 0)


@pytest.fixture
def opener(host: Host) -> Opener:
    return Opener("tensorrt", options=SessionOptions(cuda_graphs=False))


@contextmanager
def opened(host: Host, folder: Path, **changes: object) -> Iterator[TensorRtSession]:
    options = replace(SessionOptions(cuda_graphs=False), **changes)
    with Opener("tensorrt", options=options).prepared(EDGES, folder) as make, make() as session:
        assert isinstance(session, TensorRtSession)
        yield session


def test_shape_outside_the_profile_is_refused_with_the_numbers(host: Host, tmp_path: Path) -> None:
    with opened(host, tmp_path) as session:
        nine = {name: np.resize(array, (9, *array.shape[1:])) for name, array in EDGES.inputs.items()}
        with pytest.raises(
            ModelError, match=r"input x has shape \(9, 1, 8, 9\), the engine was built for \(1, 1, 8, 9\) to \(8, 1, 8, 9\)"
        ):
            session.infer(nine)
        assert host.trt.executions == 0


def test_buffers_grow_once_and_are_kept(host: Host, tmp_path: Path) -> None:
    with opened(host, tmp_path) as session:
        sizes = []
        for batch in (2, 8, 1, 8, 2):
            inputs = {name: np.resize(array, (batch, *array.shape[1:])) for name, array in EDGES.inputs.items()}
            assert_expected(dict(session.infer(inputs)), inputs, Opener("tensorrt"))
            sizes.append((host.gpu.allocations, sum(map(len, host.gpu.blocks.values()))))
        assert sizes[0][0] == 4
        assert sizes[1] == sizes[2] == sizes[3] == sizes[4]
        assert session.memory_bytes == len(host.plan) + 4096 + sizes[-1][1]


def test_gpu_without_memory_is_said_and_the_session_goes_on(host: Host, tmp_path: Path) -> None:
    with opened(host, tmp_path) as session:
        host.gpu.memory_bytes = 100
        with pytest.raises(ModelError, match=r"the GPU has no 576 bytes for x: .*out of memory"):
            session.infer(EDGES.inputs)
        host.gpu.memory_bytes = 1 << 30
        assert_expected(dict(session.infer(EDGES.inputs)), EDGES.inputs, Opener("tensorrt"))


@pytest.mark.parametrize("fault", ["fail_execution", "fail_synchronize"])
def test_failing_run_is_said_and_the_next_one_works(host: Host, tmp_path: Path, fault: str) -> None:
    with opened(host, tmp_path) as session:
        setattr(host.trt if fault == "fail_execution" else host.gpu, fault, True)
        with pytest.raises(ModelError, match="failed"):
            session.infer(EDGES.inputs)
        setattr(host.trt if fault == "fail_execution" else host.gpu, fault, False)
        assert_expected(dict(session.infer(EDGES.inputs)), EDGES.inputs, Opener("tensorrt"))


def test_plan_that_does_not_load_frees_everything(host: Host, tmp_path: Path) -> None:
    host.plan = b"of another GPU"
    with (
        pytest.raises(ModelError, match=r"tensorrt 11\.4\.0\.106 does not load the engine: .* an incompatible device"),
        opened(host, tmp_path),
    ):
        pass


def test_gpu_without_a_stream_is_left_again(host: Host, tmp_path: Path) -> None:
    host.gpu.fail_stream = True
    with pytest.raises(EngineUnavailableError, match="GPU 0 cannot be used"), opened(host, tmp_path):
        pass


def test_gpu_that_failed_does_not_hide_the_first_error(host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host.gpu.fail_synchronize = host.gpu.fail_leaving = True
    with pytest.raises(ModelError, match="illegal memory access"), opened(host, tmp_path) as session:
        session.infer(EDGES.inputs)
    assert not session.active
    assert "gpu_not_freed" in "".join(capsys.readouterr())
    host.gpu.contexts -= 1  # what could not be left


def test_cancel_during_the_build_ends_activation(host: Host, tmp_path: Path) -> None:
    path = EDGES.write(tmp_path, NetworkFormat.ONNX)
    session = TensorRtSession(Network(path), Precision.FP32, SessionOptions(on_progress=lambda p: p.fraction == 0.5 and session.cancel()))
    with pytest.raises(BuildCancelledError):
        session.activate()
    assert not session.active


def test_engine_is_kept_and_the_second_session_does_not_build(host: Host, tmp_path: Path) -> None:
    seen: list[BuildProgress] = []
    for _ in range(2):
        with opened(host, tmp_path, engines_dir=tmp_path / "engines", on_progress=seen.append) as session:
            assert session.infer(EDGES.inputs).keys() == {"y", "inside"}
    assert [progress.phase for progress in seen] == ["load", "Preparing the network", "Timing tactics", "load"]


def test_rtx_is_told_to_use_its_own_graphs(host: Host, tmp_path: Path) -> None:
    host.flavour = Flavour.RTX
    for graphs in (True, False):
        with opened(host, tmp_path, cuda_graphs=graphs):
            pass
    assert host.trt.strategies == ["whole", None]


class FakeRecording:
    """In the place of a CUDA graph: notes what was recorded; replays by queueing the same call."""

    made = 0
    fails = False

    def __init__(self, enqueue: object, stream_handle: int, device_index: int) -> None:
        if FakeRecording.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        FakeRecording.made += 1
        self.replay = lambda: enqueue(stream_handle)  # type: ignore[operator]


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> type[FakeRecording]:
    FakeRecording.made, FakeRecording.fails = 0, False
    monkeypatch.setattr(tensorrt_session, "RecordedRun", FakeRecording)
    monkeypatch.setattr(tensorrt_session, "graphs_available", lambda: True)
    return FakeRecording


def test_run_is_recorded_when_shapes_and_memory_repeat(host: Host, tmp_path: Path, recordings: type[FakeRecording]) -> None:
    made = []
    with opened(host, tmp_path, cuda_graphs=True) as session:
        for batch in (2, 2, 2, 1, 1, 8, 8):
            inputs = {name: np.resize(array, (batch, *array.shape[1:])) for name, array in EDGES.inputs.items()}
            assert_expected(dict(session.infer(inputs)), inputs, Opener("tensorrt"))
            made.append(recordings.made)
    assert made == [0, 1, 1, 1, 2, 2, 3]


def test_run_that_cannot_be_recorded_goes_on_without(host: Host, tmp_path: Path, recordings: type[FakeRecording]) -> None:
    recordings.fails = True
    with opened(host, tmp_path, cuda_graphs=True) as session:
        for _ in range(3):
            assert_expected(dict(session.infer(EDGES.inputs)), EDGES.inputs, Opener("tensorrt"))
    assert recordings.made == 0


@pytest.mark.parametrize(("device", "words"), [("cpu", "cpu was asked for"), ("cuda:2", "cuda:2 is not there: 2 devices are")])
def test_device_that_is_not_there_is_refused(host: Host, tmp_path: Path, device: str, words: str) -> None:
    with pytest.raises(EngineUnavailableError, match=words), opened(host, tmp_path, device=device):
        pass


def test_host_without_pycuda_is_said_to_be_so(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(EngineUnavailableError, match="pycuda cannot be imported"), opened(host, tmp_path):
        pass


def test_availability_asks_the_driver_before_any_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden() -> None:
        raise AssertionError("imported without a device")

    monkeypatch.setattr(tensorrt_session, "cuda_devices_apart", lambda: Probe((), "no NVIDIA driver"))
    monkeypatch.setattr(tensorrt_session, "load_tensorrt", forbidden)
    assert available_backends()["tensorrt"].reason == "no NVIDIA driver"
    assert not available_backends()["tensorrt"].usable


def test_availability_names_library_and_devices(host: Host) -> None:
    state = available_backends()["tensorrt"]
    assert (state.usable, state.reason) == (True, "tensorrt 11.4.0.106 on Stand-in, Stand-in")
