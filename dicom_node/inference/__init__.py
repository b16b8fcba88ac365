"""From instances to findings: bundles, volumes, sessions and the models' own steps."""

from dicom_node.inference.bundle import BundleFaults, Manifest, ModelBundle, find_bundles, load_bundle
from dicom_node.inference.model import Inputs, Model, ModelInput, StepRecorder
from dicom_node.inference.pixels import (
    DecodingLimits,
    GeometryPolicy,
    ReadImages,
    files_of,
    frame_set_from_instances,
    images_from_instances,
    read_instances,
    to_hounsfield,
    volume_from_instances,
)
from dicom_node.inference.registry import open_model

__all__ = [
    "BundleFaults",
    "DecodingLimits",
    "GeometryPolicy",
    "Inputs",
    "Manifest",
    "Model",
    "ModelBundle",
    "ModelInput",
    "ReadImages",
    "StepRecorder",
    "files_of",
    "find_bundles",
    "frame_set_from_instances",
    "images_from_instances",
    "load_bundle",
    "open_model",
    "read_instances",
    "to_hounsfield",
    "volume_from_instances",
]
