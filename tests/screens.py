"""Made-up captures: a dose screen with a made-up patient, and noise without text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MultiFrameTrueColorSecondaryCaptureImageStorage, SecondaryCaptureImageStorage

from dicom_node.domain.uids import derive_uid

NAME_LINES = ("Name: DURANTE VALERIA", "ID: 40771982", "Birth date: 14.03.1961")
DOSE_LINES = ("Series 2   120 kV   85 mA", "CTDIvol 7.41 mGy   DLP 312 mGycm")
LABEL_LINES = ("120 kV", "85 mA", "R")


def screen(lines: Sequence[str], *, rows: int = 240, columns: int = 400, inverted: bool = False) -> np.ndarray:
    """White letters on black (or the other way round), one line below the other; shape (row, column), uint8."""
    picture = Image.new("L", (columns, rows))
    font = ImageFont.load_default(size=20)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((16, 12 + 40 * number), line, fill=255, font=font)
    values = np.asarray(picture)
    return 255 - values if inverted else values


def noise(rows: int = 256, columns: int = 256, seed: int = 0) -> np.ndarray:
    """What an image without text is like: smooth structures and noise; uint8."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    disc = (x - columns / 2) ** 2 + (y - rows / 2) ** 2 < (min(rows, columns) / 3) ** 2
    return np.clip(40 + 120 * disc + generator.normal(0, 8, (rows, columns)), 0, 255).astype(np.uint8)


def capture(frames: Sequence[np.ndarray], **elements: object) -> Dataset:
    """A secondary capture of one frame or several, gray or RGB; `elements` replaces header elements, None removes them."""
    ds = Dataset()
    several = len(frames) > 1
    ds.SOPClassUID = MultiFrameTrueColorSecondaryCaptureImageStorage if several else SecondaryCaptureImageStorage
    ds.SOPInstanceUID = derive_uid("screen", *(frame.tobytes().hex()[:64] for frame in frames), str(len(frames)), str(elements))
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Durante^Valeria", "40771982", "19610314", "F"
    ds.AccessionNumber, ds.StudyID, ds.StudyDate, ds.StudyTime, ds.ReferringPhysicianName = "ACC-5521", "1", "20240506", "101500", ""
    ds.StudyInstanceUID, ds.SeriesInstanceUID = derive_uid("screen", "study"), derive_uid("screen", "series")
    ds.Modality, ds.Manufacturer, ds.SeriesNumber, ds.InstanceNumber, ds.ConversionType = "OT", "Phantoms", 1, 1, "WSD"
    ds.BurnedInAnnotation = "NO"
    stacked = np.stack(frames)
    color = stacked.ndim == 4
    ds.Rows, ds.Columns = stacked.shape[1:3]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (3, "RGB") if color else (1, "MONOCHROME2")
    if color:
        ds.PlanarConfiguration = 0
    if several:
        ds.NumberOfFrames = len(frames)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = stacked.astype(np.uint8).tobytes()
    for keyword, value in elements.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds
