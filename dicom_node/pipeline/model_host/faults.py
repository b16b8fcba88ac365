"""What an error inside the host means for the job: engines word the same misfortune differently, and say it in the cause of our error."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.errors import DeviceLostError, DicomNodeError, ModelError, OutOfMemoryError, place_of

_NO_MEMORY = (
    "bad allocation",
    "bad_alloc",
    "failed to allocate",
    "out of memory",
    "not enough memory",
    "cannot allocate memory",
    "cudaerrormemoryallocation",
    "arena_extend_strategy",
    "insufficient memory",
)
_DEVICE_LOST = (
    "device lost",
    "device-side assert",
    "illegal memory access",
    "unspecified launch failure",
    "cuda_error_ecc_uncorrectable",
    "uncorrectable ecc",
    "no cuda-capable device",
    "driver shutting down",
    "gpu has fallen off the bus",
    "unknown error (999)",
    "context is destroyed",
)
_NO_MEMORY_TYPES = frozenset({"MemoryError", "OutOfMemoryError"})


def fault_of(error: BaseException) -> DicomNodeError:
    """Return our error for whatever a model or an engine raised.

    A foreign message is searched for known words and never passed on, since it may quote an image's header.
    """
    chain = list(_causes(error))
    texts = [str(e).lower() for e in chain]
    if any(type(e).__name__ in _NO_MEMORY_TYPES for e in chain) or any(word in text for text in texts for word in _NO_MEMORY):
        return OutOfMemoryError(f"the model ran out of memory in {place_of(error)}")
    if any(isinstance(e, DeviceLostError) for e in chain) or any(word in text for text in texts for word in _DEVICE_LOST):
        return DeviceLostError(f"the device failed in {place_of(error)}", hint="see `dicom-node doctor` and the driver's log")
    if isinstance(error, DicomNodeError):
        return error
    return ModelError(f"the model raised {type(error).__name__} in {place_of(error)}", hint="a defect of the bundle's own code")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
