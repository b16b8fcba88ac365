"""The report as a structured document: Comprehensive 3D, Comprehensive or Enhanced SR, template TID 1500; or Basic Text SR."""

from __future__ import annotations

import highdicom
import pydicom
from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.uid import BasicTextSRStorage

from dicom_node.domain.equipment import NODE_MANUFACTURER
from dicom_node.domain.results import Predecessor
from dicom_node.sr_writer.finish import concept, equipment
from dicom_node.sr_writer.form import SrClass
from dicom_node.sr_writer.illustrations import illustrate
from dicom_node.sr_writer.library import image_library
from dicom_node.sr_writer.lines import LineKind, plain, report_lines
from dicom_node.sr_writer.report_groups import GroupWriter, image_item
from dicom_node.sr_writer.result_set import ResultSet

Report = sr.Comprehensive3DSR | sr.ComprehensiveSR | sr.EnhancedSR
SERIES_NUMBER = 9901
_COMMENT = sr.CodedConcept("121106", "DCM", "Comment")
_NODE_SCHEME = "99DCMNODE"
_CONTAINS = sr.RelationshipTypeValues.CONTAINS
_SOURCE = sr.CodedConcept("260753009", "SCT", "Source")
_LANGUAGES = {"en": "English", "ko": "Korean"}
_CLASSES = {
    SrClass.COMPREHENSIVE_3D: sr.Comprehensive3DSR,
    SrClass.COMPREHENSIVE: sr.ComprehensiveSR,
    SrClass.ENHANCED: sr.EnhancedSR,
    SrClass.BASIC_TEXT: sr.EnhancedSR,
}


def build_report(results: ResultSet, made: list[pydicom.Dataset]) -> Report:
    """Write the content tree; the report is the root of the result set and names the other objects as evidence.

    A report that takes the place of others names them in Predecessor Documents Sequence and is complete in itself.

    Args:
        results: What the objects of the run share.
        made: Segmentation and parametric maps of the same run.

    Source: TID 1500, 1600; root title 126000 since viewers key on it; procedure code from CID 100; PS3.3 C.17.2.
    """
    request = results.request
    text_only = request.form.sr_class is SrClass.BASIC_TEXT
    tree = _text_tree(results) if text_only else _measurement_tree(results, made)
    children = tree.ContentSequence
    # with the children inside, the library copies and parses the whole tree for a property that nobody reads
    tree.ContentSequence = sr.ContentSequence()
    data_set: Report = _CLASSES[request.form.sr_class](
        evidence=[*results.source.headers, *made],
        content=tree,
        series_instance_uid=request.uid("series", "SR"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=request.uid("instance", "SR", "1"),
        instance_number=1,
        manufacturer=NODE_MANUFACTURER,
        is_complete=True,
        contributing_equipment=[equipment(request)],
        previous_versions=[_document(p) for p in request.predecessors] or None,
    )
    data_set.ContentSequence = children
    if text_only:
        data_set.SOPClassUID = data_set.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    data_set.CodingSchemeIdentificationSequence = [_node_scheme()]
    return data_set


def observer(results: ResultSet) -> sr.ObserverContext:
    """Describe the observer: the model, a device. Source: TID 1002, 1004."""
    model = results.request.result.model
    return sr.ObserverContext(
        codes.DCM.Device,
        sr.DeviceObserverIdentifyingAttributes(
            uid=model.device_uid, name=results.request.ae_title, manufacturer_name=model.manufacturer, model_name=model.title
        ),
    )


def _measurement_tree(results: ResultSet, made: list[pydicom.Dataset]) -> pydicom.Dataset:
    content = results.content
    segmentation = next((m for m in made if isinstance(m, highdicom.seg.Segmentation)), None)
    writer = GroupWriter(results.request, results.source, segmentation)
    groups = [writer.write(group) for group in content.groups]
    for sentence in content.sentences:
        groups[0][0].ContentSequence.append(sr.TextContentItem(_COMMENT, sentence.text, _CONTAINS))
    illustrate(results, content.groups, groups)
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer(results)),
        procedure_reported=concept(content.procedure),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(_language(results)),
    )
    children = report[0].ContentSequence
    children.insert(len(children) - 1, image_library([results.source.headers[i] for i in content.library]))
    return report[0]


def _text_tree(results: ResultSet) -> pydicom.Dataset:
    """Headings with sentences below, and the images, which have a name each since viewers fail on items without one.

    Source: TID 2000, 2002; PS3.3 A.35.1 allows no numbers and no coordinates.
    """
    root = sr.ContainerContentItem(name=sr.CodedConcept("18748-4", "LN", "Diagnostic Imaging Report"), template_id="2000")
    children = sr.ContentSequence(is_root=False)
    children.extend(sr.LanguageOfContentItemAndDescendants(_language(results)))
    children.extend(observer(results))
    section = sr.ContainerContentItem(name=codes.DCM.Findings, relationship_type=_CONTAINS)
    section.ContentSequence = sr.ContentSequence()
    for line in report_lines(results.content, results.words):
        if line.kind is not LineKind.HEADING:
            section.ContentSequence.append(sr.TextContentItem(sr.CodedConcept("121071", "DCM", "Finding"), plain(line), _CONTAINS))
    children.append(section)
    images = results.content.key_images or tuple(results.first_images)
    children.extend(image_item(reference, _CONTAINS, _SOURCE) for reference in images)
    root.ContentSequence = children
    return root


def _language(results: ResultSet) -> sr.CodedConcept:
    language = results.content.language
    return sr.CodedConcept(language, "RFC5646", _LANGUAGES.get(language, language))


def _document(predecessor: Predecessor) -> pydicom.Dataset:
    document = pydicom.Dataset()
    document.StudyInstanceUID, document.SeriesInstanceUID = predecessor.study_instance_uid, predecessor.series_instance_uid
    document.SOPClassUID, document.SOPInstanceUID = predecessor.sop_class_uid, predecessor.sop_instance_uid
    return document


def _node_scheme() -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.CodingSchemeDesignator = _NODE_SCHEME
    item.CodingSchemeName = "dicom-node local codes"
    item.CodingSchemeResponsibleOrganization = NODE_MANUFACTURER
    return item
