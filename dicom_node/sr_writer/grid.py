"""The part of a source that a segmentation or parametric map is laid over, in the form that the object library asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray

from dicom_node.sr_writer.source import Source

_TOLERANCE_MM = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A run of frames of one source.

    Attributes:
        headers: Instances that the object derives from.
        first: First frame of the source, from 0.
        last: One after the last.
        slice_mm: Distance between neighbours; 0 if the frames are no stack.
        positions: Where the frames stand in a multi-frame instance, from 0; empty if each is an instance.
        total: Frames of that instance.
        volume: Affine in space, set only where the images were resampled and are no longer the source's own grid.
    """

    headers: tuple[pydicom.Dataset, ...]
    first: int
    last: int
    slice_mm: float
    positions: tuple[int, ...]
    total: int
    volume: NDArray[np.float64] | None
    frame_of_reference_uid: str

    @property
    def is_series(self) -> bool:
        """Whether each frame is an instance of its own."""
        return not self.positions

    def arranged(self, pixels: NDArray[Any]) -> NDArray[Any] | highdicom.Volume:
        """Put frames where the library expects them.

        Args:
            pixels: Shape (frame, row, column) or (frame, row, column, segment), the frames from `first` to `last`.
        """
        if self.volume is not None:
            channels: Any = {"SegmentNumber": list(range(1, pixels.shape[3] + 1))} if pixels.ndim == 4 else None
            return highdicom.Volume(pixels, self.volume, "PATIENT", frame_of_reference_uid=self.frame_of_reference_uid, channels=channels)
        if self.is_series:
            return pixels
        whole = np.zeros((self.total, *pixels.shape[1:]), pixels.dtype)
        whole[list(self.positions)] = pixels
        return whole


def grid_of(source: Source, first: int, last: int, *, complete: bool = False) -> Grid:
    """Describe the frames from `first` to before `last`.

    Args:
        source: The analysed frames.
        first: From 0.
        last: One after the last.
        complete: The object will hold every frame that the library is given, so that frames which were not analysed may not appear.
    """
    frames = source.frames[first:last]
    volume = source.volume
    slice_mm = volume.spacing_mm[0] if volume is not None else 0.0
    frame_uid = str(frames[0].header.get("FrameOfReferenceUID") or "")
    partial = complete and frames[0].reference.frame_number is not None and len(frames) != int(frames[0].header.NumberOfFrames)
    if volume is not None and (partial or not _is_source_grid(source)):
        affine = volume.affine_lps_mm.copy()
        affine[:3, 3] = (affine @ (first, 0, 0, 1))[:3]
        return Grid(source.headers, first, last, slice_mm, (), 0, affine, frame_uid)
    if frames[0].reference.frame_number is not None:
        header = frames[0].header
        positions = tuple((f.reference.frame_number or 1) - 1 for f in frames)
        return Grid((header,), first, last, slice_mm, positions, int(header.NumberOfFrames), None, frame_uid)
    return Grid(tuple(f.header for f in frames), first, last, slice_mm, (), 0, None, frame_uid)


def _is_source_grid(source: Source) -> bool:
    """Tell whether the slices still lie where the source's frames do, each on one of its own."""
    assert source.volume is not None  # noqa: S101 - asked of volumes only
    if len({f.reference for f in source.frames}) != len(source.frames):
        return False
    if len({f.reference.sop_instance_uid for f in source.frames}) > 1 and source.frames[0].reference.frame_number is not None:
        return False
    affine = source.volume.affine_lps_mm
    for index in (0, len(source.frames) // 2, len(source.frames) - 1):
        frame = source.frames[index]
        position, orientation = frame_plane(frame.header, frame.reference.frame_number)
        directions = np.stack([affine[:3, 2], affine[:3, 1]]) / np.linalg.norm(affine[:3, 1:3], axis=0)[::-1, None]
        if position is None or orientation is None or not np.allclose(directions.ravel(), orientation, atol=1e-3):
            return False
        if not np.allclose((affine @ (index, 0, 0, 1))[:3], position, atol=_TOLERANCE_MM):
            return False
        if frame.values.shape[:2] != (frame.header.Rows, frame.header.Columns):
            return False
    return True


def frame_plane(header: pydicom.Dataset, frame_number: int | None) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Read Image Position and Orientation (Patient) of an instance or of one of its frames; None where it has none.

    Returns:
        Shapes (3,) millimetres and (6,).
    Source: PS3.3 C.7.6.2, C.7.6.16.2.3, C.7.6.16.2.4.
    """
    return (
        _plane(header, frame_number, "PlanePositionSequence", "ImagePositionPatient"),
        _plane(header, frame_number, "PlaneOrientationSequence", "ImageOrientationPatient"),
    )


def _plane(header: pydicom.Dataset, frame_number: int | None, sequence: str, keyword: str) -> NDArray[np.float64] | None:
    holders = [header]
    if "PerFrameFunctionalGroupsSequence" in header:
        groups = [header.PerFrameFunctionalGroupsSequence[(frame_number or 1) - 1]]
        groups += list(header.get("SharedFunctionalGroupsSequence") or [])
        holders = [item for group in groups for item in group.get(sequence) or []]
    for holder in holders:
        if holder.get(keyword):
            return np.array([float(v) for v in holder[keyword].value])
    return None
