"""How far apart the pixels of a frame are, by the best element that says so."""

from __future__ import annotations

from collections.abc import Sequence

import pydicom

from dicom_node.inference.pixels.frame_header import FrameHeader

_CENTIMETRES = 3
_TWO_DIMENSIONAL = 1


def frame_spacing_mm(header: FrameHeader) -> tuple[float, float] | None:
    """Return the distance between rows and between columns, millimetres.

    Pixel Spacing; else Imager Pixel Spacing, divided by the magnification where one is estimated; else what the ultrasound regions agree
    on. None if nothing says, or if regions differ.

    Source: PS3.3 10.7, C.8.11.3, C.8.7.3.
    """
    return _pair(header.value("PixelSpacing")) or _at_the_object(header) or _of_regions(header.value("SequenceOfUltrasoundRegions"))


def _at_the_object(header: FrameHeader) -> tuple[float, float] | None:
    at_detector = _pair(header.value("ImagerPixelSpacing"))
    if at_detector is None:
        return None
    try:
        magnification = float(header.value("EstimatedRadiographicMagnificationFactor") or 1)
    except (TypeError, ValueError):
        return None
    return (at_detector[0] / magnification, at_detector[1] / magnification) if magnification > 0 else None


def _of_regions(regions: Sequence[pydicom.Dataset] | None) -> tuple[float, float] | None:
    found = set()
    for region in regions or ():
        units = {region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")}
        if region.get("RegionSpatialFormat") == _TWO_DIMENSIONAL and units == {_CENTIMETRES}:
            deltas_cm = (region.get("PhysicalDeltaY"), region.get("PhysicalDeltaX"))
            found.add(tuple(round(abs(float(d or 0)) * 10, 9) for d in deltas_cm))
    return _pair(found.pop()) if len(found) == 1 else None


def _pair(value: object) -> tuple[float, float] | None:
    if not isinstance(value, Sequence) and not hasattr(value, "__iter__"):
        return None
    try:
        numbers = [float(v) for v in value]
    except (TypeError, ValueError):
        return None
    return (numbers[0], numbers[1]) if len(numbers) == 2 and min(numbers) > 0 else None
