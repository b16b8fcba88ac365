"""From a head volume to what the two networks of brain extraction want, and back; pure arithmetic, as deepbet does it.

Source: deepbet 1.0.2 (MIT), doi 10.1016/j.compbiomed.2024.108845.
"""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]
Box = tuple[slice, slice, slice]

BOX_SHAPE = (128, 128, 128)
BRAIN_SHAPE = (256, 256, 256)
PERCENTILES = (0.5, 99.5)
BOX_MARGIN = 0.1
THRESHOLD = 0.5
_LEAST_SHARE_OF_PLANE = 0.02
_SHIFT, _SCALE = np.float32(0.449), np.float32(0.226)


def intensity_range(values: Floats) -> tuple[np.float32, np.float32]:
    """Return the 0.5th and 99.5th percentile."""
    low, high = np.percentile(values, PERCENTILES)
    return np.float32(low), np.float32(high)


def normalised(values: Floats, low: np.float32, high: np.float32) -> Floats:
    """Clamp to a range, bring to mean 0 and standard deviation 1 (n - 1), then to what the networks were trained with; new memory."""
    scaled: Floats = np.clip((values - low) / (high - low), 0, 1, dtype=np.float32)
    scaled -= np.float32(scaled.mean(dtype=np.float64))
    deviation = np.float32(np.sqrt(np.square(scaled, dtype=np.float64).sum() / (scaled.size - 1)))
    scaled *= _SCALE / deviation
    scaled += _SHIFT
    return scaled


def largest_component(mask: Mask) -> Mask:
    """Keep the largest component (26 neighbours); all false if there is none."""
    labels, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    if count == 0:
        return np.zeros_like(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax(), dtype=np.bool_)


def box_around(brain: Mask, shape: tuple[int, ...]) -> Box | None:
    """Find the box of a coarse brain, wider by 10 % at each side, in the indices of a grid of another shape.

    Args:
        brain: What the box network found, shape (128, 128, 128).
        shape: Of the grid that the box is wanted in; both cover the same space.

    Returns:
        One slice per axis, within the grid; None if no plane has brain in more than 2 % of its area.
    """
    box = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        planes = np.nonzero(brain.mean(axis=others) > _LEAST_SHARE_OF_PLANE)[0]
        if len(planes) == 0:
            return None
        scale = shape[axis] / brain.shape[axis]
        center = np.round(scale * (planes[-1] + 1 + planes[0]) / 2)
        size = np.round((1 + 2 * BOX_MARGIN) * scale * (planes[-1] + 1 - planes[0]))
        box.append(slice(max(0, int(center - size / 2)), min(shape[axis], int(center + size / 2))))
    return box[0], box[1], box[2]


def filled(mask: Mask) -> Mask:
    """Fill the holes that have no way out of the array."""
    return np.asarray(ndimage.binary_fill_holes(mask), dtype=np.bool_)
