"""An image for each group of a report that has no place of its own, since web viewers open no report without."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from highdicom import sr
from numpy.typing import NDArray

from dicom_node.sr_writer.content import Group
from dicom_node.sr_writer.report_groups import MeasurementGroup, image_item
from dicom_node.sr_writer.result_set import ResultSet
from dicom_node.sr_writer.source import ImageReference

_BEST_ILLUSTRATION = sr.CodedConcept("121080", "DCM", "Best illustration of finding")
_COORDINATES = ("SCOORD", "SCOORD3D")
_SOURCE = sr.CodedConcept("260753009", "SCT", "Source")


def illustrate(results: ResultSet, groups: Sequence[Group], written: Sequence[MeasurementGroup]) -> None:
    """Add a rectangle to each written group that has no coordinates: around a segment on its largest slice, else a whole image.

    OHIF 3.13 takes the first coordinate of every measurement group for granted and shows nothing of a report where one has none, or
    where the first is a POLYGON in space, which it cannot draw; that gets its outline on a slice before it. The concept says that it is
    an illustration and not the region that was measured. Source: TID 1410, 1411 and 1501 are extensible; PS3.3 C.18.6.

    Args:
        results: What the objects of the run share.
        groups: Of the content.
        written: The same, as content items; extended.
    """
    for group, items in zip(groups, written, strict=True):
        children = items[0].ContentSequence
        drawn = [n for n, child in enumerate(children) if child.ValueType in _COORDINATES]
        if not drawn or children[drawn[0]].GraphicType == "POLYGON":
            children.insert(drawn[0] if drawn else len(children), _rectangle(*_shown(results, group)))


def _shown(results: ResultSet, group: Group) -> tuple[ImageReference, NDArray[np.float64]]:
    """Choose the image and the corners in its pixels, (0, 0) being the corner of the first."""
    if group.place is not None and group.place.segment_number:
        segment = results.segments[group.place.segment_number - 1]
        index = int(np.argmax(results.source.marks[segment.id]))
        rows, columns = (np.flatnonzero(segment.mask[index].any(axis=axis)) for axis in (1, 0))
        return results.source.frames[index].reference, _corners(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    if group.place is not None and group.place.outlines:
        outline = group.place.outlines[len(group.place.outlines) // 2]
        return outline.image, np.array(outline.points_px, np.float64)
    reference = (results.content.key_images or group.images or results.first_images)[0]
    header = next(h for h in results.source.headers if h.SOPInstanceUID == reference.sop_instance_uid)
    if reference.frame_number is None and int(header.get("NumberOfFrames") or 1) > 1:
        reference = ImageReference(reference.sop_class_uid, reference.sop_instance_uid, 1)
    return reference, _corners(0, 0, int(header.get("Columns") or 1), int(header.get("Rows") or 1))


def _corners(left: float, top: float, right: float, bottom: float) -> NDArray[np.float64]:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], np.float64)


def _rectangle(reference: ImageReference, corners: NDArray[np.float64]) -> sr.ScoordContentItem:
    item = sr.ScoordContentItem(
        _BEST_ILLUSTRATION, sr.GraphicTypeValues.POLYLINE, corners, relationship_type=sr.RelationshipTypeValues.CONTAINS
    )
    item.ContentSequence = sr.ContentSequence([image_item(reference, sr.RelationshipTypeValues.SELECTED_FROM, _SOURCE)])
    return item
