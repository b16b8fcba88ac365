"""Made-up series of one asymmetric block of values, in every form in which scanners send it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import data_store
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

PYDICOM = Path(pydicom.__file__).parent / "data" / "test_files"
PYDICOM_DATA = Path(data_store.__file__).parent / "data"

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))
CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
FLIPPED = ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
OBLIQUE = ((0.8, 0.6, 0.0), (-0.48, 0.64, 0.6))


@dataclass(frozen=True)
class Block:
    """Slices of one orientation, evenly spaced along row direction x column direction."""

    directions: tuple[tuple[float, ...], tuple[float, ...]] = AXIAL
    origin_lps_mm: tuple[float, float, float] = (-12.5, 7.25, 30.0)
    spacing_mm: tuple[float, float, float] = (2.5, 0.75, 0.5)
    shape: tuple[int, int, int] = (6, 8, 10)

    @property
    def normal(self) -> np.ndarray:
        return np.cross(*self.directions)

    @property
    def affine(self) -> np.ndarray:
        affine = np.eye(4)
        affine[:3, 0] = self.normal * self.spacing_mm[0]
        affine[:3, 1] = np.array(self.directions[1]) * self.spacing_mm[1]
        affine[:3, 2] = np.array(self.directions[0]) * self.spacing_mm[2]
        affine[:3, 3] = self.origin_lps_mm
        return affine

    def stored(self) -> np.ndarray:
        """Every voxel another value."""
        return (np.arange(np.prod(self.shape)) * 7 % 3001).reshape(self.shape).astype(np.int16)


def image(pixels: np.ndarray, **elements: object) -> Dataset:
    """One instance in memory, in colour if the last axis is three; `elements` replaces header elements by keyword, None removes one."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.Modality, ds.InstanceNumber, ds.ImageType = "CT", 1, ["ORIGINAL", "PRIMARY", "AXIAL"]
    in_color = pixels.ndim > 2 and pixels.shape[-1] == 3
    ds.Rows, ds.Columns = pixels.shape[-3:-1] if in_color else pixels.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (3, "RGB") if in_color else (1, "MONOCHROME2")
    if in_color:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = pixels.dtype.itemsize * 8
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    for keyword, value in elements.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds


def single_frames(block: Block, **elements: object) -> list[Dataset]:
    """The block as one instance a slice, CT with intercept -1024."""
    study, series, reference = generate_uid(), generate_uid(), generate_uid()
    found = []
    for index, pixels in enumerate(block.stored()):
        ds = image(pixels, InstanceNumber=index + 1)
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, reference
        ds.ImageOrientationPatient = [*block.directions[0], *block.directions[1]]
        ds.ImagePositionPatient = list(block.origin_lps_mm + block.normal * block.spacing_mm[0] * index)
        ds.PixelSpacing, ds.SliceThickness = list(block.spacing_mm[1:]), block.spacing_mm[0]
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
        for keyword, value in elements.items():
            setattr(ds, keyword, value)
        found.append(ds)
    return found


def _item(**elements: object) -> Dataset:
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def enhanced(slices: Sequence[Dataset], order: Sequence[int] | None = None) -> Dataset:
    """The same slices as frames of one Enhanced CT; what they agree on is shared, positions and rescale stand per frame."""
    order = order if order is not None else range(len(slices))
    ds = copy.deepcopy(slices[0])
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept", "RescaleType"):
        del ds[keyword]
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.NumberOfFrames = len(order)
    shared = _item(
        PlaneOrientationSequence=[_item(ImageOrientationPatient=slices[0].ImageOrientationPatient)],
        PixelMeasuresSequence=[_item(PixelSpacing=slices[0].PixelSpacing, SliceThickness=slices[0].SliceThickness)],
    )
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = [
        _item(
            PlanePositionSequence=[_item(ImagePositionPatient=slices[i].ImagePositionPatient)],
            FrameContentSequence=[_item(StackID="1", InStackPositionNumber=i + 1, DimensionIndexValues=[1, i + 1])],
            PixelValueTransformationSequence=[
                _item(RescaleSlope=slices[i].RescaleSlope, RescaleIntercept=slices[i].RescaleIntercept, RescaleType="HU")
            ],
        )
        for i in order
    ]
    ds.PixelData = b"".join(slices[i].PixelData for i in order)
    return ds


def saved(data_sets: Sequence[Dataset], folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True, parents=True)
    paths = []
    for number, ds in enumerate(data_sets):
        paths.append(folder / f"{number:03d}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths
