from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from dicom_node.errors import ModelError
from dicom_node.inference.backends import Network, Precision, SessionOptions, open_session
from dicom_node.inference.backends.onnxruntime_session import OnnxRuntimeSession
from dicom_node.inference.gate.agreement import Tolerance
from dicom_node.inference.gate.parity import Lengths, check_parity, parity_inputs
from dicom_node.inference.network import ShapeRange
from dicom_node.inference.session import Session, TensorInfo, Tensors
from tests.unit.gate.networks import classifier

FLOAT = np.dtype(np.float32)
IMAGE = TensorInfo(FLOAT, (None, 1, None, None))
OPTIONS = SessionOptions(threads=1)


class OffBy(OnnxRuntimeSession):
    """An engine that is wrong: it adds to what it computed."""

    def __init__(self, network: Network, error: float, only_above: float = 0.0) -> None:
        super().__init__(network, Precision.FP32, OPTIONS)
        self._error = error
        self._only_above = only_above

    def _infer(self, inputs: Tensors) -> Tensors:
        wrong = np.abs(inputs["x"]).max() > self._only_above
        return {name: value + np.float32(self._error * wrong) for name, value in super()._infer(inputs).items()}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return Network(classifier(tmp_path_factory.mktemp("net") / "network.onnx"))


@pytest.fixture
def reference(network: Network) -> Iterator[Session]:
    with open_session("onnxruntime", "fp32", network, OPTIONS) as session:
        yield session


def test_the_reference_agrees_with_itself(reference: Session) -> None:
    cases = check_parity(reference, reference, Lengths({}), Tolerance(max_error=0.0, argmax=1.0))
    assert len(cases) == 3 * 3 + 3
    assert all(case.failed == () for case in cases)


@pytest.mark.parametrize("error", [1.0, -1.0, float("nan")])
def test_a_wrong_engine_is_told_by_every_input(network: Network, reference: Session, error: float) -> None:
    with OffBy(network, error) as wrong:
        cases = check_parity(reference, wrong, Lengths({}), Tolerance())
    assert all(case.failed for case in cases)


def test_an_engine_that_is_wrong_for_large_values_only_is_told(network: Network, reference: Session) -> None:
    with OffBy(network, 1e3, only_above=9.0) as wrong:
        cases = check_parity(reference, wrong, Lengths({}), Tolerance())
    assert {case.name.split(",")[0] for case in cases if case.failed} == {"noise at 10", "ramp at 10", "blocks at 10"}


def test_the_same_inputs_are_made_each_time() -> None:
    first, again = (list(parity_inputs({"x": IMAGE}, Lengths({}))) for _ in range(2))
    assert [name for name, _ in first] == [name for name, _ in again]
    assert all(np.array_equal(a["x"], b["x"]) for (_, a), (_, b) in zip(first, again, strict=True))


def test_no_input_is_constant_and_magnitudes_are_what_the_name_says() -> None:
    for name, arrays in parity_inputs({"x": IMAGE}, Lengths({})):
        magnitude = float(name.split(" at ")[1].split(",")[0])
        assert 0.1 * magnitude < arrays["x"].std() < 1.5 * magnitude
        assert arrays["x"].dtype == FLOAT


def shapes(infos: dict[str, TensorInfo], lengths: Lengths) -> list[tuple[int, ...]]:
    return list(dict.fromkeys(arrays["x"].shape for _, arrays in parity_inputs(infos, lengths)))


@pytest.mark.parametrize(
    ("info", "lengths", "wanted"),
    [
        (IMAGE, Lengths({}), [(1, 1, 32, 32), (2, 1, 32, 32)]),
        (IMAGE, Lengths({}, (8, 24, 16)), [(1, 1, 24, 16), (2, 1, 24, 16)]),
        (TensorInfo(FLOAT, (1, 2, 5)), Lengths({}), [(1, 2, 5)]),
        (TensorInfo(FLOAT, (None,)), Lengths({}), [(32,)]),
        (TensorInfo(FLOAT, ()), Lengths({}), [()]),
        (IMAGE, Lengths({"x": ShapeRange((1, 1, 8, 8), (2, 1, 16, 16), (2, 1, 32, 16))}), [(1, 1, 8, 8), (2, 1, 16, 16), (2, 1, 32, 16)]),
        (TensorInfo(FLOAT, None), Lengths({"x": ShapeRange((1, 4), (1, 4), (1, 4))}), [(1, 4)]),
    ],
)
def test_open_lengths_come_from_profiles_or_the_window(info: TensorInfo, lengths: Lengths, wanted: list[tuple[int, ...]]) -> None:
    assert shapes({"x": info}, lengths) == wanted


def test_integers_and_masks_get_small_numbers() -> None:
    infos = {"ids": TensorInfo(np.dtype(np.int64), (1, 9)), "mask": TensorInfo(np.dtype(np.bool_), (1, 9))}
    for _, arrays in parity_inputs(infos, Lengths({})):
        assert set(np.unique(arrays["ids"])) <= {0, 1}
        assert arrays["mask"].dtype == np.bool_


def test_an_input_of_unknown_rank_needs_a_profile() -> None:
    with pytest.raises(ModelError, match="does not say the shape of input x") as caught:
        list(parity_inputs({"x": TensorInfo(FLOAT, None)}, Lengths({})))
    assert "engines.profiles" in caught.value.hint


def test_shapes_that_the_reference_refuses_make_no_verdict(network: Network, reference: Session) -> None:
    lengths = Lengths({"x": ShapeRange((1, 2, 8, 8), (1, 2, 8, 8), (1, 2, 8, 8))})
    with pytest.raises(ModelError, match=r"the reference fails on noise at 0\.1"):
        check_parity(reference, reference, lengths, Tolerance())
