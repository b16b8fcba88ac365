"""Colour samples to RGB, 8 bits each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.processing import convert_color_space

from dicom_node.errors import PixelError
from dicom_node.inference.pixels.image_format import ImageFormat

_STUDIO_TO_RGB = np.array([[1.1644, 1.1644, 1.1644], [0.0, -0.3917, 2.0173], [1.5960, -0.8129, 0.0]], np.float32)
"""Y from 16 to 235, CB and CR from 16 to 240: inverse of the matrix in PS3.3 C.7.6.3.1.2, YBR_PARTIAL_422."""


def rgb_from(samples: NDArray[Any], photometric_interpretation: str, found: ImageFormat) -> NDArray[np.uint8]:
    """Turn colour samples into RGB.

    Args:
        samples: Shape (row, column, 3), as decoded; not modified.
        photometric_interpretation: Of `samples`: what the decoder says, which knows more than the header.
        found: Format of the instance; samples of more than 8 bits keep their upper eight.

    Returns:
        Same shape, uint8; new memory or the same if nothing was to be done.

    Raises:
        PixelError: no rule for this colour space.
    Source: PS3.3 C.7.6.3.1.2.
    """
    eight = _eight_bits(samples, found)
    if photometric_interpretation == "RGB":
        return eight
    if found.photometric_interpretation.startswith("YBR_PARTIAL"):
        values: NDArray[np.float32] = (eight.astype(np.float32) - np.array([16, 128, 128], np.float32)) @ _STUDIO_TO_RGB
        return np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    if photometric_interpretation in {"YBR_FULL", "YBR_FULL_422"}:
        converted: NDArray[np.uint8] = convert_color_space(eight, "YBR_FULL", "RGB")
        return converted
    raise PixelError(f"colours of Photometric Interpretation {photometric_interpretation} cannot be turned into RGB")


def _eight_bits(samples: NDArray[Any], found: ImageFormat) -> NDArray[np.uint8]:
    if samples.dtype.itemsize == 1 and found.bits_stored == 8:
        return samples.view(np.uint8)
    above = found.bits_stored - 8
    values = samples >> above if above > 0 else samples << -above
    return values.astype(np.uint8)
