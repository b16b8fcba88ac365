"""Radiographs, ultrasound, photographs and captures to frames, each as it is meant to be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from dicom_node.domain.frames import Frame, FrameSet
from dicom_node.errors import VolumeError
from dicom_node.inference.pixels.colors import rgb_from
from dicom_node.inference.pixels.decoding import DecodingLimits, OpenInstance, SourceFrame, decode_frames, open_instance
from dicom_node.inference.pixels.frame_header import FrameHeader
from dicom_node.inference.pixels.image_format import GRAY, PALETTE
from dicom_node.inference.pixels.palettes import Palette, has_palette, palette_of
from dicom_node.inference.pixels.plugins import DecodedFrame
from dicom_node.inference.pixels.spacing import frame_spacing_mm
from dicom_node.inference.pixels.values import ValueTransform, stored_values, value_transform

_COLORED = frozenset({"COLOR", "MIXED"})
_LAST = 2**31


@dataclass(frozen=True, slots=True, eq=False)
class ReadFrameSet:
    """Frames and where they came from.

    Attributes:
        instances: By Instance Number, then SOP Instance UID; frames follow each other as they do.
        warnings: What was done to the images beyond reading them, a sentence each.
    """

    frames: FrameSet
    instances: list[pydicom.Dataset]
    warnings: tuple[str, ...]


def frame_set_from_instances(
    instances: Sequence[pydicom.Dataset], limits: DecodingLimits | None = None
) -> tuple[FrameSet, list[pydicom.Dataset]]:
    """Read all frames of a series; as `read_frame_set`, without its warnings.

    Returns:
        The frames, and the instances in their order.

    Raises:
        VolumeError: there are none.
        PixelError: pixels cannot be decoded.
    """
    read = read_frame_set(instances, limits or DecodingLimits())
    return read.frames, read.instances


def read_frame_set(instances: Sequence[pydicom.Dataset], limits: DecodingLimits) -> ReadFrameSet:
    """Read all frames of a series.

    Args:
        instances: One series, any order, single-frame or multi-frame, gray or in colour; sizes may differ.
        limits: How much is decoded at once.

    Raises:
        VolumeError: there are no instances.
        PixelError: pixels are missing or cannot be decoded.
    Source: PS3.3 C.7.6.3, C.7.6.5, C.11.1, C.11.2.
    """
    if not instances:
        raise VolumeError("the series has no images")
    ordered = sorted(instances, key=_place)
    opened = [open_instance(d) for d in ordered]
    sources = [SourceFrame(number, frame) for number, one in enumerate(opened) for frame in range(one.format.frames)]
    palettes = [palette_of(one.data_set) if _uses_palette(one) else None for one in opened]
    found: list[Frame | None] = [None] * len(sources)

    def place(index: int, decoded: DecodedFrame) -> None:
        source = sources[index]
        found[index] = _frame(opened[source.instance], source.frame, decoded, palettes[source.instance])

    decode_frames(opened, sources, place, limits)
    warnings = tuple(dict.fromkeys(w for one in opened for w in one.warnings))
    return ReadFrameSet(FrameSet(tuple(f for f in found if f is not None)), ordered, warnings)


def _place(data_set: pydicom.Dataset) -> tuple[int, str]:
    number = data_set.get("InstanceNumber")
    return _LAST if number is None else int(number), str(data_set.get("SOPInstanceUID", ""))


def _uses_palette(opened: OpenInstance) -> bool:
    presentation = FrameHeader(opened.data_set).value("PixelPresentation")
    return opened.format.photometric_interpretation == PALETTE or (presentation in _COLORED and has_palette(opened.data_set))


def _frame(opened: OpenInstance, frame: int, decoded: DecodedFrame, palette: Palette | None) -> Frame:
    header = FrameHeader(opened.data_set, frame)
    values: NDArray[np.float32] | NDArray[np.uint8]
    window = None
    if opened.format.photometric_interpretation == PALETTE and palette is not None:
        values = palette.of(stored_values(decoded.values, opened.format))
    elif opened.format.photometric_interpretation not in GRAY:
        values = np.ascontiguousarray(rgb_from(decoded.values, decoded.photometric_interpretation, opened.format))
    else:
        stored = stored_values(decoded.values, opened.format)
        values, window = _gray(stored, header, opened)
        if palette is not None:
            values, window = _supplemented(stored, values, window, palette), None
    values.flags.writeable = False
    return Frame(values, str(opened.data_set.SOPInstanceUID), frame + 1, frame_spacing_mm(header), window)


def _gray(stored: NDArray[Any], header: FrameHeader, opened: OpenInstance) -> tuple[NDArray[np.float32], tuple[float, float] | None]:
    """Apply the modality transform, turn MONOCHROME1, and give padding the darkest value of the rest."""
    transform = value_transform(header, opened.format)
    values = np.empty(stored.shape, np.float32)
    padding = transform.apply(stored, values)
    window = _window(header)
    if opened.format.photometric_interpretation == "MONOCHROME1":
        window = _turn(values, window, _ends(values, transform, opened), exact=header.value("VOILUTFunction") == "LINEAR_EXACT")
    if padding is not None:
        rest = values[~padding]
        values[padding] = rest.min() if rest.size else 0.0
    return values, window


def _ends(values: NDArray[np.float32], transform: ValueTransform, opened: OpenInstance) -> tuple[float, float]:
    return (float(values.min()), float(values.max())) if opened.format.is_float else transform.range_of(opened.format)


def _turn(
    values: NDArray[np.float32], window: tuple[float, float] | None, ends: tuple[float, float], *, exact: bool
) -> tuple[float, float] | None:
    """Mirror values and window between the ends of what the format can hold; the window lies around center - 0.5 (PS3.3 C.11.2.1.2)."""
    turned = sum(ends)
    np.subtract(np.float32(turned), values, out=values)
    return None if window is None else (turned - window[0] + (0.0 if exact else 1.0), window[1])


def _window(header: FrameHeader) -> tuple[float, float] | None:
    ends = []
    for keyword in ("WindowCenter", "WindowWidth"):
        value = header.value(keyword)
        try:
            ends.append(float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value))
        except (TypeError, ValueError):
            return None
    return (ends[0], ends[1]) if ends[1] > 0 else None


def _supplemented(
    stored: NDArray[Any], values: NDArray[np.float32], window: tuple[float, float] | None, palette: Palette
) -> NDArray[np.uint8]:
    """Show gray values through the window, and those from the palette's first entry on in its colours. Source: PS3.3 C.8.16.2.1.1.1."""
    center, width = window or (float(values.min() + values.max()) / 2 + 0.5, float(np.ptp(values)) + 1)
    shade = np.clip(((values - (center - 0.5)) / max(width - 1, 1e-6) + 0.5) * 255, 0, 255)
    colors = np.repeat(np.rint(shade).astype(np.uint8)[..., np.newaxis], 3, axis=-1)
    colored = stored >= palette.first
    colors[colored] = palette.of(stored)[colored]
    return colors
