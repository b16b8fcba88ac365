"""From the network's grid back to the source's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_node.inference.steps.grid import Array, Geometry, Matrix
from dicom_node.inference.steps.resampling import AxisSampling, resample
from dicom_node.inference.steps.vocabulary import Order

_BORDER = 1e-6


def to_source_grid(values: Array, geometry: Geometry, *, order: Order, outside: float = 0.0) -> Array:
    """Bring values back.

    Args:
        values: Shape (channel, axis 0, axis 1, axis 2) on `geometry`'s grid; not modified.
        geometry: The way back.
        order: NEAREST for labels and masks, LINEAR for numbers.
        outside: Value of source pixels whose centre no pixel of the grid covers.

    Returns:
        Shape (channel, *source shape), new memory; exactly the values of `values` where the steps only turned, cut or padded.
    """
    samplings, axes = source_samplings(geometry)
    turned = values.transpose(0, *(1 + axis for axis in axes))
    covered = [_covered(sampling, turned.shape[1 + k]) for k, sampling in enumerate(samplings)]
    parts = tuple(
        AxisSampling(stop - start, s.scale, s.offset + s.scale * start) for s, (start, stop) in zip(samplings, covered, strict=True)
    )
    result = np.full((len(values), *geometry.source.shape), outside, values.dtype)
    if all(part.length > 0 for part in parts):
        result[(slice(None), *(slice(start, stop) for start, stop in covered))] = resample(turned, parts, order)
    return result


def source_samplings(geometry: Geometry) -> tuple[tuple[AxisSampling, ...], tuple[int, ...]]:
    """Say for each source axis where its pixels lie on the grid.

    Returns:
        The samplings by source axis, and by source axis the axis of the grid that runs along it.
    """
    back: Matrix = np.asarray(np.linalg.inv(geometry.to_source), np.float64)
    axes = tuple(int(axis) for axis in np.argmax(np.abs(back[:3, :3]), axis=0))
    samplings = tuple(
        AxisSampling(length, float(back[axis, source]), float(back[axis, 3]))
        for source, (axis, length) in enumerate(zip(axes, geometry.source.shape, strict=True))
    )
    return samplings, axes


def _covered(sampling: AxisSampling, length: int) -> tuple[int, int]:
    """First and last index, the latter excluded, of the source pixels whose centre lies on the grid."""
    points: NDArray[np.float64] = sampling.points()
    inside = np.flatnonzero((points > -0.5 - _BORDER) & (points < length - 0.5 + _BORDER))
    return (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
