"""Model bundles: a folder with `model.yaml`, the network file, and whatever else belongs to the model."""

from dicom_node.inference.bundle.bundle_faults import BundleFaults
from dicom_node.inference.bundle.loading import find_bundles, load_bundle
from dicom_node.inference.bundle.manifest import Manifest
from dicom_node.inference.bundle.model_bundle import ModelBundle

__all__ = ["BundleFaults", "Manifest", "ModelBundle", "find_bundles", "load_bundle"]
