"""Where windows overlap, their outputs are averaged, slab by slab, so that memory does not grow with the length of the volume."""

from __future__ import annotations

from typing import Any

import numpy as np

from dicom_node.inference.steps.grid import Array
from dicom_node.inference.steps.schema import Blending
from dicom_node.inference.steps.tensors import AnyArray

Lengths = tuple[int, int, int]
_LEAST_WEIGHT = 1e-3
"""Of a pixel beside the middle's 1, as MONAI has it; what a single window covers must not vanish in rounding."""


def window_weights(size: Lengths, blending: Blending, sigma: float) -> Array:
    """Say how much each pixel of a window counts; the middle counts 1."""
    weights = np.ones(size, np.float64)
    if blending is Blending.GAUSSIAN:
        for axis, length in enumerate(size):
            away = np.arange(length) - (length - 1) / 2
            weights *= np.exp(-0.5 * (away / (sigma * length)) ** 2).reshape([-1 if k == axis else 1 for k in range(3)])
    return np.asarray(np.maximum(weights / weights.max(), _LEAST_WEIGHT), np.float32)


class SlabAccumulator:
    """Weighted mean of windows that arrive ordered by their start along axis 0.

    Only the slices that the window in work can touch are held as sums; those before are divided and leave.
    """

    def __init__(self, shape: Lengths, weights: Array, *, keep_labels: bool) -> None:
        """Take the shape of the whole image, axis 0 to 2, and the weights of a window."""
        self._shape = shape
        self._size = weights.shape
        self._weights = self._put(weights)
        self._keep_labels = keep_labels
        self._first = 0
        self._sums: Any = None
        self._totals: Any = None
        self._result: AnyArray | None = None

    def add(self, start: Lengths, scores: AnyArray) -> None:
        """Add one window.

        Args:
            start: Index of its first pixel; along axis 0 not before an earlier window's.
            scores: Shape (channel, *window).
        """
        if self._sums is None:
            depth = self._size[0]
            self._sums = self._zeros((len(scores), depth, *self._shape[1:]))
            self._totals = self._zeros((depth, *self._shape[1:]))
        if start[0] > self._first:
            self._leave(start[0] - self._first)
        rows, columns = (slice(s, s + n) for s, n in zip(start[1:], self._size[1:], strict=True))
        self._sums[:, :, rows, columns] += self._put(np.asarray(scores, np.float32)) * self._weights
        self._totals[:, rows, columns] += self._weights

    def finish(self) -> AnyArray:
        """Give the means, shape (channel, axis 0, axis 1, axis 2) float32, or the numbers of the highest channels, shape (1, ...)."""
        self._leave(self._shape[0] - self._first)
        if self._result is None:
            raise ValueError("no window was added")
        return self._result

    def _leave(self, count: int) -> None:
        if self._keep_labels:  # every channel has the same total: the highest sum is the highest mean
            left: AnyArray = self._get(self._sums[:, :count]).argmax(axis=0)[None]
        else:
            left = self._get(self._sums[:, :count] / self._totals[:count])
        if self._result is None:
            dtype = np.min_scalar_type(len(self._sums)) if self._keep_labels else np.dtype(np.float32)
            self._result = np.empty((len(left), *self._shape), dtype)
        self._result[:, self._first : self._first + count] = left
        self._first += count
        self._shift(count)

    def _shift(self, count: int) -> None:
        for array, axis in ((self._sums, 1), (self._totals, 0)):
            moved = np.moveaxis(array, axis, 0)
            moved[: len(moved) - count] = moved[count:]
            moved[len(moved) - count :] = 0

    def _zeros(self, shape: tuple[int, ...]) -> Any:
        return np.zeros(shape, np.float32)

    def _put(self, array: Array) -> Any:
        return array

    def _get(self, array: Any) -> Array:
        return np.asarray(array, np.float32)
