"""Instances of one series to a regular volume in Hounsfield units; nothing is repaired silently."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from dicom_node.domain.volume import Volume
from dicom_node.errors import PixelError, VolumeError

_SPACING_TOLERANCE = 0.02
_DIRECTION_TOLERANCE = 1e-3
_THREADS = 2


def read_instances(paths: Sequence[Path], *, pixels: bool = True) -> list[pydicom.Dataset]:
    """Read instances, in the order given, with their pixel data or without.

    Raises:
        PixelError: a file cannot be read.
    """
    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(partial(pydicom.dcmread, stop_before_pixels=not pixels), paths))
    except (InvalidDicomError, OSError, ValueError, EOFError) as error:
        raise PixelError(f"an instance cannot be read: {type(error).__name__}") from error


def to_hounsfield(stored: NDArray[np.integer], *, rescale_slope: float, rescale_intercept: float) -> NDArray[np.float32]:
    """Convert stored values to Hounsfield units.

    Args:
        stored: Stored values, shape (row, column) or (slice, row, column), any integer dtype; not modified.
        rescale_slope: Rescale Slope (0028,1053), HU per stored unit.
        rescale_intercept: Rescale Intercept (0028,1052), HU.

    Returns:
        Same shape, float32, HU; new memory.

    Raises:
        PixelError: the slope is zero, every voxel would become one value.
    Source: PS3.3 C.11.1.1.2.
    """
    if rescale_slope == 0:
        raise PixelError("Rescale Slope is zero")
    values = stored.astype(np.float32)
    values *= np.float32(rescale_slope)
    values += np.float32(rescale_intercept)
    return values


def volume_from_instances(instances: Sequence[pydicom.Dataset]) -> tuple[Volume, list[pydicom.Dataset]]:
    """Stack single-frame instances along their normal.

    Args:
        instances: One series, any order; grayscale, with Image Position and Orientation (Patient).

    Returns:
        The volume, and the instances in slice order.

    Raises:
        VolumeError: other than two or more slices of one size and orientation at even distances.
        PixelError: pixels cannot be decoded.
    Source: PS3.3 C.7.6.2.
    """
    if len(instances) < 2:
        raise VolumeError(f"a volume needs at least 2 slices, the series has {len(instances)}")
    orientation = _common_orientation(instances)
    row_direction, column_direction = orientation[:3], orientation[3:]
    normal = np.cross(row_direction, column_direction)
    positions = np.array([_numbers(d, "ImagePositionPatient", 3) for d in instances])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    spacing = _even_spacing(along[order])
    ordered = [instances[i] for i in order]
    first = positions[order[0]]
    row_spacing, column_spacing = _numbers(ordered[0], "PixelSpacing", 2)
    affine = np.eye(4)
    affine[:3, 0] = (positions[order[-1]] - first) / (len(order) - 1)
    affine[:3, 1] = column_direction * row_spacing
    affine[:3, 2] = row_direction * column_spacing
    affine[:3, 3] = first
    _check_shear(affine[:3, 0], normal, spacing)
    uids = tuple(str(d.SOPInstanceUID) for d in ordered)
    return Volume(_stack(ordered), affine, str(ordered[0].get("FrameOfReferenceUID", "")), uids), ordered


def _common_orientation(instances: Sequence[pydicom.Dataset]) -> NDArray[np.float64]:
    first = _numbers(instances[0], "ImageOrientationPatient", 6)
    for data_set in instances:
        if (data_set.get("Rows"), data_set.get("Columns")) != (instances[0].get("Rows"), instances[0].get("Columns")):
            raise VolumeError("slices differ in Rows or Columns")
        if int(data_set.get("NumberOfFrames", 1) or 1) != 1:
            raise VolumeError("multi-frame instances are not supported")
        if np.abs(_numbers(data_set, "ImageOrientationPatient", 6) - first).max() > _DIRECTION_TOLERANCE:
            raise VolumeError("slices differ in Image Orientation (Patient)")
        if not np.allclose(_numbers(data_set, "PixelSpacing", 2), _numbers(instances[0], "PixelSpacing", 2)):
            raise VolumeError("slices differ in Pixel Spacing")
    return first


def _even_spacing(along: NDArray[np.float64]) -> float:
    steps = np.diff(along)
    typical = float(np.median(steps))
    if typical <= 0 or float(steps.min()) < 0.01 * typical:
        raise VolumeError("two slices lie at the same position")
    if float(np.abs(steps - typical).max()) > _SPACING_TOLERANCE * typical:
        raise VolumeError(f"slices are not evenly spaced: {steps.min():.3f} to {steps.max():.3f} mm; a slice may be missing")
    return typical


def _check_shear(step: NDArray[np.float64], normal: NDArray[np.float64], spacing: float) -> None:
    if float(np.linalg.norm(step - normal * float(step @ normal))) > _SPACING_TOLERANCE * spacing:
        raise VolumeError("slices are shifted against each other (tilted gantry)")


def _numbers(data_set: pydicom.Dataset, keyword: str, count: int) -> NDArray[np.float64]:
    value = data_set.get(keyword)
    try:
        numbers = np.array([float(v) for v in value], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise VolumeError(f"{keyword} is missing or no number") from error
    if len(numbers) != count:
        raise VolumeError(f"{keyword} has {len(numbers)} values, {count} are needed")
    return numbers


def _stack(ordered: Sequence[pydicom.Dataset]) -> NDArray[np.float32]:
    values = np.empty((len(ordered), ordered[0].Rows, ordered[0].Columns), np.float32)

    def decode(index: int) -> None:
        data_set = ordered[index]
        slope, intercept = float(data_set.get("RescaleSlope", 1) or 0), float(data_set.get("RescaleIntercept", 0) or 0)
        values[index] = to_hounsfield(data_set.pixel_array, rescale_slope=slope, rescale_intercept=intercept)

    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(decode, range(len(ordered))))
    except (AttributeError, ValueError, RuntimeError, NotImplementedError, KeyError) as error:
        raise PixelError(f"pixel data cannot be decoded: {type(error).__name__}") from error
    values.flags.writeable = False
    return values
