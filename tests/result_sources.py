"""Small sources of every kind that results are written for, with three markers at known places in the patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.domain.frames import Frame, FrameSet, Images
from dicom_node.domain.volume import Volume
from dicom_node.inference import volume_from_instances

NOW = datetime(2024, 1, 2, 10, 15, tzinfo=UTC)
MARKERS_LPS_MM = {"left": (22.0, -6.0, 4.0), "back": (-8.0, 18.0, -4.0), "head": (-16.0, -12.0, 12.0)}
"""Markers of 6 mm; no rotation or reflection takes them onto each other's places."""
VALUES = {"left": 300, "back": 500, "head": 700}
STUDY, SERIES, FRAME_OF_REFERENCE = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2", "1.2.826.0.1.3680043.8.498.3"
SIZE = (32, 40)
SPACING_MM = (2.0, 2.0)

CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "MG": "1.2.840.10008.5.1.4.1.1.1.2",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "US multi-frame": "1.2.840.10008.5.1.4.1.1.3.1",
    "SC": "1.2.840.10008.5.1.4.1.1.7",
    "Enhanced CT": "1.2.840.10008.5.1.4.1.1.2.1",
    "Enhanced MR": "1.2.840.10008.5.1.4.1.1.4.1",
}

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
FLIPPED = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
FEET_FIRST_PRONE = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def oblique() -> tuple[float, ...]:
    """An axial plane turned by 25 degrees about x, then 15 about z."""
    a, b = np.deg2rad(25), np.deg2rad(15)
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return tuple(float(round(v, 6)) for v in (turn_z @ turn_x)[:, :2].T.ravel())


@dataclass(frozen=True, eq=False)
class MadeSource:
    """Instances in the order that a writer expects, and what a model would see."""

    name: str
    data_sets: list[Dataset]
    images: Images

    @property
    def located(self) -> bool:
        return "FrameOfReferenceUID" in self.data_sets[0] and isinstance(self.images, Volume)


def stack(kind: str = "CT", orientation: Sequence[float] = AXIAL, *, slices: int = 12, slice_mm: float = 4.0) -> MadeSource:
    """A series of single-frame slices through the markers."""
    data_sets = []
    for index in range(slices):
        ds = header(kind, index + 1)
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = FRAME_OF_REFERENCE, ""
        ds.ImagePositionPatient = [float(round(v, 5)) for v in position(orientation, (index - slices / 2 + 0.5) * slice_mm)]
        ds.ImageOrientationPatient, ds.PixelSpacing, ds.SliceThickness = list(orientation), list(SPACING_MM), slice_mm
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1000
        ds.WindowCenter, ds.WindowWidth = -200, 1600
        gray(ds, pixels_at(ds.ImagePositionPatient, orientation))
        data_sets.append(ds)
    volume, ordered = volume_from_instances(data_sets)
    return MadeSource(f"{kind} {slices} slices", ordered, volume)


def position(orientation: Sequence[float], offset_mm: float) -> np.ndarray:
    """Image Position (Patient) of a plane whose middle is `offset_mm` along the normal from the origin."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    middle = np.cross(row, column) * offset_mm
    return middle - row * (SIZE[1] - 1) / 2 * SPACING_MM[1] - column * (SIZE[0] - 1) / 2 * SPACING_MM[0]


def pixels_at(place: Sequence[float], orientation: Sequence[float]) -> np.ndarray:
    """Stored values of a plane, from the places of its pixels in the patient. Source: PS3.3 C.7.6.2.1.1."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    i, j = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]), indexing="ij")
    points = np.array(place, float) + j[..., None] * row * SPACING_MM[1] + i[..., None] * column * SPACING_MM[0]
    values = np.full(SIZE, 1040, np.int16)
    values[np.abs(points).max(axis=-1) > 36] = 0
    for name, center in MARKERS_LPS_MM.items():
        values[np.linalg.norm(points - np.array(center), axis=-1) <= 6] = 1000 + VALUES[name]
    return values


def projected() -> np.ndarray:
    """Brightest value from front to back."""
    return np.max([pixels_at(position(CORONAL, offset), CORONAL) for offset in range(-24, 28, 4)], axis=0)


def header(kind: str, number: int) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = CLASSES[kind], f"{SERIES}.{number}"
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Phantom^Markers", "PH-4712", "19600229", "O"
    ds.IssuerOfPatientID, ds.PatientAge = "HOSPITAL", "064Y"
    ds.AccessionNumber, ds.StudyID, ds.StudyDate, ds.StudyTime = "ACC-0816", "1", "20240102", "101500"
    ds.ReferringPhysicianName, ds.StudyDescription = "", "Markers"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, SERIES
    ds.Modality = {"US multi-frame": "US", "SC": "OT", "Enhanced CT": "CT", "Enhanced MR": "MR"}.get(kind, kind)
    ds.Manufacturer, ds.ManufacturerModelName, ds.BodyPartExamined = "Phantoms", "Markers", "CHEST"
    ds.SeriesNumber, ds.InstanceNumber = 2, number
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    return ds


def gray(ds: Dataset, pixels: np.ndarray) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape[-2:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.PixelData = pixels.astype(np.int16).tobytes()


def color(ds: Dataset, pixels: np.ndarray) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Rows, ds.Columns = pixels.shape[-3:-1]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = pixels.astype(np.uint8).tobytes()


def enhanced(kind: str = "Enhanced MR", orientation: Sequence[float] = AXIAL, *, slices: int = 12) -> MadeSource:
    """One multi-frame instance whose frames run from head to feet, so that frame order is not slice order."""
    ds, slice_mm = header(kind, 1), 4.0
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = FRAME_OF_REFERENCE, ""
    shared, ds.NumberOfFrames = Dataset(), slices
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence, shared.FrameVOILUTSequence = [Dataset()], [Dataset()], [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = list(orientation)
    measures = shared.PixelMeasuresSequence[0]
    measures.PixelSpacing, measures.SliceThickness, measures.SpacingBetweenSlices = list(SPACING_MM), slice_mm, slice_mm
    shared.FrameVOILUTSequence[0].WindowCenter, shared.FrameVOILUTSequence[0].WindowWidth = -200, 1600
    shared.PixelValueTransformationSequence = [Dataset()]
    to_values = shared.PixelValueTransformationSequence[0]
    to_values.RescaleSlope, to_values.RescaleIntercept, to_values.RescaleType = 1, -1000, "US"
    ds.SharedFunctionalGroupsSequence, frames, pixels = [shared], [], []
    offsets = [(slices / 2 - 0.5 - index) * slice_mm for index in range(slices)]
    for offset in offsets:
        group = Dataset()
        group.PlanePositionSequence = [Dataset()]
        group.PlanePositionSequence[0].ImagePositionPatient = [float(round(v, 5)) for v in position(orientation, offset)]
        frames.append(group)
        pixels.append(pixels_at(group.PlanePositionSequence[0].ImagePositionPatient, orientation))
    ds.PerFrameFunctionalGroupsSequence = frames
    gray(ds, np.stack(pixels))
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = np.cross(row, column) * slice_mm, column * SPACING_MM[0], row * SPACING_MM[1]
    affine[:3, 3] = frames[-1].PlanePositionSequence[0].ImagePositionPatient
    values = np.stack(pixels[::-1]).astype(np.float32) - 1000
    numbers = tuple(range(slices, 0, -1))
    return MadeSource(kind, [ds], Volume(values, affine, FRAME_OF_REFERENCE, (ds.SOPInstanceUID,) * slices, numbers))


def projections(kind: str, count: int = 2) -> MadeSource:
    """Radiographs: no place in a frame of reference, twelve bits."""
    data_sets, frames = [], []
    for number in range(1, count + 1):
        ds = header(kind, number)
        ds.ImageType, ds.PatientOrientation = ["ORIGINAL", "PRIMARY"], ["L", "F"]
        ds.ImagerPixelSpacing = [0.2, 0.2]
        if kind == "MG":
            ds.BodyPartExamined, ds.ImageLaterality, ds.ViewPosition = "BREAST", "R", "CC"
        gray(ds, projected())
        data_sets.append(ds)
        frames.append(Frame(ds.pixel_array.astype(np.float32), ds.SOPInstanceUID, 1, (0.2, 0.2), (1100.0, 1000.0)))
    return MadeSource(kind, data_sets, FrameSet(tuple(frames)))


def pictures(kind: str, frames: int = 1) -> MadeSource:
    """Colour pictures without spacing; several frames in one instance if asked for."""
    ds = header(kind, 1)
    ds.ImageType, ds.PatientOrientation = ["ORIGINAL", "PRIMARY"], ""
    plane = np.clip(projected() / 8, 0, 255)
    pixels = np.stack([np.stack([plane, plane * (0.5 + 0.5 * n / frames), plane // 2], axis=-1) for n in range(frames)]).astype(np.uint8)
    if frames > 1:
        ds.NumberOfFrames, ds.FrameTime = frames, 40
        ds.FrameIncrementPointer = 0x00181063
    color(ds, pixels if frames > 1 else pixels[0])
    if kind == "SC":
        ds.ConversionType = "WSD"
    made = tuple(Frame(pixels[n], ds.SOPInstanceUID, n + 1, None) for n in range(frames))
    return MadeSource(kind, [ds], FrameSet(made))


SOURCES: dict[str, Callable[[], MadeSource]] = {
    "CT": stack,
    "CT one slice of marks": lambda: stack(slices=3, slice_mm=20.0),
    "MR sagittal": lambda: stack("MR", SAGITTAL, slices=20),
    "PET": lambda: stack("PT"),
    "Enhanced CT": lambda: enhanced("Enhanced CT"),
    "Enhanced MR": enhanced,
    "CR": lambda: projections("CR", 1),
    "DX": lambda: projections("DX"),
    "MG": lambda: projections("MG"),
    "US": lambda: pictures("US"),
    "US multi-frame": lambda: pictures("US multi-frame", 5),
    "SC": lambda: pictures("SC"),
}
