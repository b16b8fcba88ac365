"""From a bundle to a model that can run: its session and the steps around the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from dicom_node.errors import ModelError
from dicom_node.inference.backends import Network, NetworkFormat, SessionOptions, open_session
from dicom_node.inference.bundle import ModelBundle
from dicom_node.inference.model import Model
from dicom_node.inference.python_models import load_python_model
from dicom_node.inference.session import Session


def open_model(bundle: ModelBundle, *, threads: int = 0) -> Model:
    """Load a bundle's network.

    Args:
        bundle: Checked bundle.
        threads: Threads of the engine; 0 takes all cores.

    Raises:
        ModelError: the engine refuses the network, or the bundle names unknown Python steps.
    """
    network = bundle.manifest.network
    if bundle.manifest.steps.python is None or network.format.value not in set(NetworkFormat):
        raise ModelError(f"{bundle.folder}: only Python steps around an ONNX network run")
    make = cast("Callable[[ModelBundle, Session], Model]", load_python_model(bundle.manifest.steps.python))
    file = Network(bundle.network_path, NetworkFormat(network.format.value), network.sha256 or "")
    session = open_session("onnxruntime", "fp32", file, SessionOptions(threads=threads))
    session.activate()
    return make(bundle, session)
