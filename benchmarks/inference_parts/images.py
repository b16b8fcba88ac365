"""Images made by code: a CT volume and a radiograph of blobs and noise, no patient's."""

from __future__ import annotations

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

SLICES, SIDE = 48, 256
RADIOGRAPH_ROWS, RADIOGRAPH_COLUMNS = 2500, 2048


def ct_volume() -> list[Dataset]:
    """A series of 48 slices of 256 x 256."""
    study, series, frame = (generate_uid() for _ in range(3))
    values = _blobs((SLICES, SIDE, SIDE))
    made = []
    for number in range(SLICES):
        ds = _image(CTImageStorage, "CT", study, series, number + 1)
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator, ds.KVP, ds.AcquisitionNumber = frame, "", 120, 1
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [-160, -160, number * 2.5], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [1.25, 1.25], 2.5
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
        _put(ds, values[number])
        made.append(ds)
    return made


def radiograph() -> list[Dataset]:
    """One image of 2500 x 2048."""
    ds = _image(DigitalXRayImageStorageForPresentation, "DX", generate_uid(), generate_uid(), 1)
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign, ds.PresentationLUTShape = "LOG", -1, "IDENTITY"
    ds.ImagerPixelSpacing, ds.PatientOrientation, ds.ImageLaterality, ds.ViewPosition = [0.143, 0.143], ["L", "F"], "U", "PA"
    _put(ds, _blobs((1, RADIOGRAPH_ROWS, RADIOGRAPH_COLUMNS))[0])
    return [ds]


def _image(sop_class: UID, modality: str, study: str, series: str, number: int) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = sop_class, generate_uid(), modality
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Bench^Mark", "BENCH", "19700101", "O"
    ds.AccessionNumber, ds.StudyID, ds.StudyDate, ds.StudyTime, ds.ReferringPhysicianName = "B1", "1", "20240102", "101500", ""
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = study, series, 1, number
    ds.Manufacturer, ds.BodyPartExamined, ds.ImageType = "Benchmarks", "CHEST", ["ORIGINAL", "PRIMARY", "AXIAL"]
    return ds


def _put(ds: pydicom.Dataset, values: NDArray[np.int16]) -> None:
    ds.Rows, ds.Columns = values.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelData = values.tobytes()


def _blobs(shape: tuple[int, int, int]) -> NDArray[np.int16]:
    random = np.random.default_rng(3)
    _slices, rows, columns = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    values = np.where(rows**2 + columns**2 < 0.7, 1064, 24) + random.integers(0, 60, shape)
    return values.astype(np.int16)
