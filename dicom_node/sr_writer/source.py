"""The analysed frames as the writers see them: header, place in the instance, and what can be shown of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from numpy.typing import NDArray

from dicom_node.domain.results import Segment
from dicom_node.domain.volume import Volume
from dicom_node.errors import ResultError
from dicom_node.sr_writer.drawing import full_window
from dicom_node.sr_writer.normalise import NormalisedHeaders, normalised_headers

if TYPE_CHECKING:
    from dicom_node.sr_writer.build import BuildRequest


@dataclass(frozen=True, slots=True)
class ImageReference:
    """What a reference in a result names.

    Attributes:
        frame_number: From 1 where the instance has several frames, else None.
    """

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None


@dataclass(frozen=True, slots=True, eq=False)
class SourceFrame:
    """One slice of a volume or one frame of a frame set.

    Attributes:
        header: Normalised header of its instance.
        values: Shape (row, column) float32, or (row, column, 3) uint8.
        pixel_mm: Between rows and between columns; (1, 1) if the source gives none.
        window: Center and width in the values' units: the source's, else of a volume what shows most of it; None of a frame without.
    """

    header: pydicom.Dataset
    reference: ImageReference
    values: NDArray[np.float32] | NDArray[np.uint8]
    pixel_mm: tuple[float, float]
    window: tuple[float, float] | None

    @property
    def label(self) -> str:
        """Instance Number, as people know the image."""
        return str(self.header.get("InstanceNumber") or "1")


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The source of one run.

    Attributes:
        volume: The volume, if the images are one.
        frames: Slices in slice order, or the frames of a frame set; empty if the images could not be read.
        marks: Marked pixels of each frame, by `id` of the segment; counted once, since fifty masks of a CT are two gigabytes.
        windowed: Grey frames as pages show them, by index; filled by the first page that needs one.
    """

    normalised: NormalisedHeaders
    volume: Volume | None
    frames: tuple[SourceFrame, ...]
    marks: Mapping[str, NDArray[np.int64]]
    windowed: dict[int, NDArray[np.uint8]] = field(default_factory=dict)

    @property
    def headers(self) -> tuple[pydicom.Dataset, ...]:
        """Normalised headers, as the source is ordered."""
        return self.normalised.data_sets

    def index_of(self, sop_instance_uid: str, frame_number: int) -> int:
        """Find a frame.

        Raises:
            ResultError: it is none of the analysed ones.
        """
        for index, frame in enumerate(self.frames):
            reference = frame.reference
            if reference.sop_instance_uid == sop_instance_uid and (reference.frame_number or 1) == frame_number:
                return index
        raise ResultError(f"a region names frame {frame_number} of {sop_instance_uid}, which was not analysed")

    def is_marked(self, segment: Segment) -> bool:
        """Tell whether a segment has a pixel."""
        return bool(self.marks[segment.id].any())

    def touched(self, segment: Segment) -> list[int]:
        """List the frames on which a segment has a pixel, ascending."""
        return [int(index) for index in np.flatnonzero(self.marks[segment.id])]

    @property
    def is_located(self) -> bool:
        """Whether each frame has its place in a frame of reference, which a segmentation needs."""
        if self.volume is not None:
            return bool(self.volume.frame_of_reference_uid) and bool(self.headers[0].get("FrameOfReferenceUID"))
        sizes = {frame.values.shape[:2] for frame in self.frames}
        one_place = "ImagePositionPatient" in self.headers[0] and "ImageOrientationPatient" in self.headers[0]
        return len(sizes) == 1 and one_place and all(h.get("FrameOfReferenceUID") for h in self.headers)


def source_of(request: BuildRequest) -> Source:
    """Bring headers and images of a request together.

    Raises:
        ResultError: the images name an instance that is not among the source, a mask has another size than they, or the slices of a volume
            belong to several series.
    """
    volume = request.images if isinstance(request.images, Volume) else None
    if volume is not None and len(series := {str(d.get("SeriesInstanceUID")) for d in request.source}) > 1:
        raise ResultError(f"the slices of one volume belong to {len(series)} series")
    normalised = normalised_headers(request.source, volume.spacing_mm[0] if volume else 0.0)
    headers = {str(h.SOPInstanceUID): h for h in normalised.data_sets}
    frames = _slices(volume, headers) if volume else _frames(request, headers)
    _check_sizes(request, frames)
    marks = {s.id: np.array([np.count_nonzero(plane) for plane in s.mask], np.int64) for s in request.result.segments}
    if len(marks) != len(request.result.segments):
        raise ResultError(f"{len(request.result.segments)} segments have only {len(marks)} different ids")
    return Source(normalised, volume, frames, marks)


def _slices(volume: Volume, headers: dict[str, pydicom.Dataset]) -> tuple[SourceFrame, ...]:
    _, row_mm, column_mm = volume.spacing_mm
    numbers = volume.source_frame_numbers or (1,) * len(volume.values)
    step = max(1, len(volume.values) // 16)
    window = _window(_header(headers, volume.source_sop_instance_uids[0])) or full_window(volume.values[::step, ::2, ::2])
    return tuple(
        SourceFrame(header, _reference(header, number), values, (row_mm, column_mm), window)
        for values, uid, number in zip(volume.values, volume.source_sop_instance_uids, numbers, strict=True)
        for header in [_header(headers, uid)]
    )


def _frames(request: BuildRequest, headers: dict[str, pydicom.Dataset]) -> tuple[SourceFrame, ...]:
    if request.images is None or isinstance(request.images, Volume):
        return ()
    return tuple(
        SourceFrame(header, _reference(header, frame.frame_number), frame.values, frame.pixel_spacing_mm or (1.0, 1.0), frame.window)
        for frame in request.images.frames
        for header in [_header(headers, frame.sop_instance_uid)]
    )


def _header(headers: dict[str, pydicom.Dataset], sop_instance_uid: str) -> pydicom.Dataset:
    if sop_instance_uid not in headers:
        raise ResultError(f"the images name instance {sop_instance_uid}, which is not among the {len(headers)} of the source")
    return headers[sop_instance_uid]


def _reference(header: pydicom.Dataset, frame_number: int) -> ImageReference:
    several = int(header.get("NumberOfFrames") or 1) > 1
    return ImageReference(str(header.SOPClassUID), str(header.SOPInstanceUID), frame_number if several else None)


def _window(header: pydicom.Dataset) -> tuple[float, float] | None:
    """First VOI window of an instance, also from the functional groups of a multi-frame one."""
    holders = [header]
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(header.get(keyword) or [])[:1]:
            holders += list(group.get("FrameVOILUTSequence") or [])
    for holder in holders:
        center, width = (_first(holder.get(k)) for k in ("WindowCenter", "WindowWidth"))
        if center is not None and width is not None and width >= 1:
            return center, width
    return None


def _first(value: object) -> float | None:
    try:
        first = value[0] if isinstance(value, (list, tuple, pydicom.multival.MultiValue)) else value
        return None if first in (None, "") else float(first)  # type: ignore[arg-type]
    except (ValueError, TypeError, IndexError):
        return None


def _check_sizes(request: BuildRequest, frames: tuple[SourceFrame, ...]) -> None:
    sizes = {frame.values.shape[:2] for frame in frames}
    result = request.result
    masks = [(s.id, s.mask.shape) for s in result.segments] + [(m.id, m.values.shape) for m in result.maps]
    masks += [(h.label, h.mask.shape) for h in result.highlights]
    for name, shape in masks:
        if len(sizes) != 1 or shape != (len(frames), *next(iter(sizes))):
            raise ResultError(f"{name} has shape {shape}, the images are {len(frames)} of size {sorted(sizes)}")
