"""Segments as a binary Segmentation on the grid of the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import highdicom
import numpy as np
import pydicom
from highdicom.seg import SegmentationTypeValues, SegmentDescription
from pydicom.sr.codedict import codes

from dicom_node.domain.equipment import NODE_MANUFACTURER, NODE_MODEL_NAME
from dicom_node.domain.results import Segment
from dicom_node.sr_writer.finish import concept, equipment

if TYPE_CHECKING:
    from dicom_node.sr_writer.build import BuildRequest

SERIES_NUMBER = 9910


def build_segmentation(
    request: BuildRequest, headers: Sequence[pydicom.Dataset], segments: Sequence[Segment]
) -> highdicom.seg.Segmentation:
    """Write the segments, full matrix, frames without a marked voxel left out.

    Args:
        request: The run.
        headers: Normalised source headers, slice order.
        segments: Each with at least one marked voxel.

    Source: PS3.3 A.51. Viewers misplace cropped matrices and show only the last instance of a SEG series, hence one full object.
    """
    touched = np.flatnonzero(np.any([s.mask.any(axis=(1, 2)) for s in segments], axis=0))
    first, last = int(touched[0]), int(touched[-1]) + 1
    pixels = np.stack([s.mask[first:last] for s in segments], axis=-1).astype(np.uint8)
    data_set = highdicom.seg.Segmentation(
        source_images=list(headers[first:last]),
        pixel_array=pixels,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(request, number, s) for number, s in enumerate(segments, start=1)],
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
        omit_empty_frames=len(touched) > 1,
    )
    data_set.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = round(request.volume.spacing_mm[0], 6)
    return data_set


def _description(request: BuildRequest, number: int, segment: Segment) -> SegmentDescription:
    model = request.result.model
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=model.title, version=model.version, family=codes.DCM.ArtificialIntelligence, parameters=parameters_of(request)
    )
    return SegmentDescription(
        segment_number=number,
        segment_label=segment.label,
        segmented_property_category=concept(segment.category),
        segmented_property_type=concept(segment.property_type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=tracking_uid(request, segment),
        tracking_id=segment.label,
        anatomic_regions=[concept(segment.anatomic_site)] if segment.anatomic_site else None,
        display_color=highdicom.color.CIELabColor.from_rgb(*segment.color_rgb),
    )


def tracking_uid(request: BuildRequest, segment: Segment) -> str:
    """Return the Tracking UID that SEG and SR share."""
    return request.uid("tracking", segment.id)


def parameters_of(request: BuildRequest) -> dict[str, str]:
    """Return the parameters of the run by name."""
    return dict(p.split("=", 1) for p in request.result.parameters)
