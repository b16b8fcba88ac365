"""Segments as a Segmentation on the grid of the source."""

from __future__ import annotations

import highdicom
import numpy as np
from highdicom.seg import SegmentDescription
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from dicom_node.domain.equipment import NODE_MANUFACTURER, NODE_MODEL_NAME
from dicom_node.domain.results import Segment
from dicom_node.sr_writer.compose import tracking_uid
from dicom_node.sr_writer.finish import concept, equipment
from dicom_node.sr_writer.form import SegKind
from dicom_node.sr_writer.grid import Grid, grid_of
from dicom_node.sr_writer.result_set import ResultSet

SERIES_NUMBER = 9910


def build_segmentation(results: ResultSet) -> highdicom.seg.Segmentation:
    """Write the segments, full matrix, frames without a marked voxel left out.

    Source: PS3.3 A.51, A.51.5. Viewers misplace cropped matrices and show only the last instance of a SEG series, hence one full object.
    """
    request, kind = results.request, results.seg_kind
    touched = sorted({index for s in results.segments for index in results.source.touched(s)})
    grid = grid_of(results.source, touched[0], touched[-1] + 1)
    compressed = request.form.rle and kind is not SegKind.BINARY
    data_set = highdicom.seg.Segmentation(
        source_images=list(grid.headers),
        pixel_array=grid.arranged(_pixels(results, grid)),
        segmentation_type=kind.value,
        segment_descriptions=[_description(results, number, s) for number, s in enumerate(results.segments, start=1)],
        series_instance_uid=request.uid("series", "SEG"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=request.uid("instance", "SEG", "1"),
        instance_number=1,
        manufacturer=NODE_MANUFACTURER,
        manufacturer_model_name=NODE_MODEL_NAME,
        software_versions=request.node_version,
        device_serial_number=request.ae_title,
        content_label="AI_SEG",
        content_description=request.result.model.title[:64],
        contributing_equipment=[equipment(request)],
        omit_empty_frames=len(touched) > 1 or not grid.is_series,
        transfer_syntax_uid=RLELossless if compressed else ExplicitVRLittleEndian,
    )
    if grid.slice_mm:  # of a single frame no reader could tell it otherwise
        measures = data_set.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.SpacingBetweenSlices = round(grid.slice_mm, 6)
    return data_set


def _pixels(results: ResultSet, grid: Grid) -> NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]:
    """Number the segments' pixels, (frame, row, column); stack them, (..., segment), where they overlap or are fractions.

    Fifty segments of a CT stacked take fifty times the memory of their numbers, and the library takes either.
    """
    masks = [s.mask[grid.first : grid.last] for s in results.segments]
    maps = {m.id: m.values[grid.first : grid.last] for m in results.request.result.maps}
    if results.seg_kind is SegKind.FRACTIONAL and any(s.id in maps for s in results.segments):
        fractions = [np.clip(maps.get(s.id, mask), 0, 1) for s, mask in zip(results.segments, masks, strict=True)]
        return np.stack(fractions, axis=-1).astype(np.float32)
    if results.overlap:
        return np.stack(masks, axis=-1).astype(np.uint8)
    labels = np.zeros(masks[0].shape, np.uint8 if len(masks) < 256 else np.uint16)
    for number, (segment, mask) in enumerate(zip(results.segments, masks, strict=True), start=1):
        for index in results.source.touched(segment):
            labels[index - grid.first][mask[index - grid.first]] = number
    return labels


def _description(results: ResultSet, number: int, segment: Segment) -> SegmentDescription:
    request, model = results.request, results.request.result.model
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=model.title,
        version=model.version,
        family=codes.DCM.ArtificialIntelligence,
        parameters=dict(p.partition("=")[::2] for p in request.result.parameters) or None,  # a step without any is a name alone
    )
    return SegmentDescription(
        segment_number=number,
        segment_label=segment.label[:64],
        segmented_property_category=concept(segment.category),
        segmented_property_type=concept(segment.property_type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=tracking_uid(request, segment),
        tracking_id=segment.label,
        anatomic_regions=[concept(segment.anatomic_site)] if segment.anatomic_site else None,
        display_color=highdicom.color.CIELabColor.from_rgb(*segment.color_rgb),
    )
