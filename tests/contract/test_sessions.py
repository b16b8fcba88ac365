"""What every back end does alike; a new one is added to `SESSIONS`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dicom_node.errors import ModelError
from dicom_node.inference.backends import Network, SessionOptions, open_session
from dicom_node.inference.session import Session
from tests.conftest import ROOT

NETWORK = ROOT / "config" / "models" / "chest-ct-densitometry" / "histogram.onnx"
SESSIONS: list[Callable[[], Session]] = [lambda: open_session("onnxruntime", "fp32", Network(NETWORK), SessionOptions(threads=1))]
HU = np.array([-1000, -960, -920, -800], np.float32)

pytestmark = pytest.mark.parametrize("make", SESSIONS, ids=["onnxruntime"])


def test_inputs_are_named_with_dtype_and_shape(make: Callable[[], Session]) -> None:
    with make() as session:
        session.deactivate()
        info = session.activate()
        assert (info["hu"].dtype, info["hu"].shape) == (np.float32, (None,))


def test_infer_gives_the_figures_and_leaves_the_input_alone(make: Callable[[], Session]) -> None:
    before = HU.copy()
    with make() as session:
        outputs = session.infer({"hu": HU})
    assert float(outputs["laa_950"]) == 50.0
    assert int(outputs["voxel_count"]) == 4
    assert np.array_equal(HU, before)


def test_outputs_survive_the_next_run(make: Callable[[], Session]) -> None:
    with make() as session:
        first = session.infer({"hu": HU})
        session.infer({"hu": np.zeros(9, np.float32)})
        assert float(first["mean_hu"]) == pytest.approx(-920)


@pytest.mark.parametrize("inputs", [{}, {"other": HU}, {"hu": HU.astype(np.float64)}, {"hu": HU.reshape(2, 2)}, {"hu": HU, "more": HU}])
def test_wrong_inputs_are_refused(make: Callable[[], Session], inputs: dict[str, np.ndarray]) -> None:
    with make() as session, pytest.raises(ModelError, match="input"):
        session.infer(inputs)


def test_lifecycle_is_held(make: Callable[[], Session]) -> None:
    session = make()
    with pytest.raises(ModelError, match="not active"):
        session.infer({"hu": HU})
    session.activate()
    with pytest.raises(ModelError, match="active already"):
        session.activate()
    session.deactivate()
    session.deactivate()
    with pytest.raises(ModelError, match="not active"):
        session.infer({"hu": HU})
