"""Image sets made by code: one encoded header, its SOP Instance UID patched, pixels cut from a pool of noise."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

_ROOT = "1.2.826.0.1.3680043.8.498."
_PLACE = _ROOT + "9" * 20
_POOL_BYTES = 24 << 20
_PIECE_BYTES = 8 << 20
_PART10_FIXED_BYTES = 144


@dataclass(frozen=True, slots=True)
class Sent:
    """One file to send.

    Attributes:
        data_set_at: Where the data set begins in the file, bytes.
        size_bytes: Length of the data set.
    """

    path: Path
    sop_instance_uid: str
    data_set_at: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Shape:
    """What a corpus is made of.

    Attributes:
        rows, columns: Pixels of one frame, 16 bits each.
    """

    name: str
    sop_class_uid: str
    modality: str
    rows: int
    columns: int
    frames: int
    instances: int

    def scaled(self, instances: int, frames: int) -> Shape:
        """Return the same with another number of instances and frames."""
        return Shape(self.name, self.sop_class_uid, self.modality, self.rows, self.columns, frames, instances)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Files of one kind."""

    shape: Shape
    files: Sequence[Sent]


SHAPES = {
    "CT": Shape("CT", "1.2.840.10008.5.1.4.1.1.2", "CT", 512, 512, 1, 312),
    "DX": Shape("DX", "1.2.840.10008.5.1.4.1.1.1.1", "DX", 2560, 2048, 1, 40),
    "MR": Shape("MR", "1.2.840.10008.5.1.4.1.1.4", "MR", 180, 180, 1, 2000),
    "MF": Shape("MF", "1.2.840.10008.5.1.4.1.1.7.3", "OT", 1024, 1024, 200, 1),
}
_QUICK_INSTANCES = {"CT": 24, "DX": 4, "MR": 60, "MF": 1}


def shape_for(name: str, associations: int, *, quick: bool) -> Shape:
    """Describe a corpus; a multi-frame object is shared out as one smaller object per association."""
    shape = SHAPES[name]
    frames = shape.frames // 10 if quick and shape.frames > 1 else shape.frames
    if shape.frames > 1:
        return shape.scaled(associations, frames // associations)
    return shape.scaled(_QUICK_INSTANCES[name] if quick else shape.instances, 1)


def write_corpus(shape: Shape, folder: Path) -> Corpus:
    """Write every file of a corpus as Part 10, explicit VR little endian."""
    folder.mkdir(parents=True)
    head = _encoded_head(shape)
    data_set_at = _PART10_FIXED_BYTES + int.from_bytes(head[140:144], "little")
    pool = os.urandom(_POOL_BYTES)
    pixels_bytes = shape.rows * shape.columns * 2 * shape.frames
    files = []
    for index in range(shape.instances):
        uid = f"{_ROOT}1{sum(map(ord, shape.name)):04d}{shape.frames:05d}{index:010d}"
        path = folder / f"{index:05d}.dcm"
        with path.open("wb") as stream:
            stream.write(head.replace(_PLACE.encode(), uid.encode()))
            stream.writelines(_noise(pool, pixels_bytes, index))
        files.append(Sent(path, uid, data_set_at, path.stat().st_size - data_set_at))
    return Corpus(shape, files)


def _noise(pool: bytes, size_bytes: int, first_turn: int) -> Iterator[memoryview]:
    """Cut pieces of the pool at places that differ from file to file and from piece to piece."""
    view, turn, left = memoryview(pool), first_turn, size_bytes
    while left:
        at = (turn * 7919 * 64) % (_POOL_BYTES - _PIECE_BYTES)
        piece = view[at : at + min(left, _PIECE_BYTES)]
        yield piece
        left -= len(piece)
        turn += 1


def _encoded_head(shape: Shape) -> bytes:
    """Encode everything up to and with the length of Pixel Data; the last element, so the file only grows by the pixels."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = UID(shape.sop_class_uid)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = UID(_PLACE)
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Benchmark^Noise", "BENCH-1", "", "O"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _ROOT + "11", _ROOT + f"12{shape.frames}{shape.instances}"
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "20240102", "101500", "1", "", ""
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber, ds.ImageType = shape.modality, 1, 1, ["ORIGINAL", "PRIMARY"]
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = shape.rows, shape.columns, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    if shape.frames > 1:
        ds.NumberOfFrames = shape.frames
    ds.PixelData = b""
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    size = shape.rows * shape.columns * 2 * shape.frames
    return buffer.getvalue()[:-4] + size.to_bytes(4, "little")
