"""Where steps around a network work with arrays: on the network's GPU, if torch can use it, else in numpy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dicom_node.errors import ModelError

CPU = "cpu"


class StepsDeviceError(ModelError):
    """Steps failed on the device; the same steps in numpy may go."""


def steps_device(session_device: str, *, wanted: bool) -> str:
    """Choose where images are resampled and windows summed up.

    Args:
        session_device: Of the network: `cpu`, `cuda:N`, or a server's address.
        wanted: `engines.steps_on_device` of the manifest.

    Returns:
        `cpu` or `cuda:N`.
    """
    if not wanted or not session_device.startswith("cuda"):
        return CPU
    try:
        from dicom_node.inference.steps.device_arrays import sees_a_gpu  # noqa: PLC0415 - torch is an extra
    except (ImportError, OSError):
        return CPU
    return session_device if sees_a_gpu() else CPU


@contextmanager
def device_errors() -> Iterator[None]:
    """The one door for what torch raises on a device: no memory, a device that is gone, a build without CUDA.

    Raises:
        StepsDeviceError: anything of that.
    """
    try:
        yield
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch that was built without CUDA
        raise StepsDeviceError(f"the device cannot do the steps: {type(error).__name__}") from error
