"""Data sets that the object library has no class for: patient, study, series and file meta information."""

from __future__ import annotations

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_node.sr_writer.finish import equipment
from dicom_node.sr_writer.form import ObjectKind
from dicom_node.sr_writer.result_set import ResultSet


def started_data_set(results: ResultSet, kind: ObjectKind, sop_class_uid: str, series_number: int) -> pydicom.Dataset:
    """Begin an object; `finish` adds what identifies patient and study."""
    request = results.request
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(request.uid("instance", kind.value, "1"))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    data_set.SOPClassUID, data_set.SOPInstanceUID = sop_class_uid, meta.MediaStorageSOPInstanceUID
    data_set.Modality, data_set.SeriesInstanceUID = kind.value, request.uid("series", kind.value)
    data_set.SeriesNumber, data_set.InstanceNumber = series_number, 1
    data_set.InstanceCreationDate = request.content_at.strftime("%Y%m%d")
    data_set.InstanceCreationTime = request.content_at.strftime("%H%M%S")
    data_set.ContributingEquipmentSequence = [equipment(request)]
    return data_set
