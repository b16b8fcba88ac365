"""From instances to findings: bundles, volumes, sessions and the models' own steps."""

from dicom_node.inference.bundle import ModelBundle, find_bundles, load_bundle
from dicom_node.inference.registry import Model, open_model
from dicom_node.inference.volume import read_instances, volume_from_instances

__all__ = ["Model", "ModelBundle", "find_bundles", "load_bundle", "open_model", "read_instances", "volume_from_instances"]
