"""Where findings and segments lie: on frames, in the patient, and in words."""

from __future__ import annotations

import numpy as np

from dicom_node.domain.results import BoxRegion, ImageRegion, RegionKind, Segment
from dicom_node.errors import ResultError
from dicom_node.sr_writer.content import Outline, Place, Point3
from dicom_node.sr_writer.outlines import Points, closed, mask_outlines, outline_in_space
from dicom_node.sr_writer.source import Source
from dicom_node.sr_writer.words import Words


def place_of_region(source: Source, region: ImageRegion | BoxRegion, words: Words) -> Place:
    """Place a finding.

    Raises:
        ResultError: the region lies on a frame that was not analysed, outside of the volume, or in another frame of reference.
    """
    return _place_of_box(source, region, words) if isinstance(region, BoxRegion) else _place_on_image(source, region, words)


def place_of_segment(source: Source, segment: Segment, number: int) -> Place:
    """Place a segment that has no segmentation object: outlines on each frame that it touches.

    Args:
        source: The analysed frames.
        segment: With at least one marked pixel.
        number: Its number in the segmentation, from 1; 0 if there is none.
    """
    if number:
        return Place(segment_number=number)
    outlines = [
        _outline(source, index, RegionKind.POLYLINE, line)
        for index in source.touched(segment)
        for line in mask_outlines(segment.mask[index])
    ]
    return Place(outlines=tuple(outlines))


def _place_on_image(source: Source, region: ImageRegion, words: Words) -> Place:
    index = source.index_of(region.sop_instance_uid, region.frame_number)
    frame = source.frames[index]
    if source.volume is not None:
        text = words("place_on_slice", first=index + 1)
    elif frame.reference.frame_number is not None:
        text = words("place_on_frame", frame=frame.reference.frame_number, image=frame.label)
    else:
        text = words("place_on_image", image=frame.label)
    return Place(outlines=(_outline(source, index, region.kind, np.array(region.points_px, np.float64)),), text=text)


def _place_of_box(source: Source, region: BoxRegion, words: Words) -> Place:
    volume = source.volume
    first, last = region.slice_range
    if volume is None or not 0 <= first <= last < len(source.frames):
        raise ResultError(f"a box touches slices {first} to {last}, the images have {len(source.frames)} slices of a volume")
    if region.frame_of_reference_uid != volume.frame_of_reference_uid:
        raise ResultError("a box lies in another frame of reference than the images")
    line = closed(np.array(region.outline_px, np.float64))
    indices = range(first, last + 1)
    outlines = tuple(_outline(source, index, RegionKind.POLYLINE, line) for index in indices)
    polygons = tuple(_tuples(outline_in_space(volume, index, line)) for index in indices) if volume.frame_of_reference_uid else ()
    key = "place_on_slices" if last > first else "place_on_slice"
    return Place(0, outlines, polygons, volume.frame_of_reference_uid, words(key, first=first + 1, last=last + 1))


def _outline(source: Source, index: int, kind: RegionKind, points_px: Points) -> Outline:
    return Outline(source.frames[index].reference, index, kind, tuple((float(x), float(y)) for x, y in points_px))


def _tuples(points_lps_mm: Points) -> tuple[Point3, ...]:
    line = tuple((float(x), float(y), float(z)) for x, y, z in points_lps_mm)
    return (*line[:-1], line[0])  # closed to the last bit
