"""What is drawn as lines: findings where they lie, and the boundaries of segments; for presentation states and structure sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dicom_node.domain.results import RegionKind
from dicom_node.sr_writer.compose import tracking_uid
from dicom_node.sr_writer.drawing import REGION_COLORS, Rgb
from dicom_node.sr_writer.marked_frames import finding_label
from dicom_node.sr_writer.outlines import Points, mask_outlines
from dicom_node.sr_writer.result_set import ResultSet


@dataclass(frozen=True, slots=True, eq=False)
class Contour:
    """One thing on one frame.

    Attributes:
        index: Of the frame in the source, from 0.
        lines: Shape (point, 2) each, (column, row); closed lines repeat the first point; the boundary of a segment has several where
            it has parts or holes.
    """

    label: str
    tracking_id: str
    tracking_uid: str
    color: Rgb
    index: int
    kind: RegionKind
    lines: tuple[Points, ...]


def contours_of(results: ResultSet) -> Iterator[Contour]:
    """Yield segments in their order, then findings, frame by frame."""
    for segment in results.request.result.segments:
        uid = tracking_uid(results.request, segment)
        for index in results.source.touched(segment):
            lines = tuple(mask_outlines(segment.mask[index]))
            yield Contour(segment.label, segment.label, uid, segment.color_rgb, index, RegionKind.POLYLINE, lines)
    for number, group in enumerate(results.content.findings):
        color = REGION_COLORS[number % len(REGION_COLORS)]
        for outline in group.place.outlines if group.place else ():
            line = np.array(outline.points_px, np.float64)
            yield Contour(finding_label(group), group.tracking_id, group.tracking_uid, color, outline.index, outline.kind, (line,))
