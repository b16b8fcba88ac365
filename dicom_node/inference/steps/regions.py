"""From boxes on the network's grid to regions of the source."""

from __future__ import annotations

import math

import numpy as np

from dicom_node.domain.results import BoxRegion, ImageRegion, RegionKind
from dicom_node.inference.steps.detections import Numbers
from dicom_node.inference.steps.grid import Geometry

_TOUCH = 1e-6
"""Share of a slice below which a box does not count as touching it; rounding of affines is far below it."""
_RING = ((0, 0), (0, 1), (1, 1), (1, 0))
"""Corners of a rectangle in the order of a closed line: (row, column), 0 the lower and 1 the upper edge."""


def source_box(lower: Numbers, upper: Numbers, geometry: Geometry) -> tuple[Numbers, Numbers] | None:
    """Bring a box to the source grid and cut it at the source's edges.

    Args:
        lower: Lower edges along axis 0, 1 and 2 of `geometry`'s grid.
        upper: Upper edges.
        geometry: The way back.

    Returns:
        Lower and upper edges along slice, row and column index; None if nothing of the box lies in the source, as in a padded border.
    """
    ends = [(geometry.to_source @ [*corner, 1.0])[:3] for corner in (lower, upper)]
    length = np.array(geometry.source.shape)
    low = np.maximum(np.minimum(*ends), -0.5)
    high = np.minimum(np.maximum(*ends), length - 0.5)
    return None if np.any(high - low <= _TOUCH) else (low, high)


def region_from_box(lower: Numbers, upper: Numbers, geometry: Geometry) -> ImageRegion | BoxRegion:
    """Make the region of a box given in indices of the source: a closed line on a frame, eight corners in a volume."""
    source = geometry.source
    edges = (lower, upper)
    if source.frame is not None:
        ring = [(float(edges[c][2] + 0.5), float(edges[r][1] + 0.5)) for r, c in _RING]
        return ImageRegion(source.frame.sop_instance_uid, source.frame.frame_number, RegionKind.POLYLINE, (*ring, ring[0]))
    if source.volume is None:
        raise TypeError("neither a frame nor a volume")
    affine = source.volume.affine_lps_mm
    corners = [affine @ [edges[s][0], edges[r][1], edges[c][2], 1.0] for s in (0, 1) for r, c in _RING]
    first = max(0, math.floor(float(lower[0]) + 0.5 + _TOUCH))
    last = min(source.shape[0] - 1, math.ceil(float(upper[0]) - 0.5 - _TOUCH))
    return BoxRegion(
        frame_of_reference_uid=source.volume.frame_of_reference_uid,
        corners_lps_mm=tuple((float(x), float(y), float(z)) for x, y, z, _ in corners),
        slice_range=(first, max(first, last)),
        outline_px=tuple((float(edges[c][2] + 0.5), float(edges[r][1] + 0.5)) for r, c in _RING),
    )
