"""Both lungs of an axial chest CT, airways excluded, by thresholds and morphology; no learned weights.

Steps:
1. Air outside the body: low density connected to the border of its slice.
2. The lungs: the one or two largest components of the low density that remains.
3. The airways: grown from the trachea, at the highest threshold before the growth leaks into the lungs.
4. Vessels and small dense structures inside the outline belong to the lungs: closing, then filling, slice by slice.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelInputError

Mask = NDArray[np.bool_]

_AIR_BELOW_HU = -500.0
_LOWEST_HU = -1024.0
_SMALLEST_LUNG_ML = 200.0
_SMALLEST_SHARE_OF_LARGEST = 0.1
_CLOSING_MM = 3.0
_AIRWAY_WALL_MM = 2.0
_TRACHEA_AREA_MM2 = (40.0, 900.0)
_TRACHEA_BELOW_HU = -900.0
_MIDDLE_THIRD = (1 / 3, 2 / 3)
_AIRWAY_THRESHOLDS_HU = range(-980, -860, 10)
_LARGEST_AIRWAYS_ML = 120.0
_LEAK_FACTOR = 1.6
_THREADS = 2


def segment_lungs(volume: Volume) -> Mask:
    """Find both lungs as one mask.

    Args:
        volume: Axial chest CT, Hounsfield units; padding below -1024 counts as air.

    Returns:
        Shape (slice, row, column) as the volume; new memory.

    Raises:
        ModelInputError: slices are not axial, or nothing in them looks like lungs.
    """
    if abs(volume.affine_lps_mm[2, 0]) < 0.7 * volume.spacing_mm[0]:
        raise ModelInputError("slices are not axial", hint="send the axial reconstruction")
    inside = _air_inside_the_body(volume.values)
    lungs = _largest_components(inside, volume.voxel_ml)
    airways = _airways(volume, inside & lungs)
    spacing = volume.spacing_mm
    return _closed_by_slice(lungs & ~airways, (spacing[1], spacing[2])) & ~airways


def _air_inside_the_body(values: NDArray[np.float32]) -> Mask:
    inside = values < _AIR_BELOW_HU

    def clear_outside(index: int) -> None:
        labels = cc3d.connected_components(inside[index], connectivity=4)
        border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        keep = np.ones(int(labels.max()) + 1, np.bool_)
        keep[border] = False
        keep[0] = False
        inside[index] = keep[labels]

    _each_slice(clear_outside, len(inside))
    return inside


def _largest_components(inside: Mask, voxel_ml: float) -> Mask:
    labels, count = cc3d.connected_components(inside, connectivity=6, return_N=True)
    if count == 0:
        raise ModelInputError("no lungs found: no air inside the body")
    volumes_ml = np.bincount(labels.ravel(), minlength=count + 1) * voxel_ml
    volumes_ml[0] = 0.0
    largest = np.argsort(volumes_ml)[::-1][:2]
    least = max(_SMALLEST_LUNG_ML, _SMALLEST_SHARE_OF_LARGEST * float(volumes_ml[largest[0]]))
    kept = np.zeros(count + 1, np.bool_)
    kept[[label for label in largest if volumes_ml[label] >= least]] = True
    if not kept.any():
        raise ModelInputError(
            f"no lungs found: the largest air space in the body has {volumes_ml[largest[0]]:.0f} mL, lungs {_SMALLEST_LUNG_ML:.0f} or more"
        )
    return np.asarray(kept[labels], dtype=np.bool_)


def _airways(volume: Volume, lungs: Mask) -> Mask:
    """Trachea and large bronchi with their inner wall; empty if no trachea is in the images."""
    seed = _trachea_seed(volume, lungs)
    if seed is None:
        return np.zeros_like(lungs)
    grown, grown_ml = np.zeros_like(lungs), 0.0
    for threshold in _AIRWAY_THRESHOLDS_HU:
        labels = cc3d.connected_components((volume.values < threshold) & lungs, connectivity=6)
        if labels[seed] == 0:
            continue
        candidate = labels == labels[seed]
        candidate_ml = float(np.count_nonzero(candidate)) * volume.voxel_ml
        if candidate_ml > _LARGEST_AIRWAYS_ML or (grown_ml > 5.0 and candidate_ml > _LEAK_FACTOR * grown_ml):
            break
        grown, grown_ml = candidate, candidate_ml
    return _dilated(grown, volume.spacing_mm, _AIRWAY_WALL_MM)


def _trachea_seed(volume: Volume, lungs: Mask) -> tuple[int, int, int] | None:
    """The darkest voxel of the trachea in the uppermost slice that shows one: small, round, in the middle third of the lungs' width."""
    downwards = range(len(lungs)) if volume.affine_lps_mm[2, 0] < 0 else range(len(lungs) - 1, -1, -1)
    pixel_mm2 = volume.spacing_mm[1] * volume.spacing_mm[2]
    columns = np.nonzero(lungs.any(axis=(0, 1)))[0]
    middle = tuple(float(columns[0] + share * (columns[-1] - columns[0])) for share in _MIDDLE_THIRD)
    for index in list(downwards)[: len(lungs) // 2]:
        labels, count = cc3d.connected_components((volume.values[index] < _TRACHEA_BELOW_HU) & lungs[index], connectivity=4, return_N=True)
        for label in range(1, count + 1):
            region = labels == label
            area = np.count_nonzero(region) * pixel_mm2
            if _TRACHEA_AREA_MM2[0] <= area <= _TRACHEA_AREA_MM2[1] and _is_round(region) and _is_between(region, middle):
                row, column = np.unravel_index(np.argmin(np.where(region, volume.values[index], np.inf)), region.shape)
                return index, int(row), int(column)
    return None


def _is_between(region: Mask, limits: tuple[float, ...]) -> bool:
    return limits[0] <= float(np.nonzero(region)[1].mean()) <= limits[1]


def _is_round(region: Mask) -> bool:
    rows, columns = np.nonzero(region)
    height, width = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    return 0.5 <= height / width <= 2.0 and len(rows) >= 0.6 * height * width


def _dilated(mask: Mask, spacing_mm: tuple[float, float, float], by_mm: float) -> Mask:
    box = ndimage.find_objects(mask.astype(np.uint8))
    grown = np.zeros_like(mask)
    if box:
        margins = [int(np.ceil(by_mm / s)) + 1 for s in spacing_mm]
        wide = tuple(slice(max(0, b.start - m), b.stop + m) for b, m in zip(box[0], margins, strict=True))
        grown[wide] = ndimage.distance_transform_edt(~mask[wide], sampling=spacing_mm) <= by_mm
    return grown


def _closed_by_slice(mask: Mask, pixel_mm: tuple[float, float]) -> Mask:
    closed = np.zeros_like(mask)
    margin = int(np.ceil(_CLOSING_MM / min(pixel_mm))) + 2

    def close(index: int) -> None:
        rows, columns = np.nonzero(mask[index])
        if len(rows) == 0:
            return
        box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
        padded = np.pad(mask[index][box], margin)
        wide = ndimage.distance_transform_edt(~padded, sampling=pixel_mm) <= _CLOSING_MM
        shut = ndimage.distance_transform_edt(wide, sampling=pixel_mm) > _CLOSING_MM
        closed[index][box] = ndimage.binary_fill_holes(shut | padded)[margin:-margin, margin:-margin]

    _each_slice(close, len(mask))
    return closed


def _each_slice(work: Callable[[int], None], count: int) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(work, range(count)))
