"""From instances to findings: bundles, volumes, sessions and the models' own steps."""

from dicom_node.inference.bundle import BundleFaults, Manifest, ModelBundle, find_bundles, load_bundle
from dicom_node.inference.model import Inputs, Model, ModelInput, StepRecorder
from dicom_node.inference.registry import open_model
from dicom_node.inference.volume import read_instances, volume_from_instances

__all__ = [
    "BundleFaults",
    "Inputs",
    "Manifest",
    "Model",
    "ModelBundle",
    "ModelInput",
    "StepRecorder",
    "find_bundles",
    "load_bundle",
    "open_model",
    "read_instances",
    "volume_from_instances",
]
