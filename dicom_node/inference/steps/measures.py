"""Figures of a segment on the source grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from dicom_node.inference.steps.grid import Geometry
from dicom_node.inference.steps.masks import Mask, count_components, voxel_ml

_EDGE_MIDDLES = np.array([(-0.5, 0.0), (0.5, 0.0), (0.0, -0.5), (0.0, 0.5)])
_OF_VALUES: Mapping[str, Callable[[NDArray[np.float64]], float]] = {
    "mean": lambda values: float(values.mean()),
    "std": lambda values: float(values.std()),
    "min": lambda values: float(values.min()),
    "max": lambda values: float(values.max()),
}


def measure(quantity: str, masks: Sequence[Mask], values: Sequence[NDArray[np.float32]], geometries: Sequence[Geometry]) -> float | None:
    """Measure a segment.

    Args:
        quantity: One of `SEGMENT_QUANTITIES`, or `percentile_N`.
        masks: Shape (slice, row, column) each, on the source grid: one of a volume, one for each frame.
        values: Source values of the same shapes.
        geometries: Their places.

    Returns:
        mL, mm, a number, or the unit of the source values; None where the figure does not exist: of an empty segment all but volume and
        count, and a diameter without spacing. Standard deviation is the population's; percentiles are linear between ranks.
    """
    if quantity == "volume_ml":
        return float(sum(np.count_nonzero(mask) * voxel_ml(geometry) for mask, geometry in zip(masks, geometries, strict=True)))
    if quantity == "count":
        return float(sum(count_components(mask) for mask in masks))
    if quantity == "diameter_mm":
        diameters = [diameter_mm(mask, geometry) for mask, geometry in zip(masks, geometries, strict=True)]
        return max((d for d in diameters if d is not None), default=None)
    inside = np.concatenate([v[m] for v, m in zip(values, masks, strict=True)]).astype(np.float64)
    inside = inside[np.isfinite(inside)]
    if not len(inside):
        return None
    if quantity.startswith("percentile_"):
        return float(np.percentile(inside, float(quantity.removeprefix("percentile_"))))
    return _OF_VALUES[quantity](inside)


def diameter_mm(mask: Mask, geometry: Geometry) -> float | None:
    """Measure the largest diameter in a slice of the source, of one connected part of it; millimetres.

    The ends are the middles of outer pixel edges, so that a single pixel has its own width.

    Returns:
        None for an empty mask, or without spacing.

    Source: vertices as of the mesh in PyRadiomics' Maximum2DDiameterSlice; doi 10.1158/0008-5472.CAN-17-0339.
    """
    if (spacing := geometry.spacing_mm) is None or not mask.any():
        return None
    longest = 0.0
    for index in np.flatnonzero(mask.any(axis=(1, 2))):
        labels, count = cc3d.connected_components(mask[index], connectivity=8, return_N=True)
        for label in range(1, count + 1):
            pixels = np.argwhere(labels == label)
            ends = (pixels[:, None] + _EDGE_MIDDLES).reshape(-1, 2) * np.array(spacing[1:])
            longest = max(longest, _widest(ends))
    return longest


def _widest(points: NDArray[np.float64]) -> float:
    try:
        points = points[ConvexHull(points).vertices]
    except QhullError:  # fewer than three directions: all points count
        points = np.unique(points, axis=0)
    return float(pdist(points).max())
