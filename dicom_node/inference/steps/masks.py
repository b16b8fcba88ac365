"""Steps on masks: connected parts, holes, opening and closing. What lies beyond the image counts as its border goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.errors import ModelInputError
from dicom_node.inference.steps.grid import Geometry
from dicom_node.inference.steps.postprocess_schema import Closing, Components, FillHoles, Opening

Mask = NDArray[np.bool_]
_NEIGHBOURS: Mapping[str, Literal[6, 18, 26]] = {"faces": 6, "edges": 18, "corners": 26}
_IN_A_SLICE = np.array([[[0, 0, 0], [0, 0, 0], [0, 0, 0]], [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0], [0, 0, 0], [0, 0, 0]]], np.bool_)
_Spacing = tuple[float, float, float]


def components(mask: Mask, step: Components, geometry: Geometry) -> Mask:
    """Keep connected parts; of two of one size the one with the smaller index counts as larger.

    Raises:
        ModelInputError: a volume in mL is wanted of a frame.
    """
    labels, count = cc3d.connected_components(mask, connectivity=_NEIGHBOURS[step.connectivity], return_N=True)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    least = max(step.drop_below_pixels, _pixels_of(step.drop_below_ml, geometry) if step.drop_below_ml else 0)
    kept = np.flatnonzero(sizes >= least)
    kept = kept[kept > 0]
    if step.keep:
        kept = kept[np.argsort(-sizes[kept], kind="stable")][: step.keep]
    wanted = np.zeros(count + 1, np.bool_)
    wanted[kept] = True
    return np.asarray(wanted[labels], np.bool_)


def count_components(mask: Mask) -> int:
    """Count connected parts; pixels that touch at a corner are connected."""
    return int(cc3d.connected_components(mask, connectivity=_NEIGHBOURS["corners"], return_N=True)[1])


def fill_holes(mask: Mask, step: FillHoles, geometry: Geometry) -> Mask:
    """Fill enclosed background; in frames always within the plane."""
    if not (step.per_slice or geometry.is_frame):
        return np.asarray(ndimage.binary_fill_holes(mask), np.bool_)
    # without neighbours in the next slice a hole of one slice is enclosed there; scipy's own border would open it
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    background, _ = ndimage.label(~padded, structure=_IN_A_SLICE)
    outside = np.zeros(int(background.max()) + 1, np.bool_)
    outside[background[:, 0, 0]] = True
    filled = ~outside[background] | padded
    return np.asarray(filled[:, 1:-1, 1:-1], np.bool_)


def opening(mask: Mask, step: Opening, geometry: Geometry) -> Mask:
    """Erode, then dilate, by a ball.

    Raises:
        ModelInputError: the image has no spacing.
    """
    return _near_mask(mask, step.radius_mm, geometry, lambda part, s: _dilated(_eroded(part, step.radius_mm, s), step.radius_mm, s))


def closing(mask: Mask, step: Closing, geometry: Geometry) -> Mask:
    """Dilate, then erode, by a ball.

    Raises:
        ModelInputError: the image has no spacing.
    """
    return _near_mask(mask, step.radius_mm, geometry, lambda part, s: _eroded(_dilated(part, step.radius_mm, s), step.radius_mm, s))


def voxel_ml(geometry: Geometry) -> float:
    """Volume of one voxel of the grid, millilitres.

    Raises:
        ModelInputError: it is a frame.
    """
    if geometry.is_frame or geometry.affine_mm is None:
        raise ModelInputError("a frame has no volume")
    return float(abs(np.linalg.det(geometry.affine_mm[:3, :3]))) / 1000.0


def _pixels_of(volume_ml: float, geometry: Geometry) -> int:
    return math.ceil(volume_ml / voxel_ml(geometry) - 1e-6)


def _near_mask(mask: Mask, radius_mm: float, geometry: Geometry, work: Callable[[Mask, _Spacing], Mask]) -> Mask:
    """Work on the surroundings of the mask only."""
    spacing = geometry.spacing_mm
    if spacing is None:
        raise ModelInputError("the image has no Pixel Spacing, the model works in millimetres")
    box = ndimage.find_objects(mask.astype(np.uint8))
    if not box:
        return mask.copy()
    margins = [math.ceil(radius_mm / distance) + 2 for distance in spacing]
    wide = tuple(
        slice(max(0, part.start - margin), min(length, part.stop + margin))
        for part, margin, length in zip(box[0], margins, mask.shape, strict=True)
    )
    result = np.zeros_like(mask)
    result[wide] = work(mask[wide], spacing)
    return result


def _eroded(mask: Mask, radius_mm: float, spacing_mm: _Spacing) -> Mask:
    # without any background scipy measures no distance
    return mask if mask.all() else np.asarray(ndimage.distance_transform_edt(mask, sampling=spacing_mm) > radius_mm, np.bool_)


def _dilated(mask: Mask, radius_mm: float, spacing_mm: _Spacing) -> Mask:
    return mask if not mask.any() else np.asarray(ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= radius_mm, np.bool_)
