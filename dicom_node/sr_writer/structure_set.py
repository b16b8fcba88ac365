"""Contours of segments as an RT Structure Set: for treatment planning systems, which read nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage

from dicom_node.domain.results import Segment
from dicom_node.sr_writer.data_set import started_data_set
from dicom_node.sr_writer.form import ObjectKind
from dicom_node.sr_writer.outlines import Points, mask_outlines, outline_in_space
from dicom_node.sr_writer.result_set import ResultSet

SERIES_NUMBER = 9960
_DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"


def build_structure_set(results: ResultSet) -> Iterator[pydicom.Dataset]:
    """Write one structure set; none without a volume in a frame of reference or without a marked voxel.

    Source: PS3.3 A.19, C.8.8.5, C.8.8.6, C.8.8.8.
    """
    segments = [s for s in results.request.result.segments if results.source.frames and results.source.is_marked(s)]
    if not segments or results.source.volume is None or not results.source.is_located:
        return
    data_set = started_data_set(results, ObjectKind.RTSTRUCT, RTStructureSetStorage, SERIES_NUMBER)
    data_set.StructureSetLabel = "AI"
    data_set.StructureSetName = results.request.result.model.title[:64]
    data_set.StructureSetDate = results.request.content_at.strftime("%Y%m%d")
    data_set.StructureSetTime = results.request.content_at.strftime("%H%M%S")
    data_set.ApprovalStatus, data_set.OperatorsName = "UNAPPROVED", ""
    frame_uid = results.source.volume.frame_of_reference_uid
    data_set.FrameOfReferenceUID, data_set.PositionReferenceIndicator = frame_uid, ""
    data_set.ReferencedFrameOfReferenceSequence = [_frame_of_reference(results, frame_uid)]
    data_set.StructureSetROISequence = [_structure(n, s, frame_uid) for n, s in enumerate(segments, start=1)]
    data_set.ROIContourSequence = [_contours(results, n, s) for n, s in enumerate(segments, start=1)]
    data_set.RTROIObservationsSequence = [_observation(n) for n in range(1, len(segments) + 1)]
    yield data_set


def _frame_of_reference(results: ResultSet, frame_uid: str) -> Dataset:
    first = results.source.headers[0]
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = first.SeriesInstanceUID
    series.ContourImageSequence = [_image(str(h.SOPClassUID), str(h.SOPInstanceUID), None) for h in results.source.headers]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _DETACHED_STUDY, first.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = frame_uid, [study]
    return frame


def _structure(number: int, segment: Segment, frame_uid: str) -> Dataset:
    item = Dataset()
    item.ROINumber, item.ReferencedFrameOfReferenceUID = number, frame_uid
    item.ROIName, item.ROIGenerationAlgorithm = segment.label[:64], "AUTOMATIC"
    return item


def _contours(results: ResultSet, number: int, segment: Segment) -> Dataset:
    """Write the lines of each slice; where a slice has a hole they are marked as to be combined by exclusive or."""
    volume = results.source.volume
    assert volume is not None  # noqa: S101 - checked where the object begins
    item = Dataset()
    item.ReferencedROINumber, item.ROIDisplayColor = number, list(segment.color_rgb)
    lines = [(k, line) for k in results.source.touched(segment) for line in mask_outlines(segment.mask[k])]
    has_holes = any(_is_hole(line) for _, line in lines)
    item.ContourSequence = []
    for index, line in lines:
        reference = results.source.frames[index].reference
        contour = Dataset()
        contour.ContourImageSequence = [_image(reference.sop_class_uid, reference.sop_instance_uid, reference.frame_number)]
        contour.ContourGeometricType = "CLOSEDPLANAR_XOR" if has_holes else "CLOSED_PLANAR"
        points = outline_in_space(volume, index, line[:-1])
        contour.NumberOfContourPoints = len(points)
        contour.ContourData = [f"{v:.3f}" for v in points.ravel()]
        item.ContourSequence.append(contour)
    return item


def _is_hole(line: Points) -> bool:
    """Tell a hole by its turn: the inside lies on the right of each step, so that the area of an outer line is positive."""
    x, y = line[:-1, 0], line[:-1, 1]
    return bool(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) < 0)


def _observation(number: int) -> Dataset:
    item = Dataset()
    item.ObservationNumber, item.ReferencedROINumber = number, number
    item.RTROIInterpretedType, item.ROIInterpreter = "", ""
    return item


def _image(sop_class_uid: str, sop_instance_uid: str, frame_number: int | None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    if frame_number is not None:
        item.ReferencedFrameNumber = frame_number
    return item
