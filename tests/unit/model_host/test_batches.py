from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from dicom_node.domain.results import InferenceResult
from dicom_node.errors import ModelError
from dicom_node.inference import Inputs, Model, StepRecorder
from dicom_node.inference.model import Prepared
from dicom_node.inference.session import Tensors
from dicom_node.pipeline.model_host.batches import infer_together


class Doubling(Model):
    def __init__(self, gives: str = "each") -> None:
        self.calls: list[tuple[int, ...]] = []
        self.gives = gives

    def prepare(self, inputs: Inputs, recorder: StepRecorder) -> Prepared:
        raise NotImplementedError

    def infer(self, prepared: Prepared) -> Tensors:
        values = prepared.tensors["x"]
        self.calls.append(values.shape)
        return {"y": values * 2 if self.gives == "each" else values.sum(axis=0)}  # type: ignore[operator, attr-defined]

    def conclude(self, prepared: Prepared, outputs: Tensors, now: datetime) -> InferenceResult:
        raise NotImplementedError

    def close(self) -> None:
        pass


def prepared(*arrays: np.ndarray) -> list[Prepared]:
    return [Prepared({}, {"x": array}, None, StepRecorder()) for array in arrays]


def test_runs_that_fit_share_one_call_and_get_their_own_parts() -> None:
    model, arrays = Doubling(), [np.full((n, 1, 4, 4), n, np.float32) for n in (1, 3, 2)]
    outputs = infer_together(model, prepared(*arrays))
    assert model.calls == [(6, 1, 4, 4)]
    for array, output in zip(arrays, outputs, strict=True):
        assert np.array_equal(output["y"], array * 2)


@pytest.mark.parametrize("other", [np.zeros((1, 1, 4, 5), np.float32), np.zeros((1, 1, 4, 4), np.float64), np.float32(1)])
def test_runs_that_do_not_fit_are_inferred_one_by_one(other: np.ndarray) -> None:
    model, first = Doubling(), np.ones((2, 1, 4, 4), np.float32)
    outputs = infer_together(model, prepared(first, np.asarray(other)))
    assert model.calls == [(2, 1, 4, 4), np.shape(other)]
    assert np.array_equal(outputs[0]["y"], first * 2)


def test_outputs_that_cannot_be_told_apart_are_refused() -> None:
    arrays = [np.ones((n, 1, 4, 4), np.float32) for n in (1, 2)]
    with pytest.raises(ModelError, match="do not have 3 entries"):
        infer_together(Doubling("sum"), prepared(*arrays))
