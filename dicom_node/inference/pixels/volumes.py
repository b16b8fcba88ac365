"""Single-frame series and multi-frame objects to one volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pydicom
from numpy.typing import NDArray

from dicom_node.domain.volume import Volume
from dicom_node.errors import VolumeError
from dicom_node.inference.pixels.decoding import DecodingLimits, OpenInstance, SourceFrame, decode_frames, open_instance
from dicom_node.inference.pixels.dimensions import chosen_planes
from dicom_node.inference.pixels.frame_header import FrameHeader
from dicom_node.inference.pixels.geometry import GeometryPolicy, Plane, Stack, check_policy, plane_of, stack_of
from dicom_node.inference.pixels.image_format import GRAY
from dicom_node.inference.pixels.plugins import DecodedFrame
from dicom_node.inference.pixels.reading import label
from dicom_node.inference.pixels.resampling import Regular, regular
from dicom_node.inference.pixels.values import CT_PADDING_HU, ValueTransform, stored_values, value_transform

_MIXED = "MIXED"


@dataclass(frozen=True, slots=True, eq=False)
class ReadVolume:
    """A volume and where it came from.

    Attributes:
        instances: In slice order; each once, so that of a multi-frame object there is one.
        warnings: What was done to the images beyond reading them, a sentence each.
    """

    volume: Volume
    instances: list[pydicom.Dataset]
    warnings: tuple[str, ...]


def volume_from_instances(
    instances: Sequence[pydicom.Dataset], policy: GeometryPolicy | None = None, limits: DecodingLimits | None = None
) -> tuple[Volume, list[pydicom.Dataset]]:
    """Stack the slices of a series along their normal; as `read_volume`, without its warnings.

    Returns:
        The volume, and the instances in slice order.

    Raises:
        VolumeError: the instances form no regular volume.
        PixelError: pixels cannot be decoded.
    """
    read = read_volume(instances, policy or GeometryPolicy(), limits or DecodingLimits())
    return read.volume, read.instances


def read_volume(instances: Sequence[pydicom.Dataset], policy: GeometryPolicy, limits: DecodingLimits) -> ReadVolume:
    """Stack the slices of a series along their normal.

    Args:
        instances: One series, any order, single-frame or multi-frame; grayscale, with position and orientation in the patient.
        policy: What the model declares.
        limits: How much is decoded at once.

    Raises:
        VolumeError: other than two or more slices of one size and orientation at even distances, beyond what the policy allows; or several
            frames at one position.
        PixelError: pixels are missing or cannot be decoded.
    Source: PS3.3 C.7.6.2, C.7.6.16.
    """
    if not instances:
        raise VolumeError("a volume needs at least 2 slices, the series has 0")
    opened = [open_instance(d) for d in instances]
    planes, notes = chosen_planes([plane for number, one in enumerate(opened) for plane in _planes(number, one)], policy.only)
    stack = stack_of(planes)
    check_policy(stack, policy)
    transforms = [value_transform(p.header, opened[p.source.instance].format) for p in stack.planes]
    _check_one_scale(transforms)
    padding = CT_PADDING_HU if str(instances[0].get("Modality")) == "CT" else 0.0
    values = _decoded(opened, stack, transforms, padding, limits)
    result = regular(values, stack, padding)
    warnings = [*dict.fromkeys(w for one in opened for w in one.warnings), *notes, *result.sentences]
    ordered = [instances[i] for i in dict.fromkeys(p.source.instance for p in stack.planes)]
    return ReadVolume(_volume(instances, stack, result), ordered, tuple(warnings))


def _planes(number: int, opened: OpenInstance) -> list[Plane]:
    found = opened.format
    if found.photometric_interpretation not in GRAY:
        raise VolumeError(f"{label(opened.data_set)} is {found.photometric_interpretation}: a volume is made of gray values")
    if opened.data_set.get("PixelPresentation") == _MIXED:
        raise VolumeError(f"{label(opened.data_set)} mixes gray values with coloured pixels (Pixel Presentation MIXED)")
    size = (found.rows, found.columns)
    return [plane_of(FrameHeader(opened.data_set, frame), SourceFrame(number, frame), size) for frame in range(found.frames)]


def _check_one_scale(transforms: Sequence[ValueTransform]) -> None:
    kinds = {t.rescale_type for t in transforms}
    if len(kinds) > 1:
        raise VolumeError(f"slices differ in Rescale Type: {', '.join(sorted(k or 'none' for k in kinds))}")


def _decoded(
    opened: Sequence[OpenInstance], stack: Stack, transforms: Sequence[ValueTransform], padding: float, limits: DecodingLimits
) -> NDArray[np.float32]:
    values = np.empty((len(stack.planes), *stack.planes[0].size), np.float32)
    by_frame = sorted(range(len(stack.planes)), key=lambda i: (stack.planes[i].source.instance, stack.planes[i].source.frame))

    def place(task: int, decoded: DecodedFrame) -> None:
        index = by_frame[task]
        found = opened[stack.planes[index].source.instance].format
        where = transforms[index].apply(stored_values(decoded.values, found), values[index])
        if where is not None:
            values[index][where] = padding

    decode_frames(opened, [stack.planes[i].source for i in by_frame], place, limits)
    return values


def _volume(instances: Sequence[pydicom.Dataset], stack: Stack, result: Regular) -> Volume:
    result.values.flags.writeable = False
    sources = [stack.planes[i].source for i in result.nearest]
    multi_frame = any(int(d.get("NumberOfFrames", 1) or 1) > 1 for d in instances)
    return Volume(
        result.values,
        result.affine_lps_mm,
        str(instances[0].get("FrameOfReferenceUID") or ""),
        tuple(str(instances[s.instance].SOPInstanceUID) for s in sources),
        tuple(s.frame + 1 for s in sources) if multi_frame else (),
    )
