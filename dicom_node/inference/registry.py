"""From a bundle to a model that can run: its session and the steps around the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from dicom_node.errors import ModelError
from dicom_node.inference.backends import Network, NetworkFormat, SessionOptions, open_session
from dicom_node.inference.bundle import ModelBundle
from dicom_node.inference.declared import DeclaredModel
from dicom_node.inference.model import Model
from dicom_node.inference.python_models import load_python_model
from dicom_node.inference.session import Session


def open_model(bundle: ModelBundle, *, threads: int = 0) -> Model:
    """Load a bundle's network.

    Args:
        bundle: Checked bundle.
        threads: Threads of the engine; 0 takes all cores.

    Raises:
        ModelError: the engine refuses the network, the bundle names unknown Python steps, or declared steps do not fit the network.
    """
    network, python = bundle.manifest.network, bundle.manifest.steps.python
    if network.format.value not in set(NetworkFormat):
        raise ModelError(f"{bundle.folder}: no engine reads a network of format {network.format}")
    make = cast("Callable[[ModelBundle, Session], Model]", load_python_model(python)) if python is not None else DeclaredModel
    file = Network(bundle.network_path, NetworkFormat(network.format.value), network.sha256 or "")
    session = open_session("onnxruntime", "fp32", file, SessionOptions(threads=threads))
    session.activate()
    try:
        return make(bundle, session)
    except BaseException:
        session.deactivate()
        raise
