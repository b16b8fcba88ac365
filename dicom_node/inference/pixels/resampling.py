"""Tilted and unevenly spaced slices onto a regular grid, where a model declares that it takes such a volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.inference.pixels.geometry import Stack, Vector

_Kind = TypeVar("_Kind", np.float32, np.float64)


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
    nearest, lateral = tuple(range(len(stack.planes))), stack.lateral_mm
    if stack.uneven:
        places = _evened_places(stack)
        values, lateral, nearest = _between(values, places), _between(lateral, places), places.nearest
        affine[:3, 0] *= (len(stack.planes) - 1) / (len(values) - 1)
        sentences.append(
            f"{stack.uneven}; resampled linearly from {len(stack.planes)} to {len(values)} slices {places.step_mm:.3f} mm apart"
        )
    if stack.tilted:
        values, affine = _straightened(values, lateral, stack, outside)
        grown = f"{values.shape[1]} x {values.shape[2]}"
        sentences.append(f"{stack.tilted}; resampled within their planes to {grown}, outside is {outside:g}")
    return Regular(values, affine, nearest, tuple(sentences))


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Where evenly spaced slices lie between the given ones: above the slice `below` by `share` of the distance to the next."""

    step_mm: float
    below: NDArray[np.intp]
    share: Vector

    @property
    def nearest(self) -> tuple[int, ...]:
        return tuple(int(i) for i in self.below + (self.share > 0.5))


def _evened_places(stack: Stack) -> _Places:
    """Go from the first slice to the last in steps next to the usual distance."""
    along = stack.along_mm - stack.along_mm[0]
    count = round(float(along[-1]) / stack.spacing_mm) + 1
    step = float(along[-1]) / (count - 1)
    wanted = np.arange(count) * step
    below = np.clip(np.searchsorted(along, wanted, side="right") - 1, 0, len(along) - 2)
    return _Places(step, below, np.clip((wanted - along[below]) / (along[below + 1] - along[below]), 0, 1))


def _between(given: NDArray[_Kind], places: _Places) -> NDArray[_Kind]:
    """Interpolate along the first axis. Of tilted slices this goes along the tilt, so that nothing outside of them is mixed in."""
    found = np.empty((len(places.below), *given.shape[1:]), given.dtype)
    for index, (lower, share) in enumerate(zip(places.below, places.share.astype(given.dtype), strict=True)):
        np.multiply(given[lower], 1 - share, out=found[index])
        found[index] += given[lower + 1] * share
    return found


def _straightened(values: NDArray[np.float32], lateral_mm: Vector, stack: Stack, outside: float) -> tuple[NDArray[np.float32], Vector]:
    """Shift each slice within its plane so that all first pixels stand above each other; the matrix grows so that nothing is cut off."""
    first = stack.planes[0]
    shifts = lateral_mm / np.array(first.spacing_mm)
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
