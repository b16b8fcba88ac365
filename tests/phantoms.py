"""Made-up images: a small chest with body, two lungs and a trachea; asymmetric, so that a flip shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SLICES, ROWS, COLUMNS = 24, 64, 64
SPACING_MM = (10.0, 5.0, 5.0)


def chest_values() -> np.ndarray:
    """HU, shape (slice, row, column); inferior slice first, the right lung (left in the image) is the larger one."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in (SLICES, ROWS, COLUMNS)), indexing="ij")
    values = np.full(z.shape, -1000.0, np.float32)
    values[((y - 32) / 26) ** 2 + ((x - 32) / 30) ** 2 < 1] = 40.0
    values[((z - 11) / 10) ** 2 + ((y - 32) / 17) ** 2 + ((x - 18) / 11) ** 2 < 1] = -850.0
    values[((z - 11) / 9) ** 2 + ((y - 32) / 15) ** 2 + ((x - 46) / 9) ** 2 < 1] = -850.0
    values[(z >= 14) & (((y - 34) / 2.2) ** 2 + ((x - 32) / 2.2) ** 2 < 1)] = -1000.0
    emphysema = ((z - 14) / 3) ** 2 + ((y - 28) / 5) ** 2 + ((x - 16) / 4) ** 2 < 1
    values[emphysema & (values == -850.0)] = -970.0
    return values


def chest_series(study_instance_uid: str | None = None, **elements: object) -> list[Dataset]:
    """One CT series of the phantom; `elements` replaces header elements by keyword."""
    study, series, frame = study_instance_uid or generate_uid(), generate_uid(), generate_uid()
    data_sets = []
    for index, pixels in enumerate(chest_values()):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = CTImageStorage, ds.SOPInstanceUID
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Phantom^Chest", "PH-4711", "19600229", "O"
        ds.AccessionNumber, ds.StudyID, ds.StudyDate, ds.StudyTime = "ACC-0815", "1", "20240102", "101500"
        ds.ReferringPhysicianName, ds.StudyDescription = "", "CT chest"
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.Manufacturer, ds.BodyPartExamined, ds.SeriesNumber = "CT", "Phantoms", "CHEST", 2
        ds.InstanceNumber, ds.ImageType, ds.PositionReferenceIndicator = index + 1, ["ORIGINAL", "PRIMARY", "AXIAL"], ""
        ds.KVP, ds.AcquisitionNumber = 120, 1
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [-160, -160, index * SPACING_MM[0]], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [5, 5], SPACING_MM[0]
        ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = ROWS, COLUMNS, 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
        ds.PixelData = (pixels + 1024).astype(np.int16).tobytes()
        for keyword, value in elements.items():
            if value is None:
                del ds[keyword]
            else:
                setattr(ds, keyword, value)
        data_sets.append(ds)
    return data_sets


def write(data_sets: list[Dataset], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, ds in enumerate(data_sets):
        path = folder / f"{number:03d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths
