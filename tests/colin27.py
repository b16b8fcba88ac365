"""Colin27 as MR series: the T1-weighted average of one head, from Debian's package mricron-data, in several orientations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from scipy import ndimage

from dicom_node.domain.uids import derive_uid

FILE = Path("/usr/share/mricron/templates/ch2.nii.gz")
_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Steps of slice, row and column in the volume's own right, anterior, superior: index of the axis, direction.
ORIENTATIONS = {
    "axial": ((2, 1), (1, -1), (0, -1)),
    "axial from the head down, left side left": ((2, -1), (1, -1), (0, 1)),
    "sagittal": ((0, 1), (2, -1), (1, -1)),
    "coronal": ((1, -1), (2, -1), (0, -1)),
}


@dataclass(frozen=True)
class Head:
    """Voxels in slice order, and the affine of (slice, row, column, 1) to LPS millimetres."""

    values: np.ndarray
    affine_lps_mm: np.ndarray


def nifti() -> nib.Nifti1Image:
    return nib.load(FILE)


def head(orientation: str = "axial") -> Head:
    """The volume with its axes exchanged and flipped, no voxel changed."""
    image = nifti()
    values, affine = np.asarray(image.dataobj), image.affine
    turned = np.eye(4)
    turned[:3, :3] = 0.0
    for index, (axis, sign) in enumerate(ORIENTATIONS[orientation]):
        turned[axis, index] = sign
        turned[axis, 3] += values.shape[axis] - 1 if sign < 0 else 0
    axes = [axis for axis, _ in ORIENTATIONS[orientation]]
    flipped = [index for index, (_, sign) in enumerate(ORIENTATIONS[orientation]) if sign < 0]
    return Head(np.ascontiguousarray(np.flip(values.transpose(axes), flipped)), _LPS_FROM_RAS @ affine @ turned)


def as_axial(mask: np.ndarray, orientation: str) -> np.ndarray:
    """A mask of one orientation in the slices of the axial one."""
    canonical = np.flip(mask, [i for i, (_, sign) in enumerate(ORIENTATIONS[orientation]) if sign < 0])
    canonical = canonical.transpose(np.argsort([axis for axis, _ in ORIENTATIONS[orientation]]))
    return np.flip(canonical.transpose([axis for axis, _ in ORIENTATIONS["axial"]]), [1, 2])


def oblique(degrees: float, spacing_mm: tuple[float, float, float]) -> Head:
    """The head in slices that are tilted about the left-right axis, resampled (linear) at another spacing."""
    source = head()
    angle = np.deg2rad(degrees)
    rotation = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    extent = np.array(source.values.shape) - 1
    center = (source.affine_lps_mm @ [*extent / 2, 1])[:3]
    shape = tuple(int(np.ceil(length * 1.15 / spacing)) for length, spacing in zip(extent, spacing_mm, strict=True))
    affine = np.eye(4)
    affine[:3, :3] = rotation @ source.affine_lps_mm[:3, :3] @ np.diag(spacing_mm)
    affine[:3, 3] = center - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    to_source = np.linalg.inv(source.affine_lps_mm) @ affine
    values = ndimage.affine_transform(source.values.astype(np.float32), to_source[:3, :3], to_source[:3, 3], shape, order=1)
    return Head(np.rint(values).astype(np.uint8), affine)


def series(taken: Head, **elements: object) -> list[Dataset]:
    """One MR series of single-frame instances; `elements` replaces header elements by keyword, None removes them."""
    affine = taken.affine_lps_mm
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    data_sets = []
    for index, pixels in enumerate(taken.values):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, derive_uid("colin27", "instance", str(index))
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = MRImageStorage, ds.SOPInstanceUID
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = (
            "Colin^Twentyseven",
            "CH2",
            "19700101",
            "M",
            "027Y",
        )
        ds.AccessionNumber, ds.StudyID, ds.StudyDate, ds.StudyTime, ds.ReferringPhysicianName = "ACC-27", "1", "19980101", "120000", ""
        ds.StudyInstanceUID, ds.SeriesInstanceUID = derive_uid("colin27", "study"), derive_uid("colin27", "series")
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = derive_uid("colin27", "frame"), ""
        ds.Modality, ds.Manufacturer, ds.BodyPartExamined, ds.SeriesNumber = "MR", "Philips", "HEAD", 1
        ds.SeriesDescription, ds.MRAcquisitionType = "T1 3D SPGR", "3D"
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "GR", "SP", ""
        ds.RepetitionTime, ds.EchoTime, ds.FlipAngle, ds.EchoTrainLength = 18, 10, 30, 1
        ds.InstanceNumber, ds.ImageType = index + 1, ["ORIGINAL", "PRIMARY", "M", "SE"]
        ds.ImagePositionPatient = [round(float(v), 6) for v in (affine @ [index, 0, 0, 1])[:3]]
        ds.ImageOrientationPatient = [round(float(v), 9) for v in (*affine[:3, 2] / spacing[2], *affine[:3, 1] / spacing[1])]
        ds.PixelSpacing, ds.SliceThickness = [round(float(spacing[1]), 6), round(float(spacing[2]), 6)], round(float(spacing[0]), 6)
        ds.Rows, ds.Columns = pixels.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.PixelData = pixels.astype(np.uint16).tobytes()
        for keyword, value in elements.items():
            if value is None:
                del ds[keyword]
            else:
                setattr(ds, keyword, value)
        data_sets.append(ds)
    return data_sets
