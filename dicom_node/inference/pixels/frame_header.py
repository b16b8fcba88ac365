"""What the header says about one frame, wherever it stands: per frame, shared by all, or for the instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.datadict import dictionary_description
from pydicom.tag import BaseTag, Tag

from dicom_node.errors import VolumeError
from dicom_node.inference.pixels.reading import label

_MACROS: dict[str, tuple[str, ...]] = {
    "ImagePositionPatient": ("PlanePositionSequence",),
    "ImageOrientationPatient": ("PlaneOrientationSequence",),
    "PixelSpacing": ("PixelMeasuresSequence",),
    "RescaleSlope": ("PixelValueTransformationSequence",),
    "RescaleIntercept": ("PixelValueTransformationSequence",),
    "RescaleType": ("PixelValueTransformationSequence",),
    "WindowCenter": ("FrameVOILUTSequence",),
    "WindowWidth": ("FrameVOILUTSequence",),
    "VOILUTFunction": ("FrameVOILUTSequence",),
    "StackID": ("FrameContentSequence",),
    "TemporalPositionIndex": ("FrameContentSequence",),
    "FrameAcquisitionNumber": ("FrameContentSequence",),
    "FrameReferenceDateTime": ("FrameContentSequence",),
    "NominalPercentageOfCardiacPhase": ("CardiacSynchronizationSequence",),
    "DiffusionBValue": ("MRDiffusionSequence",),
    "DiffusionGradientOrientation": ("MRDiffusionSequence", "DiffusionGradientDirectionSequence"),
    "EffectiveEchoTime": ("MREchoSequence",),
    "InversionTimes": ("MRModifierSequence",),
    "ComplexImageComponent": ("MRImageFrameTypeSequence",),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence",),
    "KVP": ("CTXRayDetailsSequence",),
    "ConvolutionKernel": ("CTReconstructionSequence",),
}
_FRAME_TYPES = (
    "CTImageFrameTypeSequence",
    "MRImageFrameTypeSequence",
    "PETFrameTypeSequence",
    "XRay3DFrameTypeSequence",
    "XAXRFFrameCharacteristicsSequence",
)
_UNASSIGNED = ("UnassignedPerFrameConvertedAttributesSequence", "UnassignedSharedConvertedAttributesSequence")
"""Where a legacy converted object keeps what no macro holds. Source: PS3.3 C.7.6.16.2.25, C.7.6.16.2.26."""


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """The header of one frame. Source: PS3.3 C.7.6.16.

    Attributes:
        data_set: The instance; not modified.
        frame: Index of the frame, from 0.
    """

    data_set: pydicom.Dataset
    frame: int = 0
    _groups: tuple[pydicom.Dataset, ...] = field(init=False)

    def __post_init__(self) -> None:
        found = []
        frames = _value(self.data_set, "PerFrameFunctionalGroupsSequence")
        if frames is not None and self.frame < len(frames):
            found.append(frames[self.frame])
        found += (_value(self.data_set, "SharedFunctionalGroupsSequence") or [])[:1]
        object.__setattr__(self, "_groups", tuple(found))

    def value(self, keyword: str) -> Any:
        """Return an element's value for this frame, None if there is none."""
        for groups in self._groups:
            found = _in_groups(groups, keyword)
            if found is not None:
                return found
        return _value(self.data_set, keyword)

    def frame_type(self) -> tuple[str, ...]:
        """Return Frame Type, or Image Type where frames have none."""
        items = (item for groups in self._groups for name in _FRAME_TYPES for item in (_value(groups, name) or ())[:1])
        kinds = (_value(item, "FrameType") for item in items)
        return tuple(str(v) for v in _several(next((k for k in kinds if k is not None), _value(self.data_set, "ImageType"))))

    def numbers(self, keyword: str, count: int) -> NDArray[np.float64]:
        """Return an element of so many numbers.

        Raises:
            VolumeError: it is missing, no number, or has another count.
        """
        value = self.value(keyword)
        name = dictionary_description(keyword)
        if value is None:
            raise VolumeError(f"{self.label()} gives no {name}")
        try:
            numbers = np.array([float(v) for v in _several(value)], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise VolumeError(f"{self.label()}: {name} is no number") from error
        if len(numbers) != count or not np.isfinite(numbers).all():
            raise VolumeError(f"{self.label()}: {name} has {len(numbers)} values, {count} finite ones are needed")
        return numbers

    def label(self) -> str:
        """Name the frame in a message."""
        several = int(self.data_set.get("NumberOfFrames", 1) or 1) > 1
        return f"{label(self.data_set)}, frame {self.frame + 1}" if several else label(self.data_set)


def _in_groups(groups: pydicom.Dataset, keyword: str) -> Any:
    items: list[pydicom.Dataset] = [groups] if keyword in _MACROS else []
    for sequence in _MACROS.get(keyword, ()):
        items = [inner for item in items for inner in (_value(item, sequence) or ())[:1]]
    items += [item for name in _UNASSIGNED for item in (_value(groups, name) or ())[:1]]
    return next((found for item in items if (found := _value(item, keyword)) is not None), None)


@lru_cache(maxsize=256)
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def _value(data_set: pydicom.Dataset, keyword: str) -> Any:
    """Return a value, None if the element is absent or empty; by tag, since there are a dozen a frame."""
    tag = _tag(keyword)
    if tag not in data_set:
        return None
    value = data_set[tag].value
    return None if value is None or value == "" or (not isinstance(value, str | bytes | int | float) and len(value) == 0) else value


def _several(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    return value if not isinstance(value, str | bytes) and hasattr(value, "__len__") else (value,)
