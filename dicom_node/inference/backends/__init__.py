"""The engines that run networks, one file each, behind one door."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dicom_node.errors import ModelError
from dicom_node.inference.backends import onnxruntime_session, openvino_session, tensorrt_session, torch_session, triton_session
from dicom_node.inference.backends.availability import Availability
from dicom_node.inference.backends.onnxruntime_session import OnnxRuntimeSession
from dicom_node.inference.backends.openvino_session import OpenVinoSession
from dicom_node.inference.backends.tensorrt_session import TensorRtSession
from dicom_node.inference.backends.torch_session import TorchSession
from dicom_node.inference.backends.triton_session import TritonSession
from dicom_node.inference.network import Network, NetworkFormat, Precision, RemoteModel, SessionOptions, ShapeRange
from dicom_node.inference.session import Session

__all__ = [
    "Availability",
    "Network",
    "NetworkFormat",
    "Precision",
    "RemoteModel",
    "SessionOptions",
    "ShapeRange",
    "available_backends",
    "open_session",
]

_SESSIONS: Mapping[str, type[Session]] = {
    kind.backend: kind for kind in (OnnxRuntimeSession, TorchSession, OpenVinoSession, TritonSession, TensorRtSession)
}
_AVAILABILITY: Mapping[str, Callable[[], Availability]] = {
    "onnxruntime": onnxruntime_session.availability,
    "torch": torch_session.availability,
    "openvino": openvino_session.availability,
    "triton": triton_session.availability,
    "tensorrt": tensorrt_session.availability,
}


def open_session(backend: str, precision: str, network: Network, options: SessionOptions | None = None) -> Session:
    """Make a session; nothing is loaded until it is activated (`with` does both ends).

    Args:
        backend: `onnxruntime`, `torch`, `openvino`, `triton` or `tensorrt`.
        precision: `fp32`, `fp16` or `bf16`.
        network: The file.
        options: How to run it; None takes the defaults.

    Raises:
        ModelError: an unknown back end or precision, or one that does not read such a file.
    """
    kind = _SESSIONS.get(backend)
    if kind is None:
        raise ModelError(f"back end {backend!r} is unknown; known: {', '.join(_SESSIONS)}")
    if precision not in set(Precision):
        raise ModelError(f"precision {precision!r} is unknown; known: {', '.join(Precision)}")
    if network.format not in kind.formats:
        raise ModelError(f"{network.path.name}: {backend} reads {', '.join(sorted(kind.formats))}, the network is {network.format}")
    return kind(network, Precision(precision), options or SessionOptions())


def available_backends() -> dict[str, Availability]:
    """Tell for every back end whether it can run on this host, and why not; no library of an engine is loaded before a GPU was seen."""
    return {name: tell() for name, tell in _AVAILABILITY.items()}
