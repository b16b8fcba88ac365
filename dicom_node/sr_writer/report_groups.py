"""Measurement groups of a report: TID 1410, 1411 or 1501, as the place of what they describe asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import highdicom
import numpy as np
from highdicom import sr
from pydicom.sr.codedict import codes

from dicom_node.sr_writer.content import CERTAINTY, Group, Number, Outline, Place
from dicom_node.sr_writer.finish import concept
from dicom_node.sr_writer.form import SrClass
from dicom_node.sr_writer.source import ImageReference, Source

if TYPE_CHECKING:
    from dicom_node.sr_writer.build import BuildRequest

MeasurementGroup = (
    sr.PlanarROIMeasurementsAndQualitativeEvaluations
    | sr.VolumetricROIMeasurementsAndQualitativeEvaluations
    | sr.MeasurementsAndQualitativeEvaluations
)


@dataclass(frozen=True, slots=True, eq=False)
class GroupWriter:
    """Writes the groups of one report.

    Attributes:
        segmentation: The segmentation that groups refer to, if there is one.
    """

    request: BuildRequest
    source: Source
    segmentation: highdicom.seg.Segmentation | None

    def write(self, group: Group) -> MeasurementGroup:
        """Write one group with tracking identifiers, algorithm, figures and place.

        Source: TID 1410 for one region, 1411 for a segment or several regions, 1501 without a place; TID 4019.
        """
        result = self.request.result
        place = group.place or Place()
        common: dict[str, Any] = {
            "tracking_identifier": sr.TrackingIdentifier(group.tracking_uid, group.tracking_id),
            "finding_type": concept(group.finding),
            "finding_sites": [sr.FindingSite(concept(group.site))] if group.site else None,
            "algorithm_id": sr.AlgorithmIdentification(result.model.title, result.model.version, parameters=list(result.parameters)),
            "measurements": [*(m for n in group.numbers for m in _measurement(n)), *_certainty(group)],
            "qualitative_evaluations": [sr.QualitativeEvaluation(concept(a.concept), concept(a.value)) for a in group.answers],
        }
        planar, volumetric = sr.PlanarROIMeasurementsAndQualitativeEvaluations, sr.VolumetricROIMeasurementsAndQualitativeEvaluations
        if place.segment_number:
            return volumetric(referenced_segment=self._segment(place.segment_number), **common)
        if place.polygons_lps_mm and self.request.form.sr_class is SrClass.COMPREHENSIVE_3D:
            polygons = [np.array(p, np.float64) for p in place.polygons_lps_mm]
            if len(polygons) == 1:
                return planar(referenced_region=sr.ImageRegion3D("POLYGON", polygons[0], place.frame_of_reference_uid), **common)
            surface = sr.VolumeSurface("POLYGON", polygons, place.frame_of_reference_uid, source_series=self._series)
            return volumetric(referenced_volume_surface=surface, **common)
        if len(place.outlines) == 1:
            return planar(referenced_region=_region(place.outlines[0]), **common)
        if place.outlines:
            return volumetric(referenced_regions=[_region(o) for o in place.outlines], **common)
        images = [sr.SourceImageForMeasurementGroup(r.sop_class_uid, r.sop_instance_uid) for r in group.images]
        return sr.MeasurementsAndQualitativeEvaluations(source_images=images or None, **common)

    @property
    def _series(self) -> sr.SourceSeriesForSegmentation:
        return sr.SourceSeriesForSegmentation(self.source.headers[0].SeriesInstanceUID)

    def _segment(self, number: int) -> sr.ReferencedSegment:
        assert self.segmentation is not None  # noqa: S101 - a number is given only to segments of a segmentation
        return sr.ReferencedSegment(self.segmentation.SOPClassUID, self.segmentation.SOPInstanceUID, number, source_series=self._series)


def image_item(reference: ImageReference, relationship: sr.RelationshipTypeValues, name: sr.CodedConcept) -> sr.ImageContentItem:
    """Refer to an image, and to its frame if it has several."""
    frame = reference.frame_number
    return sr.ImageContentItem(
        name=name,
        referenced_sop_class_uid=reference.sop_class_uid,
        referenced_sop_instance_uid=reference.sop_instance_uid,
        referenced_frame_numbers=[frame] if frame is not None else None,
        relationship_type=relationship,
    )


def _region(outline: Outline) -> sr.ImageRegion:
    image, frame = outline.image, outline.image.frame_number
    source = sr.SourceImageForRegion(image.sop_class_uid, image.sop_instance_uid, [frame] if frame is not None else None)
    return sr.ImageRegion(outline.kind.value, np.array(outline.points_px, np.float64), source)


def _measurement(number: Number) -> list[sr.Measurement]:
    """Write one number; one without a value is a sentence, since common readers fail on an empty Measured Value Sequence."""
    if number.written is None:
        return []
    derivation = concept(number.derivation) if number.derivation else None
    return [sr.Measurement(name=concept(number.concept), value=number.written, unit=concept(number.unit), derivation=derivation)]


def _certainty(group: Group) -> list[sr.Measurement]:
    if group.certainty_percent is None:
        return []
    return [sr.Measurement(name=concept(CERTAINTY), value=group.certainty_percent, unit=codes.UCUM.Percent)]
