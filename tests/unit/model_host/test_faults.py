from __future__ import annotations

import numpy as np
import pytest

from dicom_node.errors import DeviceLostError, DicomNodeError, ModelError, ModelInputError, OutOfMemoryError
from dicom_node.pipeline.model_host.faults import fault_of


def ours(cause: Exception) -> ModelError:
    """As a back end's door wraps what its engine raised."""
    error = ModelError("ONNX Runtime failed: RuntimeException")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), OutOfMemoryError),
        (ours(RuntimeError("[ONNXRuntimeError] : 6 : std::bad_alloc")), OutOfMemoryError),
        (ours(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")), OutOfMemoryError),
        (ours(RuntimeError("CUDA error: an illegal memory access was encountered")), DeviceLostError),
        (RuntimeError("cuInit failed: no CUDA-capable device is detected"), DeviceLostError),
    ],
)
def test_misfortune_of_an_engine_is_known_by_its_words(error: Exception, kind: type[DicomNodeError]) -> None:
    assert type(fault_of(error)) is kind


def test_our_own_errors_stay_what_they_are() -> None:
    refused = ModelInputError("no lungs")
    assert fault_of(refused) is refused


def test_numpy_that_cannot_allocate_is_out_of_memory() -> None:
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 60, np.uint8)
    assert isinstance(fault_of(caught.value), OutOfMemoryError)


@pytest.mark.parametrize("error", [ValueError("Doe^Jane"), SystemExit(3), KeyError("PatientName")])
def test_foreign_message_is_not_passed_on(error: BaseException) -> None:
    fault = fault_of(error)
    assert type(fault) is ModelError
    assert type(error).__name__ in str(fault)
    assert "Doe" not in str(fault)
    assert "PatientName" not in str(fault)
