"""From a bundle to a model that can run: its sessions and the steps around the networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import cast

from dicom_node.errors import ModelError
from dicom_node.inference.backends import Network, NetworkFormat, SessionOptions, open_session
from dicom_node.inference.bundle import ModelBundle
from dicom_node.inference.bundle.inputs_schema import FileFormat
from dicom_node.inference.declared import DeclaredModel
from dicom_node.inference.model import Model
from dicom_node.inference.models.command import CommandModel
from dicom_node.inference.models.monai_bundle import MonaiModel
from dicom_node.inference.python_models import load_python_model
from dicom_node.inference.session import Session
from dicom_node.inference.steps.device_choice import steps_device


def build_model(bundle: ModelBundle, sessions: Mapping[str, Session]) -> Model:
    """Put a bundle's steps around its networks.

    Args:
        bundle: Checked bundle.
        sessions: Active, by name: `network`, and those of `network.more`; the model closes them.

    Raises:
        ModelError: the bundle names unknown Python steps, or declared steps do not fit the network.
    """
    form, python = bundle.manifest.network.format, bundle.manifest.steps.python
    if form is FileFormat.COMMAND:
        return CommandModel(bundle)
    if form is FileFormat.MONAI and python is None:
        return MonaiModel(bundle)
    if python is None:
        if not sessions:
            raise ModelError(f"{bundle.folder}: there is neither a network nor Python steps")
        session = sessions["network"]
        device = steps_device(session.device, wanted=bundle.manifest.engines.steps_on_device)
        return DeclaredModel(bundle, session, device=device)
    make = cast("Callable[[ModelBundle, Mapping[str, Session]], Model]", load_python_model(python))
    return make(bundle, sessions)


def networks_of(bundle: ModelBundle) -> dict[str, Network]:
    """List a bundle's networks by name: `network` first, then those of `network.more`; empty if it has none.

    Raises:
        ModelError: the files are no networks that an engine reads.
    """
    section = bundle.manifest.network
    if section.file is None or section.format is FileFormat.MONAI:
        return {}
    if section.format.value not in set(NetworkFormat):
        raise ModelError(f"{bundle.folder}: a network of format {section.format} runs on no engine of this node")
    form = NetworkFormat(section.format.value)
    more = {name: Network(bundle.folder / file, form) for name, file in section.more.items()}
    return {"network": Network(bundle.network_path, form, section.sha256 or ""), **more}


def open_model(bundle: ModelBundle, *, threads: int = 0) -> Model:
    """Load a bundle's networks in ONNX Runtime.

    Args:
        bundle: Checked bundle.
        threads: Threads of the engine; 0 takes all cores.

    Raises:
        ModelError: the engine refuses a network, the bundle names unknown Python steps, or declared steps do not fit the network.
    """
    options = SessionOptions(threads=threads, repairs=bundle.manifest.network.repairs)
    with ExitStack() as stack:
        sessions = {}
        for name, network in networks_of(bundle).items():
            sessions[name] = stack.enter_context(open_session("onnxruntime", "fp32", network, options))
        model = build_model(bundle, sessions)
        stack.pop_all()  # nothing failed: from now on the model has them
    return model
