"""The contract of all sessions on a GPU."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_node.inference.backends import NetworkFormat, SessionOptions, available_backends
from tests.contract.session_contract import *  # noqa: F403
from tests.contract.session_contract import Opener

OPENERS = {
    "tensorrt": Opener("tensorrt", within=1e-4),
    "tensorrt-plain": Opener("tensorrt", options=SessionOptions(cuda_graphs=False), within=1e-4),
    "torch-pt2": Opener("torch", NetworkFormat.PT2, SessionOptions(trusted=True, device="cuda:0"), within=1e-4),
    "torch-torchscript": Opener(
        "torch", NetworkFormat.TORCHSCRIPT, SessionOptions(trusted=True, device="cuda:0"), within=1e-4, describes_outputs=False
    ),
    "torch-plain": Opener("torch", NetworkFormat.PT2, SessionOptions(trusted=True, device="cuda:0", cuda_graphs=False), within=1e-4),
    "onnxruntime": Opener("onnxruntime", options=SessionOptions(device="cuda:0"), within=1e-4),
}


@pytest.fixture(params=OPENERS)
def opener(request: pytest.FixtureRequest) -> Opener:
    name = str(request.param)
    backend = name.split("-", maxsplit=1)[0]
    state = available_backends()[backend]
    if not state.usable:
        pytest.skip(state.reason)
    if backend == "torch" and not pytest.importorskip("torch").cuda.is_available():
        pytest.skip("torch was built without CUDA, or for a newer driver")
    if backend == "onnxruntime" and "CUDAExecutionProvider" not in pytest.importorskip("onnxruntime").get_available_providers():
        pytest.skip("onnxruntime-gpu is not installed")
    return OPENERS[name]


def test_repeated_runs_give_the_same_figures_with_graphs_and_without(opener: Opener, tmp_path: object) -> None:
    with opener.prepared(EDGES, tmp_path) as make, make() as session:  # type: ignore[arg-type] # noqa: F405
        answers = [session.infer(EDGES.inputs)["y"] for _ in range(5)]  # noqa: F405
    assert all(np.allclose(answer, answers[0], atol=1e-6) for answer in answers)
