"""Instances to what models see: volumes and frame sets, decoded, in the units they mean; nothing is repaired silently."""

from dicom_node.inference.pixels.decoding import DecodingLimits
from dicom_node.inference.pixels.frame_sets import frame_set_from_instances
from dicom_node.inference.pixels.geometry import GeometryPolicy
from dicom_node.inference.pixels.images import ReadImages, files_of, images_from_instances
from dicom_node.inference.pixels.plugins import register_device_decoders
from dicom_node.inference.pixels.reading import read_instances
from dicom_node.inference.pixels.values import to_hounsfield
from dicom_node.inference.pixels.volumes import volume_from_instances

__all__ = [
    "DecodingLimits",
    "GeometryPolicy",
    "ReadImages",
    "files_of",
    "frame_set_from_instances",
    "images_from_instances",
    "read_instances",
    "register_device_decoders",
    "to_hounsfield",
    "volume_from_instances",
]
