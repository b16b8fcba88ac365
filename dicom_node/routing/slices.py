"""Where the slices of a series lie: their planes, their positions along the normal, the distance between them.

Source: PS3.3 C.7.6.2.1.1 (Image Position and Orientation (Patient)), lengths in mm, LPS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import sub

from dicom_node.domain.rules import Orientation
from dicom_node.routing.view import InstanceSet, SeriesView

MOST_OBLIQUE_DEGREES = 35.0
"""A plane whose normal lies further from every axis is oblique and has no `orientation`; CT gantries tilt by up to 30 degrees."""

SAME_DIRECTION = 1e-3
"""Direction cosines that differ by less are equal; as when a volume is stacked."""

SAME_POSITION_MM = 1e-3
"""Slices nearer than this lie at one position."""

_AXES = (Orientation.SAGITTAL, Orientation.CORONAL, Orientation.AXIAL)
_Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Plane:
    """Slices of one orientation.

    Attributes:
        orientation: None if oblique.
        degrees: From the normal to the nearest axis.
        positions_mm: Of each instance, along the normal, ascending.
        steps_mm: Between neighbouring positions, one less than these; 0 where slices lie at one position.
        usual_step_mm: The lower median of the steps between different positions; None with less than two of them.
    """

    orientation: Orientation | None
    degrees: float
    positions_mm: tuple[float, ...]
    steps_mm: tuple[float, ...]
    usual_step_mm: float | None


@dataclass(frozen=True, slots=True)
class Slices:
    """The geometry of some instances of a series.

    Attributes:
        planes: The one with most instances first; empty for 2-D projections and multi-frame objects, which have no slices here.
        spacing_mm: Distance between neighbouring slices; None if nothing tells.
        spacing_source: What told it: `slice positions`, or the keyword that stands in for them.
    """

    planes: tuple[Plane, ...]
    spacing_mm: float | None
    spacing_source: str


def slices_of(series: SeriesView, instances: InstanceSet) -> Slices:
    """Read the geometry of some instances, once per series and set."""
    key = ("slices", instances)
    found = series.remembered.get(key)
    if not isinstance(found, Slices):
        found = series.remembered[key] = _slices(series, instances)
    return found


def _slices(series: SeriesView, instances: InstanceSet) -> Slices:
    planes = _planes(series, instances & ~_multi_frame(series))
    step = planes[0].usual_step_mm if planes else None
    if step is not None:
        return Slices(planes, step, "slice positions")
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        stated = [abs(n[0]) for values in series.values(keyword, instances) if (n := _numbers(values, 1)) and n[0]]
        if stated:
            return Slices(planes, min(stated), keyword)
    return Slices(planes, None, "")


def _multi_frame(series: SeriesView) -> InstanceSet:
    found = 0
    for values, holders in series.column("NumberOfFrames").parts:
        frames = _numbers(values, 1)
        if frames and frames[0] > 1:
            found |= holders
    return found


def _planes(series: SeriesView, instances: InstanceSet) -> tuple[Plane, ...]:
    alike: list[tuple[Sequence[float], InstanceSet]] = []
    for values, holders in series.column("ImageOrientationPatient").parts:
        cosines = _numbers(values, 6)
        here = holders & instances
        if not cosines or not here:
            continue
        for number, (known, members) in enumerate(alike):
            if all(abs(a - b) <= SAME_DIRECTION for a, b in zip(cosines, known, strict=True)):
                alike[number] = (known, members | here)
                break
        else:
            alike.append((cosines, here))
    planes = [plane for cosines, members in alike if (plane := _plane(series, cosines, members))]
    return tuple(sorted(planes, key=lambda plane: (-len(plane.positions_mm), plane.positions_mm)))


def _plane(series: SeriesView, cosines: Sequence[float], members: InstanceSet) -> Plane | None:
    normal = _normal(cosines)
    if normal is None:
        return None
    positions = sorted(p for values in series.each("ImagePositionPatient", members) if (p := _position(values, normal)) is not None)
    if not positions:
        return None
    nearest = max(range(3), key=lambda axis: abs(normal[axis]))
    degrees = math.degrees(math.acos(min(1.0, abs(normal[nearest]))))
    steps = tuple(map(sub, positions[1:], positions))
    different = sorted(step for step in steps if step > SAME_POSITION_MM)
    usual = different[(len(different) - 1) // 2] if different else None
    return Plane(_AXES[nearest] if degrees <= MOST_OBLIQUE_DEGREES else None, degrees, tuple(positions), steps, usual)


def _normal(cosines: Sequence[float]) -> _Vector | None:
    """Return the unit normal: row direction x column direction; None if they make no plane."""
    a, b, c, d, e, f = cosines
    x, y, z = b * f - c * e, c * d - a * f, a * e - b * d
    length = math.sqrt(x * x + y * y + z * z)
    return (x / length, y / length, z / length) if length > 0.5 else None  # 1 for the unit vectors that the standard asks for


def _position(values: Sequence[str], normal: _Vector) -> float | None:
    """Return the distance along the normal; None without three finite numbers. The one step that is taken for every instance."""
    try:
        x, y, z = values
        along = float(x) * normal[0] + float(y) * normal[1] + float(z) * normal[2]
    except ValueError:
        return None
    return along if math.isfinite(along) else None


def _numbers(values: Sequence[str], count: int) -> list[float] | None:
    """Read exactly so many finite numbers; None if they are not there."""
    if len(values) != count:
        return None
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None
