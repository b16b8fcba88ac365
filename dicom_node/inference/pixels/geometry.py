"""Planes of a series to the grid they lie on, and what is refused of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import VolumeError
from dicom_node.inference.pixels.decoding import SourceFrame
from dicom_node.inference.pixels.frame_header import FrameHeader

Vector = NDArray[np.float64]

_SPACING_TOLERANCE = 0.02
_DIRECTION_TOLERANCE = 1e-3
_UNIT_TOLERANCE = 1e-2
_SAME_POSITION = 0.01
_LATERAL_PIXELS = 0.1
_LARGEST_GAP = 3.0


@dataclass(frozen=True, slots=True)
class GeometryPolicy:
    """What an input of model.yaml declares about the geometry of its volume.

    Attributes:
        uneven: Slices at uneven distances, or with one missing, are refused or resampled along their normal.
        tilted: Slices that are shifted against each other (tilted gantry) are refused or resampled within their planes.
        only: Which frames are wanted where there are several at one position: the value by DICOM keyword, for example
            {"TemporalPositionIndex": "1"}.
    """

    uneven: Literal["refuse", "resample"] = "refuse"
    tilted: Literal["refuse", "resample"] = "refuse"
    only: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """Where one frame lies in the patient.

    Attributes:
        position_lps_mm: Centre of the first pixel.
        row_direction: Along which the column index grows; a unit vector.
        column_direction: Along which the row index grows; a unit vector.
        spacing_mm: Between rows and between columns.
        size: Rows and columns.
    Source: PS3.3 C.7.6.2.1.1, C.7.6.16.2.3, C.7.6.16.2.4.
    """

    source: SourceFrame
    header: FrameHeader
    position_lps_mm: Vector
    row_direction: Vector
    column_direction: Vector
    spacing_mm: tuple[float, float]
    size: tuple[int, int]

    @property
    def normal(self) -> Vector:
        """Row direction x column direction: along which slices are ordered."""
        normal: Vector = np.cross(self.row_direction, self.column_direction)
        return normal


def plane_of(header: FrameHeader, source: SourceFrame, size: tuple[int, int]) -> Plane:
    """Read where a frame lies.

    Raises:
        VolumeError: it does not say, or says something impossible.
    """
    orientation = header.numbers("ImageOrientationPatient", 6)
    row, column = orientation[:3], orientation[3:]
    off = (abs(float(np.linalg.norm(row)) - 1), abs(float(np.linalg.norm(column)) - 1), abs(float(row @ column)))
    if max(off) > _UNIT_TOLERANCE:
        raise VolumeError(f"{header.label()}: Image Orientation (Patient) is off by {max(off):.3f} from two unit vectors at right angles")
    rows_mm, columns_mm = (float(v) for v in header.numbers("PixelSpacing", 2))
    if min(rows_mm, columns_mm) <= 0:
        raise VolumeError(f"{header.label()}: Pixel Spacing is {rows_mm:g}, {columns_mm:g} mm")
    return Plane(source, header, header.numbers("ImagePositionPatient", 3), row, column, (rows_mm, columns_mm), size)


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Planes in slice order and how far they are from a regular grid.

    Attributes:
        planes: Ordered along the normal.
        along_mm: Position of each along the normal.
        lateral_mm: Shape (slice, 2): how far each is shifted within its plane against the first, along column and row direction.
        spacing_mm: Median distance along the normal.
        uneven: What is uneven about the distances, empty if nothing.
        tilted: How the planes are shifted against each other, empty if not.
    """

    planes: tuple[Plane, ...]
    along_mm: Vector
    lateral_mm: Vector
    spacing_mm: float
    uneven: str
    tilted: str

    @property
    def affine_lps_mm(self) -> Vector:
        """Of the planes as they lie; exact only if they are neither uneven nor tilted."""
        first, last = self.planes[0], self.planes[-1]
        affine = np.eye(4)
        affine[:3, 0] = (last.position_lps_mm - first.position_lps_mm) / (len(self.planes) - 1)
        affine[:3, 1] = first.column_direction * first.spacing_mm[0]
        affine[:3, 2] = first.row_direction * first.spacing_mm[1]
        affine[:3, 3] = first.position_lps_mm
        return affine


def stack_of(planes: Sequence[Plane]) -> Stack:
    """Order planes along their normal and measure them.

    Raises:
        VolumeError: fewer than two, or they differ in size, orientation, spacing or frame of reference, or two lie at one position.
    """
    if len(planes) < 2:
        raise VolumeError(f"a volume needs at least 2 slices, the series has {len(planes)}")
    _check_uniform(planes)
    first = planes[0]
    positions = np.array([p.position_lps_mm for p in planes])
    along = positions @ first.normal
    order = np.argsort(along, kind="stable")
    ordered, along = tuple(planes[i] for i in order), along[order]
    steps = np.diff(along)
    spacing = float(np.median(steps))
    _check_apart(ordered, steps, spacing)
    from_first = positions[order] - positions[order[0]]
    lateral = np.stack([from_first @ first.column_direction, from_first @ first.row_direction], axis=1)
    return Stack(ordered, along, lateral, spacing, _unevenness(ordered, steps, spacing), _tilt(ordered, along, lateral, spacing))


def check_policy(stack: Stack, policy: GeometryPolicy) -> None:
    """Refuse what the policy does not let pass.

    Raises:
        VolumeError: with the figures.
    """
    if stack.tilted and policy.tilted == "refuse":
        raise VolumeError(stack.tilted, hint="send a reconstruction at right angles, or let the model's input declare `tilted: resample`")
    if stack.uneven and policy.uneven == "refuse":
        raise VolumeError(stack.uneven, hint="send the series again, or let the model's input declare `uneven: resample`")
    largest = float(np.diff(stack.along_mm).max())
    if stack.uneven and largest > _LARGEST_GAP * stack.spacing_mm:
        raise VolumeError(
            f"{stack.uneven}; a gap of {largest:.2f} mm is more than {_LARGEST_GAP:g} times the usual distance and is not filled",
            hint="send the missing slices",
        )


def _check_uniform(planes: Sequence[Plane]) -> None:
    first = planes[0]
    _same("Rows x Columns", [f"{p.size[0]} x {p.size[1]}" for p in planes])
    directions = np.array([np.concatenate([p.row_direction, p.column_direction]) for p in planes])
    if np.abs(directions - directions[0]).max() > _DIRECTION_TOLERANCE:
        _same("Image Orientation (Patient)", ["\\".join(f"{v:.4g}" for v in d) for d in directions])
        raise VolumeError(f"slices differ in Image Orientation (Patient) by up to {np.abs(directions - directions[0]).max():.4f}")
    spacings = np.array([p.spacing_mm for p in planes])
    if not np.allclose(spacings, first.spacing_mm):
        _same("Pixel Spacing", [f"{p.spacing_mm[0]:.6g} x {p.spacing_mm[1]:.6g} mm" for p in planes])
        raise VolumeError("slices differ in Pixel Spacing")
    references = {str(uid) for p in planes if (uid := p.header.data_set.get("FrameOfReferenceUID"))}
    if len(references) > 1:
        raise VolumeError(f"slices belong to {len(references)} frames of reference (Frame of Reference UID)")


def _same(what: str, values: Sequence[str]) -> None:
    counts = Counter(values)
    if len(counts) > 1:
        shown = ", ".join(f"{value} ({count} slices)" for value, count in counts.most_common(3))
        more = f" and {len(counts) - 3} more" if len(counts) > 3 else ""
        raise VolumeError(f"slices differ in {what}: {shown}{more}")


def _check_apart(ordered: Sequence[Plane], steps: Vector, spacing: float) -> None:
    nearest = int(np.argmin(steps))
    if spacing <= 0 or steps[nearest] < _SAME_POSITION * spacing:
        same = int(np.count_nonzero(steps < max(_SAME_POSITION * spacing, 1e-6)))
        a, b = ordered[nearest], ordered[nearest + 1]
        raise VolumeError(
            f"two slices lie at the same position: {a.header.label()} and {b.header.label()}, {steps[nearest]:.4f} mm apart; "
            f"{same} of {len(ordered)} slices lie on another one",
            hint="the series may hold the images twice, or several reconstructions",
        )


def _unevenness(ordered: Sequence[Plane], steps: Vector, spacing: float) -> str:
    off = np.abs(steps - spacing) > _SPACING_TOLERANCE * spacing
    if not off.any():
        return ""
    at = int(np.flatnonzero(off)[0])
    missing = int(sum(round(float(s / spacing)) - 1 for s in steps[off] if abs(s / spacing - round(float(s / spacing))) < 0.1))
    words = f"slices are not evenly spaced: {steps.min():.3f} to {steps.max():.3f} mm, usually {spacing:.3f} mm; "
    words += f"{int(off.sum())} of {len(steps)} distances differ, the first after {ordered[at].header.label()}"
    return words + (f"; {missing} {'slice seems' if missing == 1 else 'slices seem'} to be missing" if missing > 0 else "")


def _tilt(ordered: Sequence[Plane], along: Vector, lateral: Vector, spacing: float) -> str:
    extent = along[-1] - along[0]
    line = np.outer((along - along[0]) / extent, lateral[-1])
    beside = np.linalg.norm(lateral - line, axis=1)
    tolerance = max(_LATERAL_PIXELS * min(ordered[0].spacing_mm), _SPACING_TOLERANCE * spacing)
    if float(beside.max()) > tolerance:
        worst = int(np.argmax(beside))
        name = ordered[worst].header.label()
        return f"slices are shifted against each other: {name} lies {beside[worst]:.2f} mm beside the line of the others"
    total = float(np.linalg.norm(lateral[-1]))
    if total / extent <= _SPACING_TOLERANCE:
        return ""
    degrees = float(np.degrees(np.arctan2(total, extent)))
    return f"slices are shifted against each other (tilted gantry): {total:.1f} mm over {extent:.1f} mm, {degrees:.1f} degrees"
