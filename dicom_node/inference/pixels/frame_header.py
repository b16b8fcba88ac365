"""What the header says about one frame, wherever it stands: per frame, shared by all, or for the instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.datadict import dictionary_description

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

    def value(self, keyword: str) -> Any:
        """Return an element's value for this frame, None if there is none."""
        for groups in self._groups():
            found = _in_groups(groups, keyword)
            if found is not None:
                return found
        return _filled(self.data_set.get(keyword))

    def frame_type(self) -> tuple[str, ...]:
        """Return Frame Type, or Image Type where frames have none."""
        for groups in self._groups():
            for name in _FRAME_TYPES:
                for item in groups.get(name, ())[:1]:
                    if item.get("FrameType"):
                        return tuple(str(v) for v in item.FrameType)
        return tuple(str(v) for v in _several(self.data_set.get("ImageType")))

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

    def _groups(self) -> list[pydicom.Dataset]:
        found = []
        frames = self.data_set.get("PerFrameFunctionalGroupsSequence")
        if frames is not None and self.frame < len(frames):
            found.append(frames[self.frame])
        shared = self.data_set.get("SharedFunctionalGroupsSequence")
        if shared:
            found.append(shared[0])
        return found


def _in_groups(groups: pydicom.Dataset, keyword: str) -> Any:
    items: Sequence[pydicom.Dataset] = (groups,)
    for sequence in _MACROS.get(keyword, ()):
        items = [inner for item in items for inner in (item.get(sequence) or ())[:1]]
    candidates = [*(items if keyword in _MACROS else ()), *(item for name in _UNASSIGNED for item in (groups.get(name) or ())[:1])]
    for item in candidates:
        found = _filled(item.get(keyword))
        if found is not None:
            return found
    return None


def _filled(value: Any) -> Any:
    return None if value is None or value == "" or (not isinstance(value, str | bytes | int | float) and len(value) == 0) else value


def _several(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    return value if not isinstance(value, str | bytes) and hasattr(value, "__len__") else (value,)
