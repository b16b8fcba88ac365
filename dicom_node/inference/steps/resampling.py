"""Values between pixel centres, axis by axis. Beyond the outermost pixel centres their value goes on.

Conventions: index i is the centre of pixel i, which covers i - 0.5 to i + 0.5. An axis is sampled at `scale * i + offset`.
Nearest: the pixel that holds the point, of two at one distance the upper one (torch's `nearest-exact`). Linear: torch's `linear`.
Cubic: the B-spline of degree 3 through all pixels, mirrored at the outermost pixel centres (scipy's order 3, mode mirror).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.inference.steps.grid import Array
from dicom_node.inference.steps.vocabulary import Order

_WHOLE = 1e-6
"""Distance, in pixels, below which a point counts as a pixel centre or a border; rounding of affines is far below it."""
_TRUNCATE = 4.0

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class AxisSampling:
    """Where the new pixels of one axis lie.

    Attributes:
        length: Number of new pixels.
        scale: Distance of neighbours, in old pixels; negative where the axis is turned round.
        offset: Place of new pixel 0, in old pixels.
    """

    length: int
    scale: float
    offset: float

    def points(self) -> NDArray[np.float64]:
        """Places of the new pixels, in old pixels; what is as good as whole is whole."""
        places = self.scale * np.arange(self.length) + self.offset
        whole = np.rint(places)
        return np.where(np.abs(places - whole) < _WHOLE, whole, places)

    def keeps(self, old_length: int) -> bool:
        """Tell whether nothing changes."""
        return self.length == old_length and abs(self.scale - 1) * max(1, old_length) < _WHOLE and abs(self.offset) < _WHOLE

    def blur_sigma(self) -> float:
        """Width of the Gaussian that is applied before an axis gets coarser, in old pixels; as scikit-image and MONAI choose it."""
        return max(0.0, (abs(self.scale) - 1) / 2)


def resample(values: Array, axes: tuple[AxisSampling, ...], order: Order, *, antialias: bool = False) -> Array:
    """Sample the last axes of an array anew.

    Args:
        values: Shape (channel, axis 0, axis 1, axis 2); not modified.
        axes: One for each of the last axes.
        order: Interpolation.
        antialias: Smooth an axis before it gets coarser.

    Returns:
        New memory, unless nothing changes.
    """
    first = values.ndim - len(axes)
    pairs = [(first + k, sampling) for k, sampling in enumerate(axes) if not sampling.keeps(values.shape[first + k])]
    # the axis that gets shortest goes first: the others have less to do
    for axis, sampling in sorted(pairs, key=lambda pair: pair[1].length / values.shape[pair[0]]):
        if antialias and sampling.blur_sigma() > 0:
            values = ndimage.gaussian_filter1d(values, sampling.blur_sigma(), axis, mode="nearest", truncate=_TRUNCATE)
        values = _sample_axis(values, axis, sampling.points(), order)
    return values


def taps(points: NDArray[np.float64], length: int, order: Order) -> list[tuple[Indices, NDArray[np.float32]]]:
    """Tell from which pixels each point is made: pairs of indices and weights, each as long as `points`; the weights of a point sum to 1.

    For the cubic order the pixels are those of the B-spline's coefficients.
    """
    inside = np.clip(points, 0, length - 1)
    if order is Order.NEAREST:
        # not of the clipped point: 0.5 beyond the border is still the border's pixel
        nearest = np.clip(np.floor(points + 0.5), 0, length - 1).astype(np.intp)
        return [(nearest, np.ones(len(points), np.float32))]
    lower = np.floor(inside).astype(np.intp)
    part = inside - lower
    if order is Order.LINEAR:
        # a weight of 0 never looks at its pixel, which may be no number
        upper = np.minimum(lower + (part > 0), length - 1)
        return [(lower, (1 - part).astype(np.float32)), (upper, part.astype(np.float32))]
    weights = ((1 - part) ** 3 / 6, (4 - 6 * part**2 + 3 * part**3) / 6, (1 + 3 * part + 3 * part**2 - 3 * part**3) / 6, part**3 / 6)
    return [(_mirrored(lower + k - 1, length), weight.astype(np.float32)) for k, weight in enumerate(weights)]


def _sample_axis(values: Array, axis: int, points: NDArray[np.float64], order: Order) -> Array:
    length = values.shape[axis]
    pieces = taps(points, length, order)
    if order is Order.NEAREST or length == 1:
        return np.take(values, pieces[0][0] if order is Order.NEAREST else np.zeros(len(points), np.intp), axis)
    if order is Order.CUBIC:
        values = ndimage.spline_filter1d(values, 3, axis, output=np.float32, mode="mirror")
    shape = tuple(-1 if k == axis else 1 for k in range(values.ndim))
    total: Array | None = None
    for indices, weights in pieces:
        piece = np.take(values, indices, axis)
        piece *= weights.reshape(shape)
        if total is None:
            total = piece
        else:
            total += piece
    if total is None:
        raise ValueError("no taps")
    return total


def _mirrored(indices: Indices, length: int) -> Indices:
    return np.asarray((length - 1) - np.abs((length - 1) - np.abs(indices)), np.intp)
