"""Builds every kind of result object once from a made-up volume: proof that the writer works here, and its tables are loaded."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicom_node.domain.jobs import JobKey
from dicom_node.domain.results import Code, InferenceResult, Measurement, ModelIdentity, Segment, Stage
from dicom_node.domain.volume import Volume
from dicom_node.sr_writer.build import BuildRequest, ResultObject, build_results

_ROWS = 32
_UIDS = ("2.25.1", "2.25.2", "2.25.3")


def build_self_test(now: datetime) -> tuple[ResultObject, ...]:
    """Build results for a cube in three slices of no patient.

    Raises:
        ResultError: the object library does not work here.
    """
    source = [_slice(number) for number in range(3)]
    values = np.full((3, _ROWS, _ROWS), -900, np.float32)
    mask = np.zeros(values.shape, np.bool_)
    mask[:, 8:24, 8:24] = True
    volume = Volume(values, np.diag([1.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]], "2.25.9", _UIDS)
    lung = Code("39607008", "SCT", "Lung")
    result = InferenceResult(
        model=ModelIdentity(
            "self-test", "Self-test", "1", "dicom-node", "0" * 64, "0" * 64, "2.25.4", "none", "none", Stage.RESEARCH, "self-test"
        ),
        finding=lung,
        finding_site=None,
        measurements=(Measurement("v", "Volume", Code("118565006", "SCT", "Volume"), 0.8, Code("mL", "UCUM", "milliliter"), ""),),
        segments=(Segment("cube", "Cube", mask, Code("91723000", "SCT", "Anatomical Structure"), lung, None, (70, 170, 220)),),
        highlights=(),
        warnings=(),
        parameters=("kind=self-test",),
        started_at=now,
        compute_s=0.0,
    )
    return build_results(BuildRequest(JobKey("2.25.5", 1, "self-test", "0" * 64), source, volume, result, "0", "SELFTEST"))


def _slice(number: int) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = CTImageStorage, _UIDS[number], "CT"
    ds.PatientName, ds.PatientID = "Self^Test", "SELFTEST"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "2.25.5", "2.25.6", "2.25.9"
    ds.Manufacturer, ds.BodyPartExamined, ds.SeriesNumber, ds.InstanceNumber = "dicom-node", "CHEST", 1, number + 1
    ds.PositionReferenceIndicator, ds.ImageType = "", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.Rows, ds.Columns = [1, 1], 1, _ROWS, _ROWS
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds
