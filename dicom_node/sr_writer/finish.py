"""What every result has in common: patient and study as in the source, equipment, marks, file meta."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import highdicom
import pydicom
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.domain.equipment import NODE_MANUFACTURER, NODE_MODEL_NAME
from dicom_node.domain.results import Code, Stage

if TYPE_CHECKING:
    from dicom_node.sr_writer.build import BuildRequest

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
    "SpecificCharacterSet",
)
_NAMES = {"SR": "report", "SEG": "segmentation", "SC": "pictures"}
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


def finish(request: BuildRequest, header: pydicom.Dataset, kind: str, data_set: pydicom.Dataset) -> None:
    """Complete an object in place.

    Args:
        request: The run.
        header: Normalised header of the first source instance.
        kind: SR, SEG or SC.
        data_set: Object from the library; changed.
    """
    model = request.result.model
    for keyword in _FROM_SOURCE:
        if keyword in header:
            data_set[keyword] = copy.deepcopy(header[keyword])
    if kind != "SR" and header.get("BodyPartExamined"):
        data_set.BodyPartExamined = header.BodyPartExamined
        if header.get("Laterality"):
            data_set.Laterality = header.Laterality
    research = model.stage is not Stage.CLEARED
    suffix = " (not for diagnosis)" if research else ""
    revision = f" rev. {request.key.revision}" if request.predecessors else ""
    data_set.SeriesDescription = f"AI {model.title[: 64 - len(revision + suffix) - 16]} {_NAMES[kind]}{revision}{suffix}"
    date, time = request.content_at.strftime("%Y%m%d"), request.content_at.strftime("%H%M%S")
    data_set.SeriesDate = data_set.ContentDate = date
    data_set.SeriesTime = data_set.ContentTime = time
    data_set.Manufacturer, data_set.ManufacturerModelName = NODE_MANUFACTURER, NODE_MODEL_NAME
    data_set.SoftwareVersions, data_set.DeviceSerialNumber = request.node_version, request.ae_title
    data_set.ContentQualification = "RESEARCH" if research else "PRODUCT"
    if request.source[0].get("SpecificCharacterSet"):
        # an archive refuses an object whose set does not fit the patient it has; our own words are ASCII in any set
        data_set.SpecificCharacterSet = request.source[0].SpecificCharacterSet
    data_set.file_meta.SourceApplicationEntityTitle = request.ae_title
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
