"""Measurements as a Comprehensive 3D SR, template TID 1500."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import highdicom
import pydicom
from highdicom import sr
from pydicom.sr.codedict import codes

from dicom_node.domain.equipment import NODE_MANUFACTURER
from dicom_node.domain.results import Measurement, Predecessor, Stage
from dicom_node.sr_writer.finish import concept, equipment
from dicom_node.sr_writer.overlay_pages import chosen_slices
from dicom_node.sr_writer.segmentation import tracking_uid

if TYPE_CHECKING:
    from dicom_node.sr_writer.build import BuildRequest

SERIES_NUMBER = 9901
_PROCEDURE = sr.CodedConcept("25045-6", "LN", "CT unspecified body region")
_COMMENT = sr.CodedConcept("121106", "DCM", "Comment")
_NODE_SCHEME = "99DCMNODE"
_DECIMALS = 4


def build_report(
    request: BuildRequest, headers: Sequence[pydicom.Dataset], segmentation: highdicom.seg.Segmentation | None
) -> sr.Comprehensive3DSR:
    """Write the measurements with finding, algorithm, tracking identifiers and every warning as a comment.

    A report that takes the place of others names them in Predecessor Documents Sequence and is complete in itself.

    Source: TID 1500, 1411, 1501, 4019; root title 126000 since viewers key on it; procedure code from CID 100; PS3.3 C.17.2.
    """
    result = request.result
    group = _group(request, headers, segmentation)
    for text in comments(request):
        group[0].ContentSequence.append(sr.TextContentItem(_COMMENT, text, sr.RelationshipTypeValues.CONTAINS))
    observer = sr.ObserverContext(
        codes.DCM.Device,
        sr.DeviceObserverIdentifyingAttributes(
            uid=result.model.device_uid,
            name=request.ae_title,
            manufacturer_name=result.model.manufacturer,
            model_name=result.model.title,
        ),
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=_PROCEDURE,
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=[headers[i] for i in _shown_slices(request, len(headers))],
    )
    data_set = sr.Comprehensive3DSR(
        evidence=[*headers, *([segmentation] if segmentation is not None else [])],
        content=report,
        series_instance_uid=request.uid("series", "SR"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=request.uid("instance", "SR", "1"),
        instance_number=1,
        manufacturer=NODE_MANUFACTURER,
        is_complete=True,
        contributing_equipment=[equipment(request)],
        previous_versions=[_document(p) for p in request.predecessors] or None,
    )
    data_set.CodingSchemeIdentificationSequence = [_node_scheme()]
    return data_set


def comments(request: BuildRequest) -> list[str]:
    """List what must be read beside the numbers: stage, what it replaces, warnings, intended use, reference ranges."""
    model = request.result.model
    stage = [] if model.stage is Stage.CLEARED else [f"Research software (stage: {model.stage}). Not for diagnosis."]
    ranges = [f"{m.label}: reference range {m.reference_range}." for m in request.result.measurements if m.reference_range]
    replaces = [request.replaces] if request.replaces else []
    return [*stage, *replaces, *request.result.warnings, f"Intended use: {model.intended_use}", *ranges]


def _document(predecessor: Predecessor) -> pydicom.Dataset:
    document = pydicom.Dataset()
    document.StudyInstanceUID, document.SeriesInstanceUID = predecessor.study_instance_uid, predecessor.series_instance_uid
    document.SOPClassUID, document.SOPInstanceUID = predecessor.sop_class_uid, predecessor.sop_instance_uid
    return document


def _group(
    request: BuildRequest, headers: Sequence[pydicom.Dataset], segmentation: highdicom.seg.Segmentation | None
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations | sr.MeasurementsAndQualitativeEvaluations:
    result = request.result
    algorithm = sr.AlgorithmIdentification(result.model.title, result.model.version, parameters=list(result.parameters))
    sites = [sr.FindingSite(concept(result.finding_site or result.finding))]
    measurements = [_measurement(m) for m in result.measurements]
    if segmentation is None:
        return sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(request.uid("tracking", "group"), result.model.title),
            finding_type=concept(result.finding),
            finding_sites=sites,
            algorithm_id=algorithm,
            measurements=measurements,
        )
    segment = next(s for s in result.segments if s.mask.any())
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(tracking_uid(request, segment), segment.label),
        referenced_segment=sr.ReferencedSegment(
            segmentation.SOPClassUID,
            segmentation.SOPInstanceUID,
            1,
            source_series=sr.SourceSeriesForSegmentation(headers[0].SeriesInstanceUID),
        ),
        finding_type=concept(result.finding),
        finding_sites=sites,
        algorithm_id=algorithm,
        measurements=measurements,
    )


def _shown_slices(request: BuildRequest, count: int) -> list[int]:
    """The slices that the overlay pages show; the evidence sequence names every instance anyway, at a tenth of the size."""
    return chosen_slices(request) or [count // 2]


def _measurement(measurement: Measurement) -> sr.Measurement:
    return sr.Measurement(
        name=concept(measurement.concept),
        value=round(measurement.value, _DECIMALS),
        unit=concept(measurement.unit),
        derivation=concept(measurement.derivation) if measurement.derivation else None,
    )


def _node_scheme() -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.CodingSchemeDesignator = _NODE_SCHEME
    item.CodingSchemeName = "dicom-node local codes"
    item.CodingSchemeResponsibleOrganization = NODE_MANUFACTURER
    return item
