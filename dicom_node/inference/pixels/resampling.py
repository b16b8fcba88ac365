"""Tilted and unevenly spaced slices onto a regular grid, where a model declares that it takes such a volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.inference.pixels.geometry import Stack, Vector


@dataclass(frozen=True, slots=True, eq=False)
class Regular:
    """A volume on a regular grid at right angles.

    Attributes:
        values: Shape (slice, row, column), float32.
        nearest: Per slice the index of the nearest source slice.
        sentences: What was done, for the result's warnings.
    """

    values: NDArray[np.float32]
    affine_lps_mm: Vector
    nearest: tuple[int, ...]
    sentences: tuple[str, ...]


def regular(values: NDArray[np.float32], stack: Stack, outside: float) -> Regular:
    """Resample linearly whatever is irregular; what is regular stays as it is.

    Args:
        values: Shape (slice, row, column), slices as in `stack`; not modified, may be returned.
        stack: Where they lie.
        outside: Value of what no slice covers.
    """
    affine, sentences = stack.affine_lps_mm, []
    if stack.tilted:
        values, affine = _straightened(values, stack, outside)
        grown = f"{values.shape[1]} x {values.shape[2]}"
        sentences.append(f"{stack.tilted}; resampled within their planes to {grown}, outside is {outside:g}")
    nearest = tuple(range(len(stack.planes)))
    if stack.uneven:
        values, step, nearest = _evened(values, stack)
        affine[:3, 0] = stack.planes[0].normal * step if stack.tilted else affine[:3, 0] * (len(stack.planes) - 1) / (len(values) - 1)
        sentences.append(f"{stack.uneven}; resampled linearly from {len(stack.planes)} to {len(values)} slices {step:.3f} mm apart")
    return Regular(values, affine, nearest, tuple(sentences))


def _straightened(values: NDArray[np.float32], stack: Stack, outside: float) -> tuple[NDArray[np.float32], Vector]:
    """Shift each slice within its plane so that all first pixels stand above each other; the matrix grows so that nothing is cut off."""
    first = stack.planes[0]
    shifts = stack.lateral_mm / np.array(first.spacing_mm)
    low = np.floor(shifts.min(axis=0))
    grown = np.ceil(shifts.max(axis=0) - low).astype(int)
    rows, columns = values.shape[1] + int(grown[0]), values.shape[2] + int(grown[1])
    moved = np.empty((len(values), rows, columns), np.float32)
    for index, (slice_values, shift) in enumerate(zip(values, shifts - low, strict=True)):
        padded = np.full((rows, columns), outside, np.float32)
        padded[: slice_values.shape[0], : slice_values.shape[1]] = slice_values
        ndimage.shift(padded, shift, output=moved[index], order=1, mode="constant", cval=outside, prefilter=False)
    affine = stack.affine_lps_mm
    affine[:3, 0] = first.normal * (stack.along_mm[-1] - stack.along_mm[0]) / (len(values) - 1)
    affine[:3, 3] += affine[:3, 1] * low[0] + affine[:3, 2] * low[1]
    return moved, affine


def _evened(values: NDArray[np.float32], stack: Stack) -> tuple[NDArray[np.float32], float, tuple[int, ...]]:
    """Interpolate along the normal, from the first slice to the last, in steps next to the usual distance."""
    along = stack.along_mm - stack.along_mm[0]
    count = round(float(along[-1]) / stack.spacing_mm) + 1
    step = float(along[-1]) / (count - 1)
    wanted = np.arange(count) * step
    below = np.clip(np.searchsorted(along, wanted, side="right") - 1, 0, len(along) - 2)
    weight = np.clip((wanted - along[below]) / (along[below + 1] - along[below]), 0, 1).astype(np.float32)
    evened = np.empty((count, *values.shape[1:]), np.float32)
    for index, (lower, share) in enumerate(zip(below, weight, strict=True)):
        np.multiply(values[lower], 1 - share, out=evened[index])
        evened[index] += values[lower + 1] * share
    nearest = tuple(int(lower + (share > 0.5)) for lower, share in zip(below, weight, strict=True))
    return evened, step, nearest
