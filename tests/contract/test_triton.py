"""What a remote server can do wrong, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.errors import EngineUnavailableError, ModelError
from dicom_node.inference.backends import Network, RemoteModel, SessionOptions, open_session
from dicom_node.inference.session import Session
from tests.conftest import free_port
from tests.kserve_server import Served, serving
from tests.networks import EDGES

pytest.importorskip("tritonclient.http", reason="the extra `triton` is not installed")


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(Served("edges", EDGES.onnx().SerializeToString(), versions=("2", "3"))) as server:
        yield server


def session_of(served: Served, **changes: object) -> Session:
    remote = replace(RemoteModel(served.address, "edges", "3", timeout_s=20), **changes)
    return open_session("triton", "fp32", Network(Path("network.onnx")), SessionOptions(remote=remote))


def test_version_that_the_server_lacks_is_refused_with_those_that_it_has(served: Served) -> None:
    with pytest.raises(ModelError, match=r"version 7 of edges is wanted, the server has 2, 3"):
        session_of(served, version="7").activate()


def test_model_that_the_server_lacks_or_has_not_loaded_is_said_to_be_not_ready(served: Served) -> None:
    with pytest.raises(EngineUnavailableError, match="model other 3 is not ready"):
        session_of(served, name="other").activate()
    served.ready = False
    session = session_of(served)
    with pytest.raises(EngineUnavailableError, match="model edges 3 is not ready") as caught:
        session.activate()
    assert caught.value.retryable
    served.ready = True
    with session:
        assert session.device == served.address


def test_answer_of_another_version_is_refused(served: Served) -> None:
    with session_of(served) as session:
        served.faults.add("other-version")
        with pytest.raises(ModelError, match="version 99 answered, 3 was asked"):
            session.infer(EDGES.inputs)


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("error", EngineUnavailableError, "infer: failed to allocate device memory"),
        ("garbage", ModelError, "the answer cannot be read"),
        ("lacking", ModelError, "lacks output inside"),
    ],
)
def test_faults_of_the_server_are_said_and_the_session_goes_on(served: Served, fault: str, kind: type[ModelError], words: str) -> None:
    with session_of(served) as session:
        served.faults.add(fault)
        with pytest.raises(kind, match=words):
            session.infer(EDGES.inputs)
        served.faults.clear()
        assert session.infer(EDGES.inputs)["y"] == pytest.approx(EDGES.expect(EDGES.inputs)["y"], abs=1e-5)


def test_server_that_does_not_answer_ends_the_wait(served: Served) -> None:
    with session_of(served, timeout_s=2) as session:
        served.faults.add("slow")
        with pytest.raises(EngineUnavailableError, match="no answer within 2 s") as caught:
            session.infer(EDGES.inputs)
        assert caught.value.retryable
        served.released.set()
        served.faults.clear()
        assert session.infer(EDGES.inputs).keys() == {"y", "inside"}


def test_nobody_listening_is_retryable() -> None:
    remote = RemoteModel(f"127.0.0.1:{free_port()}", "edges", timeout_s=5)
    with pytest.raises(EngineUnavailableError, match="connect") as caught:
        open_session("triton", "fp32", Network(Path("network.onnx")), SessionOptions(remote=remote)).activate()
    assert caught.value.retryable
