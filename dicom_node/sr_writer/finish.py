"""What every result has in common: patient and study as in the source, equipment, marks, file meta."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import highdicom
import pydicom
from pydicom.sr.codedict import codes

from dicom_node.domain.equipment import NODE_MANUFACTURER, NODE_MODEL_NAME
from dicom_node.domain.profiles import DEFAULT_SERIES_NUMBER_BASE, ScModality
from dicom_node.domain.results import Code, Stage
from dicom_node.sr_writer.form import ObjectKind

if TYPE_CHECKING:
    from dicom_node.sr_writer.build import BuildRequest
    from dicom_node.sr_writer.result_set import ResultSet

_FROM_SOURCE = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "StudyDescription",
    "ProcedureCodeSequence",
)
_NAMES = {
    ObjectKind.SR: "report",
    ObjectKind.SEG: "segmentation",
    ObjectKind.SC: "pictures",
    ObjectKind.PM: "parametric map",
    ObjectKind.PR: "overlay",
    ObjectKind.KO: "key images",
    ObjectKind.DOC: "document",
    ObjectKind.RTSTRUCT: "contours",
}
_WITHOUT_BODY_PART = (ObjectKind.SR, ObjectKind.KO, ObjectKind.DOC)
_WITH_LATERALITY = (ObjectKind.SC, ObjectKind.PR)
_WITHOUT_CONTENT_DATE = (ObjectKind.PR, ObjectKind.RTSTRUCT)
_IHE_PROCESSING_ALGORITHM = ("1630", "99IHE", "Processing Algorithm")


def concept(code: Code) -> highdicom.sr.CodedConcept:
    """Convert a code into the library's form."""
    return highdicom.sr.CodedConcept(code.value, code.scheme, code.meaning)


def equipment(request: BuildRequest) -> highdicom.ContributingEquipment:
    """Describe the model as IHE asks for.

    Source: IHE AIR 6.5.3.1. The library knows only CID 7005, so the purpose is written afterwards.
    """
    model = request.result.model
    item = highdicom.ContributingEquipment(
        manufacturer=model.manufacturer,
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        manufacturer_model_name=model.title,
        software_versions=model.version,
        contribution_datetime=request.content_at.replace(tzinfo=None),
        contribution_description=f"{model.backend} {model.precision}, weights sha256 {model.weights_sha256[:16]}",
    )
    purpose = item.PurposeOfReferenceCodeSequence[0]
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = _IHE_PROCESSING_ALGORITHM
    item.DeviceUID = model.device_uid
    return item


def finish(results: ResultSet, kind: ObjectKind, data_set: pydicom.Dataset) -> None:
    """Complete an object in place: patient and study as in the source, equipment, marks, character set.

    Args:
        results: What the objects of the run share.
        kind: Kind of the object.
        data_set: Object from the library; changed.
    """
    request, header = results.request, results.source.headers[0]
    for keyword in _FROM_SOURCE:
        if keyword in header:
            data_set[keyword] = copy.deepcopy(header[keyword])
    if kind not in _WITHOUT_BODY_PART:
        _write_body_part(results, kind, data_set)
    data_set.SeriesDescription = _description(request, kind)
    data_set.SeriesNumber = int(data_set.SeriesNumber) - DEFAULT_SERIES_NUMBER_BASE + request.form.series_number_base
    if kind is ObjectKind.SC and request.form.sc_modality is ScModality.SOURCE:
        data_set.Modality = header.Modality
    date, time = request.content_at.strftime("%Y%m%d"), request.content_at.strftime("%H%M%S")
    data_set.SeriesDate, data_set.SeriesTime = date, time
    if kind not in _WITHOUT_CONTENT_DATE:
        data_set.ContentDate, data_set.ContentTime = date, time
    data_set.Manufacturer, data_set.ManufacturerModelName = NODE_MANUFACTURER, NODE_MODEL_NAME
    data_set.SoftwareVersions, data_set.DeviceSerialNumber = request.node_version, request.ae_title
    data_set.ContentQualification = "PRODUCT" if request.result.model.stage is Stage.CLEARED else "RESEARCH"
    if results.repertoire.value:
        # an archive refuses an object whose set does not fit the patient it has
        data_set.SpecificCharacterSet = results.repertoire.value
    elif "SpecificCharacterSet" in data_set:
        del data_set.SpecificCharacterSet
    data_set.file_meta.SourceApplicationEntityTitle = request.ae_title


def _description(request: BuildRequest, kind: ObjectKind) -> str:
    """Series Description: the prefix, AI, the model, what it is, the revision, whether it may serve diagnosis; 64 characters."""
    suffix = "" if request.result.model.stage is Stage.CLEARED else " (not for diagnosis)"
    revision = f" rev. {request.key.revision}" if request.predecessors else ""
    begin = f"{request.form.description_prefix} AI".strip()
    fixed = len(f"{begin}  {_NAMES[kind]}{revision}{suffix}")
    return f"{begin} {request.result.model.title[: 64 - fixed]} {_NAMES[kind]}{revision}{suffix}"


def _write_body_part(results: ResultSet, kind: ObjectKind, data_set: pydicom.Dataset) -> None:
    """Copy Body Part Examined and Laterality; an empty Laterality says that the side, if there is one, is not known.

    Source: PS3.3 C.7.3.1, Laterality is type 2C for the paired parts of a body.
    """
    headers = results.source.headers
    if headers[0].get("BodyPartExamined"):
        data_set.BodyPartExamined = headers[0].BodyPartExamined
    sides = {str(h.get("Laterality") or h.get("ImageLaterality") or "") for h in headers}
    side = sides.pop() if len(sides) == 1 else ""
    if side in ("R", "L") and kind is not ObjectKind.PM:  # whose frames say it themselves
        data_set.Laterality = side
    elif not data_set.get("BodyPartExamined") and kind in _WITH_LATERALITY:
        data_set.Laterality = ""
