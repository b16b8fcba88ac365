"""From a bundle to a model that can run: its session and the steps around the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dicom_node.errors import ModelError
from dicom_node.inference.backends import Network, SessionOptions, open_session
from dicom_node.inference.bundle import ModelBundle
from dicom_node.inference.densitometry import Densitometry
from dicom_node.inference.model import Model
from dicom_node.inference.session import Session

_PIPELINES: Mapping[str, Callable[[ModelBundle, Session], Model]] = {"chest-ct-densitometry": Densitometry}


def open_model(bundle: ModelBundle, *, threads: int = 0) -> Model:
    """Load a bundle's network.

    Args:
        bundle: Checked bundle.
        threads: Threads of the engine; 0 takes all cores.

    Raises:
        ModelError: the engine refuses the network, or the bundle names an unknown pipeline.
    """
    pipeline = _PIPELINES.get(bundle.manifest.pipeline)
    if pipeline is None:
        raise ModelError(f"{bundle.folder}: pipeline {bundle.manifest.pipeline!r} is unknown; known: {', '.join(_PIPELINES)}")
    session = open_session("onnxruntime", "fp32", Network(bundle.network_path), SessionOptions(threads=threads))
    session.activate()
    return pipeline(bundle, session)
