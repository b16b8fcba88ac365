"""Images that come from elsewhere, brought onto the source grid: turned and flipped, never resampled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelError

_OFF_PIXELS = 0.02
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def on_source_grid(values: NDArray[np.generic], affine_lps_mm: NDArray[np.float64], volume: Volume, what: str) -> NDArray[np.generic]:
    """Turn an image so that its axes are those of the source.

    Args:
        values: Shape (channel, axis 0, axis 1, axis 2).
        affine_lps_mm: 4x4, maps (axis 0, 1, 2, 1) to patient coordinates.
        volume: The source.
        what: Names it in errors.

    Returns:
        Shape (channel, slice, row, column); may share memory.

    Raises:
        ModelError: it lies on another grid.
    """
    to_source = np.linalg.inv(volume.affine_lps_mm) @ affine_lps_mm
    axes = np.argmax(np.abs(to_source[:3, :3]), axis=0)
    signs = np.sign(to_source[axes, range(3)])
    if sorted(axes) == [0, 1, 2]:
        source_axes = np.argsort(axes)
        turned = values.transpose(0, *(1 + axis for axis in source_axes))
        flipped = [1 + n for n, axis in enumerate(source_axes) if signs[axis] < 0]
        ideal = np.zeros((4, 4))
        ideal[axes, range(3)], ideal[3, 3] = signs, 1.0
        ideal[axes, 3] = [length - 1 if sign < 0 else 0 for sign, length in zip(signs, values.shape[1:], strict=True)]
        lengths = np.array([*values.shape[1:], 1.0])
        if turned.shape[1:] == volume.values.shape and np.all(np.abs(to_source - ideal) @ lengths <= _OFF_PIXELS):
            return np.flip(turned, tuple(flipped)) if flipped else turned
    shapes = "x".join(map(str, values.shape[1:])), "x".join(map(str, volume.values.shape))
    offset = np.linalg.norm(affine_lps_mm[:3, 3] - volume.affine_lps_mm[:3, 3])
    raise ModelError(
        f"{what} lies on another grid than the images: {shapes[0]} voxels, the source has {shapes[1]}; first voxels {offset:.2f} mm apart",
        hint="results have to be brought back to the grid of the input before they are written",
    )


def ras_affine(volume: Volume) -> NDArray[np.float64]:
    """The affine of NIfTI and MONAI: maps (column, row, slice, 1) to RAS."""
    return np.asarray((_RAS_FROM_LPS @ volume.affine_lps_mm)[:, [2, 1, 0, 3]], np.float64)


def lps_from_ras(affine_ras_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """From RAS to LPS, axes as they are."""
    return np.asarray(_RAS_FROM_LPS @ affine_ras_mm, np.float64)
