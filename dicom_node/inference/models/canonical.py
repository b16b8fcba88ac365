"""Volumes along the patient's axes, and sampling by the nearest voxel, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

_Scalar = TypeVar("_Scalar", bound=np.generic)

_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Canonical:
    """How a volume's axes are flipped and exchanged to run to the patient's right, anterior and superior, and back.

    Axes are only exchanged, nothing is resampled; of an oblique volume each axis goes to the nearest direction.
    """

    def __init__(self, affine_lps_mm: NDArray[np.float64]) -> None:
        """Take the affine of a volume: maps (slice, row, column, 1) to patient coordinates."""
        orientation = nib.orientations.io_orientation(_RAS_FROM_LPS @ affine_lps_mm)  # type: ignore[no-untyped-call]
        self._axes = tuple(int(np.nonzero(orientation[:, 0] == wanted)[0][0]) for wanted in range(3))
        self._flipped = tuple(axis for axis in range(3) if orientation[self._axes[axis], 1] < 0)

    def apply(self, values: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """Turn (slice, row, column) to (right, anterior, superior); contiguous, new memory unless nothing is turned."""
        return np.ascontiguousarray(np.flip(values.transpose(self._axes), self._flipped))

    def revert(self, values: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """Turn (right, anterior, superior) back to (slice, row, column); contiguous, new memory unless nothing is turned."""
        back = tuple(int(axis) for axis in np.argsort(self._axes))
        return np.ascontiguousarray(np.flip(values, self._flipped).transpose(back))


def nearest(values: NDArray[_Scalar], shape: Sequence[int]) -> NDArray[_Scalar]:
    """Sample an array at the centres of a grid of another shape that covers the same space, nearest voxel; new memory.

    Source: what PyTorch calls `nearest-exact`; index `floor((i + 0.5) * from / to)`, in single precision as there.
    """
    indices = [_nearest_indices(have, want) for have, want in zip(values.shape, shape, strict=True)]
    return np.asarray(values[np.ix_(*indices)])


def _nearest_indices(have: int, want: int) -> NDArray[np.int64]:
    scale = np.float32(have) / np.float32(want)
    at = np.floor((np.arange(want, dtype=np.float32) + np.float32(0.5)) * scale)
    return np.asarray(np.minimum(at, have - 1), dtype=np.int64)
