"""From a bundle to a model that can run: its session and the steps around the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from dicom_node.domain.instances import Attributes
from dicom_node.domain.results import InferenceResult
from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelError
from dicom_node.inference.backends.onnxruntime_session import OnnxRuntimeSession
from dicom_node.inference.bundle import ModelBundle
from dicom_node.inference.densitometry import Densitometry
from dicom_node.inference.session import Session


class Model(Protocol):
    """A model that is loaded."""

    def run(self, volume: Volume, attributes: Attributes, now: datetime) -> InferenceResult:
        """Analyse one volume.

        Args:
            volume: Not modified.
            attributes: Header of the series, by keyword.
            now: When the analysis begins, UTC.

        Raises:
            ModelInputError: the input lies outside the intended use, with the reason.
        """
        ...

    def close(self) -> None:
        """Free the engine."""
        ...


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
    session = OnnxRuntimeSession(bundle.network_path, threads=threads)
    session.activate()
    return pipeline(bundle, session)
